"""Settings of the ledger."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from shared.settings import BigQuerySettings, KafkaSettings, PrivacySettings, RedisSettings, Section, ServiceSettings


class LedgerSection(Section):
    settle_seconds: float = Field(default=90.0, ge=0)
    """How long to wait for the services to catch up with the log as it stood at the start."""
    report: Path = Path("out/ledger.json")
    scorer_url: str = "http://127.0.0.1:8000"
    """Whose stored answers are compared with the topic; empty: not compared."""
    scorer_key: SecretStr | None = None
    """A key with the scope `read`, where the REST door wants one."""
    compared_answers: int = Field(default=200, ge=0)


class LedgerSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    privacy: PrivacySettings = PrivacySettings()
    bigquery: BigQuerySettings = BigQuerySettings()
    ledger: LedgerSection = LedgerSection()
