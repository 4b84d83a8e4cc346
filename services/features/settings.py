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
    refusals_per_minute: int = Field(default=1000, ge=0)
    """Beyond so many refused records of a topic in a minute, and beyond the share, the topic is left alone for a
    while; 0: never."""
    halt_seconds: float = Field(default=60.0, gt=0)
    """For which a topic is left alone, before the next try."""
    max_refused_share: float = Field(default=0.5, ge=0, le=1)


class FeaturesSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    privacy: PrivacySettings = PrivacySettings()
    limits: LimitsSettings = LimitsSettings()
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_PORT)
    features: FeaturesSection = FeaturesSection()
