"""The body of `POST /stream/{generator}`: simtom's parameters, and two keys of our own."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_HISTORY_DAYS = 366

Hour = Annotated[int, Field(ge=0, le=23)]


class RegimeChange(BaseModel):
    """From the event time `at` on, the world is another one (regime.py says how)."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    """Naive, UTC: like the events' own times."""
    kind: Literal["attributes", "law"]
    strength: float = Field(default=0.5, ge=0.0, le=1.0)

    @field_validator("at")
    @classmethod
    def _naive(cls, at: datetime) -> datetime:
        if at.tzinfo is not None:
            raise ValueError("a naive time is wanted: event times are naive and mean UTC")
        return at


class StreamRequest(BaseModel):
    """Unknown keys are ignored, and one date without the other asks for live events: so does simtom."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rate_per_second: float = Field(default=1.0, ge=0.01, le=1000.0)
    max_records: int | None = Field(default=None, ge=1)
    seed: int | None = None

    start_date: date | None = None
    end_date: date | None = None
    base_daily_volume: int = Field(default=1000, ge=1)
    weekend_multiplier: float = Field(default=1.2, gt=0.0, le=100.0)
    include_holiday_patterns: bool = True

    arrival_pattern: Literal["uniform", "poisson", "nhpp", "burst"] = "uniform"
    peak_hours: list[Hour] | None = None
    burst_intensity: float = Field(default=5.0, ge=1.0, le=1000.0)
    burst_probability: float = Field(default=0.1, ge=0.0, le=1.0)

    noise_type: Literal["none", "gaussian", "uniform", "outliers"] = "none"
    noise_level: float = Field(default=0.05, ge=0.0, le=1.0)
    drift_type: Literal["none", "linear", "seasonal", "sudden", "gradual"] = "none"
    drift_strength: float = Field(default=0.1, ge=0.0, le=10.0)
    start_time: datetime | None = None
    time_compression: float = Field(default=1.0, gt=0.0, le=1_000_000.0)

    history_day_pause_seconds: float | None = Field(default=None, ge=0.0, le=60.0)
    """Our own: the pause after each day of history. None: the server's setting."""
    regime: list[RegimeChange] = []
    """Our own: changes of the world at given event times."""

    @model_validator(mode="after")
    def _range_of_days(self) -> StreamRequest:
        if self.start_date is not None and self.end_date is not None:
            days = (self.end_date - self.start_date).days + 1
            if days < 1:
                raise ValueError("end_date lies before start_date")
            if days > MAX_HISTORY_DAYS:
                raise ValueError(f"at most {MAX_HISTORY_DAYS} days, got {days}")
        return self

    @property
    def days(self) -> tuple[date, date] | None:
        """First and last day of a history; None: live."""
        if self.start_date is None or self.end_date is None:
            return None
        return self.start_date, self.end_date

    @property
    def effective_seed(self) -> int | None:
        """None where there is none; 0 counts as none."""
        return self.seed or None
