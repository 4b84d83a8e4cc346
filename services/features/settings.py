"""Settings of the features service."""

from __future__ import annotations

from typing import Literal

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

DEFAULT_PORT = 9102


class FeaturesSection(Section):
    max_batch: int = Field(default=500, ge=1, le=10_000)
    """Records of one partition handled together: more is faster on a backlog, and slower for the first of them."""
    refusals_per_minute: int = Field(default=1000, ge=0)
    """Beyond so many refused records of a topic in a minute, and beyond the share, the topic is left alone for a
    while; 0: never."""
    halt_seconds: float = Field(default=60.0, gt=0)
    """For which a topic is left alone, before the next try."""
    max_refused_share: float = Field(default=0.5, ge=0, le=1)
    rebuild_from_warehouse: bool = True
    """Whether records that retention has taken are read from BigQuery when states are made anew. It is not asked for
    them while the log goes back far enough."""
    loaded_history: bool = False
    """Whether states begin with what was loaded in bulk (`python -m services.sink load`). It is read from BigQuery
    whenever states are made anew, so that these then need it, however far the log goes back."""
    rebuild_gaps: Literal["wait", "accept"] = "wait"
    """What to do where the warehouse lacks records as well. Waiting is safe: checkouts are answered by the fallback,
    and say so. States without a part of their past say nothing, and take a customer who owes for one who doesn't."""
    rebuild_max_bytes: int = Field(default=100 * 2**30, ge=10 * 2**20)
    """That one query of a rebuild may read of BigQuery. It pays for no less than 10 MiB."""


class FeaturesSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    privacy: PrivacySettings = PrivacySettings()
    bigquery: BigQuerySettings = BigQuerySettings()
    limits: LimitsSettings = LimitsSettings()
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_PORT)
    features: FeaturesSection = FeaturesSection()
