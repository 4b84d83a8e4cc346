"""The whole system as in production: encrypted, every process with rights of its own and no others."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis

from deploy.local.certificates import Authority
from deploy.local.kafka import Kafka, Node
from deploy.local.kafka_security import ADMINISTRATOR as KAFKA_ADMINISTRATOR
from deploy.local.kafka_security import KafkaSecurity
from deploy.local.ports import free_ports
from deploy.local.stack import CACHE_DIR, EmbeddedStack
from deploy.local.valkey import UsersFile, Valkey
from services.scorer.keys import Scope, new_key
from shared.kafka import acls, grants
from shared.redis_grants import ADMINISTRATOR, USERS, users_file
from shared.settings import KafkaSettings
from tests.e2e.system import System
from tests.tls_proxy import TlsProxy

PASSWORDS = {name: f"{name}-{'x' * 32}" for name in (*USERS, ADMINISTRATOR)}
OUTSIDERS = {"shop": "producers", "reporting": "consumers"}
BY_CERTIFICATE = "sink"
"""The service that shows a certificate instead of a password."""


class SecuredStack(EmbeddedStack):
    """The embedded parts with users and rules; Valkey behind TLS."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        port, controller_port, mtls_port, valkey_port, self._tls_port = free_ports(5)
        self.security = KafkaSecurity(data_dir / "kafka-security", [*grants.OURS, *OUTSIDERS], {1: mtls_port})
        self.kafka = Kafka(data_dir / "kafka", [Node(1, port, controller_port)], CACHE_DIR, self.security)
        users = data_dir / "users.acl"
        users.write_text(users_file({name: [password] for name, password in PASSWORDS.items()}))
        known_as = UsersFile(users, ADMINISTRATOR, PASSWORDS[ADMINISTRATOR])
        self.valkey = Valkey(data_dir / "valkey", valkey_port, known_as)
        self._authority = Authority(data_dir / "valkey-certificates")
        self._proxy = TlsProxy(self._tls_port, valkey_port, self._authority.issue("valkey"))
        self._until_stop = ExitStack()

    def start(self) -> None:
        super().start()
        self._until_stop.enter_context(self._proxy)
        wanted = grants.rules({**grants.OURS, **OUTSIDERS})
        applying = acls.apply(self.sasl(KAFKA_ADMINISTRATOR), wanted)
        try:
            with ThreadPoolExecutor(1) as thread:  # a test's own loop may be running in this one
                thread.submit(asyncio.run, applying).result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._until_stop.close()
        super().stop()

    def sasl(self, user: str) -> KafkaSettings:
        return self.security.sasl(self.kafka.bootstrap_servers, user)

    def redis_address(self, user: str) -> str:
        return f"rediss://{user}:{PASSWORDS[user]}@127.0.0.1:{self._tls_port}/0"

    def administrator(self) -> Redis:
        """Of Valkey."""
        return Redis.from_url(f"{self.redis_address(ADMINISTRATOR)}?ssl_ca_certs={self._authority.cafile}")

    def environment(self) -> dict[str, str]:
        """Of what makes the topics."""
        return {**super().environment(), **self.credentials("deployer")}

    def credentials(self, service: str) -> dict[str, str]:
        """What one service shows to brokers and Valkey."""
        user = f"{grants.OUR_PREFIX}{service}"
        if user not in grants.OURS:
            return {}  # the simulator has nothing to do with either
        kafka = self.security.mtls(user) if service == BY_CERTIFICATE else self.sasl(user)
        shown = {
            f"KAFKA__{name.upper()}": str(value or "")
            for name, value in kafka.model_dump(exclude={"sasl_password"}, exclude_defaults=True).items()
        }
        # Empty is unset: nothing of another one's credentials is left.
        unset = dict.fromkeys(("SASL_MECHANISM", "SASL_USERNAME", "SSL_CERTFILE", "SSL_KEYFILE"), "")
        password = "" if kafka.sasl_password is None else kafka.sasl_password.get_secret_value()
        redis = (
            {"REDIS__URL": self.redis_address(user), "REDIS__SSL_CAFILE": str(self._authority.cafile)}
            if user in USERS
            else {}
        )
        return {
            **{f"KAFKA__{name}": value for name, value in unset.items()},
            **shown,
            "KAFKA__SASL_PASSWORD": password,
            **redis,
        }


class SecuredSystem(System):
    """Its services run in the production profile."""

    stack: SecuredStack

    def __init__(self, data_dir: Path, services: Sequence[str], settings: Mapping[str, str]) -> None:
        public_keys, api_keys = data_dir / "public-keys.pem", data_dir / "api-keys"
        self.key, line = new_key("shop", [Scope.DECIDE])
        self.ledger_key, ledger_line = new_key("ledger", [Scope.READ])
        api_keys.write_text(f"{line}\n{ledger_line}\n")
        public_keys.write_bytes(
            Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        production = {
            "PROFILE": "production",
            "SCORER__API_KEYS_FILE": str(api_keys),
            "MODEL_REGISTRY__PUBLIC_KEYS_FILE": str(public_keys),
        }
        super().__init__(data_dir, services, {**production, **settings})
        self.stack = SecuredStack(data_dir / "secured")
        self.services = [replace(one, environment=self.stack.credentials(one.name)) for one in self.services]

    @property
    def kafka(self) -> KafkaSettings:
        return self.stack.sasl("flit-ledger")

    @property
    def environment(self) -> dict[str, str]:
        """For the audit."""
        return {**super().environment, **self.stack.credentials("ledger"), "LEDGER__SCORER_KEY": self.ledger_key}

    def by_hand(self, principal: str, *command: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """Run a service's command with the rights of `operators`, or of a service. `said`: on its standard input."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            input=said,
            env={**self.environment, **self.stack.credentials(principal)},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def denials(self) -> list[str]:
        """What the brokers refused to principals that they know, by their own log."""
        text = (self.stack._dir / "kafka" / "node-1" / "kafka.log").read_text(errors="replace")
        return [line for line in text.splitlines() if " is Denied " in line]
