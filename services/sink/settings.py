"""The sink's settings."""

from __future__ import annotations

from pydantic import Field

from shared.settings import (
    BigQuerySettings,
    KafkaSettings,
    LimitsSettings,
    MetricsSettings,
    PrivacySettings,
    RedisSettings,
    Section,
    ServiceSettings,
)

DEFAULT_PORT = 9104


class SinkSection(Section):
    linger_ms: int = Field(default=1000, ge=0, le=60_000)
    """How long a record may wait for others to share its append: an append costs about the same for one row as for five
    hundred. The larger part of the time until a row is visible."""
    max_rows: int = Field(default=500, ge=1, le=50_000)
    """An append is sent at once when so many rows wait for it."""
    buffer_bytes: int = Field(default=2_097_152, ge=65_536)
    """Of one partition of one topic, in memory: beyond it reading pauses, until the warehouse has caught up. As rows on
    their way they take several times as much, and after a burst all partitions of all topics do."""
    threads: int = Field(default=48, ge=1, le=512)
    """For calls that block. An append holds one while it waits for its answer, so no fewer than tables times partitions
    of this process, or a slow table makes the others wait."""
    load_processes: int = Field(default=2, ge=1, le=64)
    """Of a bulk load, a day each at a time."""


class SinkSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    privacy: PrivacySettings = PrivacySettings()
    bigquery: BigQuerySettings = BigQuerySettings()
    limits: LimitsSettings = LimitsSettings()
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_PORT)
    sink: SinkSection = SinkSection()
