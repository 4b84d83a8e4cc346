"""Settings of the ledger."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from services.ledger.chain import Heads, heads_of
from shared.settings import (
    BigQuerySettings,
    KafkaSettings,
    MetricsSettings,
    PrivacySettings,
    RedisSettings,
    Section,
    ServiceSettings,
)

DEFAULT_PORT = 9107


class LedgerSection(Section):
    settle_seconds: float = Field(default=90.0, ge=0)
    """How long to wait for the services to catch up with the log as it stood at the start, and then for REST."""
    report: Path = Path("out/ledger.json")
    earlier_report: Path | None = None
    """Of another audit, kept elsewhere: the links that it saw last have to be there still."""
    scorer_url: str = "http://127.0.0.1:8000"
    """Whose stored answers are compared with the topic; empty: not compared."""
    scorer_key: SecretStr | None = None
    """A key with the scope `read`, where the REST door wants one."""
    compared_answers: int = Field(default=200, ge=0)

    @field_validator("earlier_report")
    @classmethod
    def _tells_of_chains(cls, path: Path | None) -> Path | None:
        if path is not None:
            _heads(path)
        return path

    def earlier_heads(self) -> Heads:
        return {} if self.earlier_report is None else _heads(self.earlier_report)


def _heads(path: Path) -> Heads:
    try:
        return heads_of(json.loads(path.read_bytes())["chain"])
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the report of an audit, with `chain` in it ({error!r})") from None


class LedgerSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    privacy: PrivacySettings = PrivacySettings()
    bigquery: BigQuerySettings = BigQuerySettings()
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_PORT)
    ledger: LedgerSection = LedgerSection()
