"""The embedded Kafka with everything that a production one has: encryption, users, certificates and rules.

Two listeners for clients. One (SASL_SSL) knows them by user and password (SCRAM-SHA-512), the other (SSL) by their
certificates: the common name is the principal, so that the same rules hold for both. Brokers talk to each other and
to the metadata quorum with certificates only. Without a rule nobody may do anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from pathlib import Path

from pydantic import SecretStr

from deploy.local.certificates import Authority, Identity
from deploy.local.ports import LOOPBACK
from shared.settings import KafkaSettings

ADMINISTRATOR = "admin"
"""A super user: rules don't count for it."""
BROKER = "kafka-broker"
SCRAM = "SCRAM-SHA-512"
_PASSWORD_BYTES = 18

Properties = dict[str, object]


class KafkaSecurity:
    """Who the users are, and what they show. `ports`: of the second listener, by node id."""

    def __init__(self, folder: Path, users: Collection[str], mtls_ports: dict[int, int]) -> None:
        """`users`: beside the administrator. Users are made when a node's storage is; a restart knows the same ones."""
        folder.mkdir(parents=True, exist_ok=True)
        self._mtls_ports = mtls_ports
        self.authority = Authority(folder)
        self._broker = self.authority.issue(BROKER)
        self.passwords = {name: secrets.token_hex(_PASSWORD_BYTES) for name in (ADMINISTRATOR, *users)}
        self._identities: dict[str, Identity] = {}

    def sasl(self, bootstrap_servers: str, user: str, password: str | None = None) -> KafkaSettings:
        """Settings of a client with user and password (its own by default)."""
        return KafkaSettings(
            bootstrap_servers=bootstrap_servers,
            security_protocol="SASL_SSL",
            sasl_mechanism=SCRAM,
            sasl_username=user,
            sasl_password=SecretStr(password or self.passwords[user]),
            ssl_cafile=str(self.authority.cafile),
        )

    def mtls(self, name: str) -> KafkaSettings:
        """Settings of a client with a certificate in this name."""
        made = self._identities.get(name) or self._identities.setdefault(name, self.authority.issue(name))
        return KafkaSettings(
            bootstrap_servers=self.mtls_servers,
            security_protocol="SSL",
            ssl_cafile=str(self.authority.cafile),
            ssl_certfile=str(made.certfile),
            ssl_keyfile=str(made.keyfile),
        )

    @property
    def mtls_servers(self) -> str:
        return ",".join(f"{LOOPBACK}:{port}" for port in self._mtls_ports.values())

    def format_arguments(self) -> list[str]:
        """For `StorageTool format`."""
        return [
            word
            for name, password in self.passwords.items()
            for word in ("--add-scram", f"{SCRAM}=[name={name},password={password}]")
        ]

    def properties(self, node_id: int, port: int, controller_port: int) -> Properties:
        """In place of the plain listeners'."""
        clients = f"SASL_SSL://{LOOPBACK}:{port},MTLS://{LOOPBACK}:{self._mtls_ports[node_id]}"
        return {
            "listeners": f"{clients},CONTROLLER://{LOOPBACK}:{controller_port}",
            "advertised.listeners": clients,
            "inter.broker.listener.name": "MTLS",
            "listener.security.protocol.map": "CONTROLLER:SSL,MTLS:SSL,SASL_SSL:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._broker.storefile,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.cafile,
            "listener.name.controller.ssl.client.auth": "required",
            "listener.name.mtls.ssl.client.auth": "required",
            # CN=flit-scorer is the principal flit-scorer: as the user of that name.
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
            "sasl.enabled.mechanisms": SCRAM,
            f"listener.name.sasl_ssl.{SCRAM.lower()}.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{ADMINISTRATOR};User:{BROKER}",
        }
