"""Settings: read once at the start from the environment, frozen afterwards.

Names are `SECTION__FIELD`, as the README of each service lists them. Where SECRETS_DIR names a folder, a file in it
that is named so is read as the setting's value; a variable goes before it. A service refuses to start on a bad setting,
with one line that names the variable.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from shared.contracts import money
from shared.contracts.pseudonyms import Pseudonyms
from shared.contracts.topics import DEFAULT_PARTITIONS
from shared.contracts.transactions import Limits
from shared.kafka.errors import BadTlsFile
from shared.loopback import is_loopback

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Values = TypeVar("Values", bound="DataclassInstance")

EXIT_BAD_SETTING = 2
SHORTEST_KEY = 32
"""Characters of a secret: 128 bits even where it is written in hex digits."""
_DEFAULT_LIMITS = Limits()


class Section(BaseModel):
    """A group of settings: `KAFKA__PARTITIONS` is the field `partitions` of the section `kafka`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def filled(self, kind: type[Values]) -> Values:
        """A dataclass, each of whose fields is a setting of this section."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})


class KafkaSettings(Section):
    bootstrap_servers: str = "127.0.0.1:19092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: str | None = None
    """PEM certificates of who may have signed the brokers'; unset, whom the system trusts."""
    ssl_certfile: str | None = None
    """PEM certificate of this client, with those between it and its signer: by it the brokers know the service, where
    they ask for one (mTLS)."""
    ssl_keyfile: str | None = None
    """PEM key of that certificate, not encrypted; unset, it lies in the certificate's file."""
    partitions: int = Field(default=DEFAULT_PARTITIONS, ge=1, le=1024)
    """Of every topic. Changing it moves customers to other partitions, so it means new topics and a rebuild."""
    replication_factor: int = Field(default=1, ge=1, le=7)
    group_instance_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,100}$")
    """Of this process, and of no other of its service: a restart within the session timeout (10 s) then finds its
    partitions waiting, and no rebalance stops the others. Only where the name outlives the process; unset, the group
    deals the partitions out anew at each start and stop."""
    stall_seconds: float = Field(default=60.0, gt=0)
    """Without progress for so long, while records wait and nothing it needs is away, a consumer ends its process."""

    @field_validator(
        *("group_instance_id", "sasl_mechanism", "sasl_username", "sasl_password"),
        *("ssl_cafile", "ssl_certfile", "ssl_keyfile"),
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @model_validator(mode="after")
    def _complete(self) -> KafkaSettings:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError("set KAFKA__SASL_USERNAME and KAFKA__SASL_PASSWORD, or another KAFKA__SECURITY_PROTOCOL")
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("KAFKA__SSL_KEYFILE without KAFKA__SSL_CERTFILE")
        if self.ssl_certfile and "SSL" not in self.security_protocol:
            raise ValueError("KAFKA__SSL_CERTFILE needs KAFKA__SECURITY_PROTOCOL SSL or SASL_SSL")
        return self

    @property
    def insecure(self) -> str | None:
        """What keeps these settings out of production; None: nothing."""
        if "SSL" not in self.security_protocol:
            return "KAFKA__SECURITY_PROTOCOL must be SSL or SASL_SSL"
        if self.security_protocol == "SSL" and not self.ssl_certfile:
            return "KAFKA__SSL_CERTFILE must be set where KAFKA__SECURITY_PROTOCOL is SSL"
        return None


class RedisSettings(Section):
    url: str = "redis://127.0.0.1:16379/0"
    """`redis://` or, encrypted, `rediss://`; with user and password, percent-encoded: `rediss://user:password@host`."""
    ssl_cafile: str | None = None
    """PEM certificates of who may have signed the server's; unset, whom the system trusts."""

    @field_validator("ssl_cafile", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @model_validator(mode="after")
    def _not_without_encryption(self) -> RedisSettings:
        if self.ssl_cafile and not self.encrypted:
            raise ValueError("REDIS__SSL_CAFILE needs a REDIS__URL that begins with rediss://")
        return self

    @property
    def encrypted(self) -> bool:
        return self.url.startswith("rediss://")

    @property
    def address(self) -> str:
        """The URL as the client takes it, which has no other way to be told whom to trust. Raises BadTlsFile: to the
        client a file that it can't read is a server that is away."""
        if self.ssl_cafile is None:
            return self.url
        try:
            ssl.create_default_context(cafile=self.ssl_cafile)
        except OSError as error:  # an SSLError is one
            raise BadTlsFile(f"bad setting REDIS__SSL_CAFILE: {error}") from None
        return f"{self.url}{'&' if '?' in self.url else '?'}ssl_ca_certs={quote(self.ssl_cafile, safe='')}"

    @property
    def insecure(self) -> str | None:
        """What keeps these settings out of production; None: nothing."""
        if not self.encrypted:
            return "REDIS__URL must begin with rediss://"
        # The client takes these from the URL, and each undoes what TLS is for.
        if re.search(r"[?&]ssl_(cert_reqs=(none|optional)|check_hostname=(false|no|0))", self.url, re.IGNORECASE):
            return "REDIS__URL must not switch the checking of certificates off"
        return None


class BigQuerySettings(Section):
    """Both endpoints empty: Google's own, with application default credentials."""

    project: str = "flit-local"
    rest_endpoint: str = "http://127.0.0.1:19050"
    grpc_endpoint: str = "127.0.0.1:19060"

    @model_validator(mode="after")
    def _both_or_none(self) -> BigQuerySettings:
        if bool(self.rest_endpoint) != bool(self.grpc_endpoint):
            raise ValueError("set both rest_endpoint and grpc_endpoint (an emulator), or leave both empty (Google)")
        return self

    @property
    def is_emulator(self) -> bool:
        return bool(self.rest_endpoint)

    @property
    def insecure(self) -> str | None:
        """What keeps these settings out of production; None: nothing. An emulator on this machine sends nothing out."""
        hosts = [urlsplit(self.rest_endpoint).hostname, urlsplit(f"//{self.grpc_endpoint}").hostname]
        if self.is_emulator and not all(host == "localhost" or is_loopback(host or "") for host in hosts):
            return "BIGQUERY__REST_ENDPOINT and BIGQUERY__GRPC_ENDPOINT must be empty, which is Google's own,"
        return None


class SimtomSettings(Section):
    url: str = "http://127.0.0.1:18000"
    customer_scope: Literal["profile", "run", "source"] = "profile"
    """How far a `customer_id` of the source is trusted to mean one person (docs/adr/0002)."""


class ModelRegistrySettings(Section):
    uri: str = ".local/models"
    """A folder, or `gs://bucket/prefix`."""
    mirror: Path | None = None
    """Of a registry in a bucket: the folder of this machine that models are copied into. Unset: one among the system's
    temporary files, named after the address."""
    public_keys_file: Path | None = None
    """PEM public keys (Ed25519), one after the other: only models that one of them has signed are taken."""
    signing_key_file: Path | None = None
    """PEM private key (Ed25519): the trainer signs what it registers with it."""

    @field_validator("mirror", "public_keys_file", "signing_key_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "console"] = "json"


class MetricsSettings(Section):
    port: int = Field(default=0, ge=0, le=65535)
    """Where /metrics, /live and /ready are served; 0 picks a free port."""
    host: str = "127.0.0.1"


MOST_BODY_BYTES = 786_432
"""Three quarters of what a record may have in Kafka: what a purchase gets beside its body is far less."""


class LimitsSettings(Section):
    max_amount: float = Field(default=_DEFAULT_LIMITS.max_amount, gt=0, le=money.MOST)
    """In the purchase's currency. A billion: what is added up of a customer in smallest units still fits 64 bits."""
    max_body_bytes: int = Field(default=_DEFAULT_LIMITS.max_body_bytes, gt=0, le=MOST_BODY_BYTES)
    max_future_seconds: int = Field(default=_DEFAULT_LIMITS.max_future_seconds, ge=0)
    max_lateness_seconds: int = Field(default=_DEFAULT_LIMITS.max_lateness_seconds, ge=0)

    def limits(self) -> Limits:
        return Limits(self.max_amount, self.max_body_bytes, self.max_future_seconds, self.max_lateness_seconds)


class PrivacySettings(Section):
    pseudonym_key: SecretStr | None = None
    """At least 32 characters, the same for every service: customers then have pseudonyms in Redis, logs and warehouse.
    Unset: they don't. Another key makes other people of them all (docs/operations/personal-data.md)."""

    @field_validator("pseudonym_key", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("pseudonym_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_KEY:
            raise ValueError(f"at least {SHORTEST_KEY} characters, such as `openssl rand -hex 32` gives")
        return value

    def pseudonyms(self) -> Pseudonyms:
        return (
            Pseudonyms() if self.pseudonym_key is None else Pseudonyms(self.pseudonym_key.get_secret_value().encode())
        )


class ServiceSettings(BaseSettings):
    """What every service has. Its own class adds the sections that it needs."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="__",
        frozen=True,
        extra="ignore",
        # METRICS__HOST alone must not take the default port away from METRICS__PORT.
        nested_model_default_partial_update=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        folder = os.environ.get("SECRETS_DIR")
        if not folder:
            return init_settings, env_settings
        # A variable can be read by whoever may look at the container; a file only by who is in it.
        files = NestedSecretsSettingsSource(
            file_secret_settings, secrets_dir=folder, secrets_dir_missing="error", secrets_nested_delimiter="__"
        )
        return init_settings, env_settings, files

    profile: Literal["local", "production"] = "local"
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    @model_validator(mode="after")
    def _production_is_encrypted(self) -> ServiceSettings:
        for section in (getattr(self, name, None) for name in ("kafka", "redis", "bigquery")):
            if not isinstance(section, KafkaSettings | RedisSettings | BigQuerySettings):
                continue
            if self.profile == "production" and section.insecure:
                raise ValueError(f"{section.insecure} in the production profile")
        return self


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(kind: type[SettingsT]) -> SettingsT:
    """The settings of this process. On a bad one: one line on standard error that names it, and exit status 2."""
    try:
        return kind()
    except SettingsError as error:
        print(f"bad setting: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EXIT_BAD_SETTING) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "__".join(str(part) for part in first["loc"]).upper()
        print(f"bad setting {name or 'combination'}: {first['msg']}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EXIT_BAD_SETTING) from None
