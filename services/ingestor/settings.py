"""The ingestor's settings."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from shared.settings import (
    KafkaSettings,
    LimitsSettings,
    MetricsSettings,
    RedisSettings,
    Section,
    ServiceSettings,
    SimtomSettings,
)

MAX_HISTORY_DAYS = 366
"""The source refuses a longer range."""

DEFAULT_PORT = 9101


class IngestorSection(Section):
    mode: Literal["live", "history"] = "live"
    generator: str = Field(default="bnpl", pattern=r"^[a-z0-9_]{1,64}$")
    rate: float = Field(default=10.0, ge=0.01, le=1000.0)
    """Events a second of the live stream."""
    max_events: int = Field(default=0, ge=0)
    """Of the live stream, then the service ends; 0: it goes on."""
    start: date | None = None
    end: date | None = None
    """First and last day of the history, both included."""
    daily: int = Field(default=1000, ge=1)
    """Mean events a day of the history."""
    seed: int = Field(default=20_260_601, ge=1)
    """Of the history. 0 would mean none to the source, and then the run could never be resumed."""
    archive: Path | None = None
    """A folder for the history's days, in place of Kafka; `python -m services.sink load` takes them from there."""
    again: bool = False
    """Bring the history's days once more, also those that are done."""
    first_read: date | None = None
    """The day on which the history was first called, where Redis has lost its cursor: tenures are counted from it, and
    from another day the same events would have other bodies."""
    batch_lines: int = Field(default=1000, ge=1, le=20_000)
    """Lines held at most: what is sent and acknowledged together, and what is read ahead meanwhile."""
    max_refused_share: float = Field(default=0.5, gt=0.0, le=1.0)
    """Of the last 1,000 lines: beyond it the source is taken for broken and no longer read."""

    @model_validator(mode="after")
    def _both_dates(self) -> IngestorSection:
        # With one date only, the source answers 200 and streams live events without a word.
        if (self.start is None) != (self.end is None):
            raise ValueError("set both INGESTOR__START and INGESTOR__END, or neither")
        if self.mode == "history" and self.start is None:
            raise ValueError("the history mode needs INGESTOR__START and INGESTOR__END")
        if self.mode == "live" and self.archive is not None:
            raise ValueError("INGESTOR__ARCHIVE is for a history, whose days end")
        if self.again and self.archive is not None:
            raise ValueError("INGESTOR__AGAIN is for topics; for files, give another folder")
        if self.start is not None and self.end is not None:
            days = (self.end - self.start).days + 1
            if not 1 <= days <= MAX_HISTORY_DAYS:
                raise ValueError(f"INGESTOR__START to INGESTOR__END must be 1 to {MAX_HISTORY_DAYS} days, got {days}")
        return self


class IngestorSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    simtom: SimtomSettings = SimtomSettings()
    limits: LimitsSettings = LimitsSettings()
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_PORT)
    ingestor: IngestorSection = IngestorSection()
