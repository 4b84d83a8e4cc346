"""How every client reaches the brokers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from shared.kafka import compression, reading, rebootstrap
from shared.kafka.errors import BadTlsFile
from shared.settings import KafkaSettings

compression.install()
reading.install()
rebootstrap.install()

SESSION_TIMEOUT_MS = 10_000
"""A process that is silent for so long is taken for dead, and its partitions go to others."""

MAX_POLL_INTERVAL_MS = 120_000
"""A batch that takes longer than this lost its partitions: its commit fails, and the records come again elsewhere."""

SILENCE_SECONDS = 30.0
"""Where a reader that knows of records gets none for so long, the brokers count as away."""

FETCH_WAIT_MS = 20
"""How long a fetch waits at the broker for the first record. One is under way at a time: a partition whose records
were handed over later than those of others, since the process was busy, waits for it."""


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that each aiokafka client (producer, consumer, admin) takes. Raises BadTlsFile."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if "SSL" in settings.security_protocol:
        arguments["ssl_context"] = _tls(settings)
    if settings.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.sasl_mechanism or "SCRAM-SHA-512"
        arguments["sasl_plain_username"] = settings.sasl_username
        password = settings.sasl_password
        arguments["sasl_plain_password"] = None if password is None else password.get_secret_value()
    return arguments


@asynccontextmanager
async def admin_client(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """For as long as the block takes. Raises BadTlsFile, KafkaError."""
    admin = AIOKafkaAdminClient(**client_arguments(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _tls(settings: KafkaSettings) -> ssl.SSLContext:
    """Checks the broker's certificate and its name; shows ours, where there is one. Files are read at each call, so a
    client made after they were replaced has the new ones."""
    setting = "KAFKA__SSL_CAFILE"
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
        if settings.ssl_certfile is not None:
            setting = "KAFKA__SSL_CERTFILE or KAFKA__SSL_KEYFILE"
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password=_no_password)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise BadTlsFile(f"bad setting {setting}: {error}") from None
    return context


def _no_password() -> str:
    """In place of OpenSSL's own way to get one, which asks at the terminal and waits."""
    raise ValueError("the key is encrypted")


def consumer_arguments(settings: KafkaSettings, service: str) -> dict[str, Any]:
    """Keyword arguments of every consumer that belongs to a group: `flit-<service>`."""
    return {
        **client_arguments(settings),
        "group_id": f"flit-{service}",
        # With one the client doesn't leave the group when it stops: whoever comes back under it takes up where it was.
        "group_instance_id": settings.group_instance_id and f"{service}-{settings.group_instance_id}",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        # Equal partition counts and the range assignor: one process gets the same partition of every topic.
        "partition_assignment_strategy": (RangePartitionAssignor,),
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "heartbeat_interval_ms": SESSION_TIMEOUT_MS // 4,
        "max_poll_interval_ms": MAX_POLL_INTERVAL_MS,
        "max_partition_fetch_bytes": 4_194_304,
        "fetch_max_wait_ms": FETCH_WAIT_MS,
    }
