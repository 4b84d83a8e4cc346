"""Settings of the features service."""

from __future__ import annotations

from pydantic import Field

from shared.settings import (
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
    stall_seconds: float = Field(default=60.0, gt=0)
    """Without progress for so long while there is lag, the process ends, for its supervisor to start it again."""


class FeaturesSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    privacy: PrivacySettings = PrivacySettings()
    limits: LimitsSettings = LimitsSettings()
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_PORT)
    features: FeaturesSection = FeaturesSection()
