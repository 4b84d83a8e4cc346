"""How every client reaches the brokers."""

from __future__ import annotations

import ssl
from typing import Any

from shared.settings import KafkaSettings


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that each aiokafka client (producer, consumer, admin) takes."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if "SSL" in settings.security_protocol:
        arguments["ssl_context"] = ssl.create_default_context(cafile=settings.ssl_cafile)
    if settings.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.sasl_mechanism or "SCRAM-SHA-512"
        arguments["sasl_plain_username"] = settings.sasl_username
        password = settings.sasl_password
        arguments["sasl_plain_password"] = None if password is None else password.get_secret_value()
    return arguments
