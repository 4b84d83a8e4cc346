"""Settings of the console."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator

from shared.policy.economics import Economics
from shared.settings import BigQuerySettings, MetricsSettings, ModelRegistrySettings, Section, ServiceSettings

DEFAULT_METRICS_PORT = 9108
_ECONOMICS = Economics()


def _http(address: str) -> str:
    parts = urlsplit(address)
    if address and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError("an address such as http://127.0.0.1:8000, or nothing")
    return address.rstrip("/")


Address = Annotated[str, AfterValidator(_http)]


class HealthSection(Section):
    """Where each service tells whether it is ready, and serves its metrics; empty: it isn't asked."""

    ingestor: Address = "http://127.0.0.1:9101"
    features: Address = "http://127.0.0.1:9102"
    scorer: Address = "http://127.0.0.1:9103"
    sink: Address = "http://127.0.0.1:9104"
    simulator: Address = "http://127.0.0.1:9106"

    @property
    def addresses(self) -> dict[str, str]:
        """By service, those that are asked."""
        return {name: address for name, address in self.model_dump().items() if address}


class ConsoleSection(Section):
    host: str = "127.0.0.1"
    """The console has no door of its own for users: whoever reaches it reads everything. Beyond this machine it belongs
    behind something that knows them."""
    port: int = Field(default=8501, ge=1, le=65535)
    scorer_url: Address = "http://127.0.0.1:8000"
    scorer_key: SecretStr | None = None
    """A key with the scope `read`, where the REST door wants one."""
    operator_key_file: Path | None = None
    """A key with the scopes `review`, `decide` (calling off) and `admin` for everybody who reaches the console; unset:
    each enters his own."""
    ledger_report: Path = Path("out/ledger.json")
    """What the last audit left."""
    health: HealthSection = HealthSection()

    @field_validator("scorer_key", "operator_key_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("operator_key_file")
    @classmethod
    def _holds_a_key(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                held = path.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"can't be read: {error}") from None
            if not held or not held.isprintable():
                raise ValueError(f"{path} holds no key")
        return path

    @property
    def operator_key(self) -> str | None:
        """Read each time: a key that was changed counts from then on."""
        return None if self.operator_key_file is None else self.operator_key_file.read_text(encoding="ascii").strip()


class EconomicsSection(Section):
    """The trainer's own variables, so that what-if and backtest can't count differently."""

    margin_on_good: float = Field(default=_ECONOMICS.margin_on_good, gt=0)
    loss_on_default: float = Field(default=_ECONOMICS.loss_on_default, gt=0)

    @property
    def economics(self) -> Economics:
        return Economics(self.margin_on_good, self.loss_on_default)


class ConsoleSettings(ServiceSettings):
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_METRICS_PORT)
    bigquery: BigQuerySettings = BigQuerySettings()
    model_registry: ModelRegistrySettings = ModelRegistrySettings()
    trainer: EconomicsSection = EconomicsSection()
    console: ConsoleSection = ConsoleSection()
