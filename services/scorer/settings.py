"""The scorer's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from services.scorer.following import BEHIND_S
from shared.contracts.topics import DAY_MS, DECISIONS, FEATURES
from shared.policy import DEFAULT_POLICY
from shared.settings import (
    KafkaSettings,
    LimitsSettings,
    MetricsSettings,
    ModelRegistrySettings,
    PrivacySettings,
    RedisSettings,
    Section,
    ServiceSettings,
)

DEFAULT_PORT = 9103
_DAY_SECONDS = DAY_MS // 1000


class ScorerSection(Section):
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8000, ge=0, le=65535)
    """0 picks a free port."""
    api_keys_file: Path | None = None
    policy_file: Path = DEFAULT_POLICY
    claim_ttl_seconds: int = Field(default=FEATURES.retention_ms // 1000, ge=60, le=DECISIONS.retention_ms // 1000)
    """How long a decision is known under its event's id. No shorter than vectors are kept on bnpl-features: a vector
    that outlived its claim would be decided anew. No longer than decisions are kept on risk-decisions: a claim that
    outlived its decision couldn't be restored."""
    debt_days: int = Field(default=DECISIONS.retention_ms // 86_400_000, ge=1)
    """How long a purchase may be owed, at most: after a loss of Redis, what customers owe is restored from decisions
    that are no older. The default is all that risk-decisions keeps; the longest terms in use are enough, and
    quicker."""
    idempotency_ttl_seconds: int = Field(default=_DAY_SECONDS, ge=60)
    reload_seconds: float = Field(default=1.0, gt=0, le=3600)
    """How often the registry is asked for the model in service."""
    batch_records: int = Field(default=512, ge=1, le=10_000)
    """Taken from the topic at most at once."""
    chunk_records: int = Field(default=64, ge=1, le=4096)
    """Decided without a pause at most, but for four times as many where no checkout has come for a while. Longer makes
    the stream faster and a checkout wait."""
    refusals_per_minute: int = Field(default=1000, ge=0)
    """Beyond so many refused vectors in a minute, and beyond the share, bnpl-features is left alone for a while; 0:
    never. A features service of another release would else have all of it in the dead letters."""
    max_refused_share: float = Field(default=0.5, ge=0, le=1)
    halt_seconds: float = Field(default=60.0, gt=0, le=90)
    """For which it is left alone, before the next try. Well below the two minutes after which a consumer that polls
    nothing has to leave its group."""
    redis_timeout_ms: int = Field(default=50, ge=1, le=5000)
    """Of each question of a checkout; after it the fallback decides. Usually a millisecond is enough: what takes 50 of
    them is broken, and a checkout page has no time to find out. A machine with too little CPU wants more."""
    states_behind_seconds: float = Field(default=BEHIND_S, gt=0, le=86_400)
    """A checkout is answered by the fallback where states lack for longer than this what checkouts brought before: the
    features service stands still, or has more to do than it can."""
    publish_timeout_ms: int = Field(default=2000, ge=50, le=30_000)
    """How long a checkout waits for Kafka before it is told to ask again; well within the life of what it reserved."""
    max_batch_bytes: int = Field(default=4_194_304, ge=1024, le=67_108_864)
    """Of the body of a batch, as sent and unpacked."""
    max_in_flight: int = Field(default=256, ge=1, le=100_000)
    """Checkout requests at once, at most. Beyond it 503 at once."""
    deadline_ms: int = Field(default=5000, ge=1, le=60_000)
    """Of a purchase from its arrival on; a request may ask for a shorter one (`Deadline-Ms`). Beyond it 503, and asking
    again with the same body gives the same decision."""
    answer_within_ms: int = Field(default=100, ge=1, le=60_000)
    """Where checkouts take longer, fewer are let in at once, so that those that are stay fast."""
    rate_per_second: float = Field(default=5000.0, gt=0)
    """Requests of each caller, on average; beyond it 429 with the time to wait. Of this process."""
    rate_burst: int = Field(default=10_000, ge=1)
    """And at once after a pause."""
    max_connections: int = Field(default=2048, ge=1, le=100_000)
    """Open at once; what comes beyond is answered 503 and closed."""
    read_seconds: float = Field(default=5.0, gt=0, le=600)
    """For the head of a request to arrive, and for its body. Honest ones take milliseconds."""
    keep_alive_seconds: float = Field(default=5.0, gt=0, le=3600)
    """How long an idle connection is kept. A balancer in front should give it up sooner by itself."""
    drain_seconds: float = Field(default=0.0, ge=0, le=10)
    """How long requests are still answered after a stop signal, while `/ready` says no: until whoever sends them has
    noticed. 0 where something else sees to that, such as a preStop hook."""


class ScorerSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    privacy: PrivacySettings = PrivacySettings()
    model_registry: ModelRegistrySettings = ModelRegistrySettings()
    limits: LimitsSettings = LimitsSettings()
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_PORT)
    scorer: ScorerSection = ScorerSection()

    @model_validator(mode="after")
    def _production_has_keys(self) -> ScorerSettings:
        if self.profile == "production" and self.scorer.api_keys_file is None:
            raise ValueError("SCORER__API_KEYS_FILE must be set in the production profile")
        if self.profile == "production" and self.model_registry.public_keys_file is None:
            raise ValueError("MODEL_REGISTRY__PUBLIC_KEYS_FILE must be set in the production profile")
        return self
