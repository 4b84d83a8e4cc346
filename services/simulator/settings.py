"""The simulator's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from services.simulator.request import RegimeChange
from shared.settings import MetricsSettings, Section, ServiceSettings

DEFAULT_PORT = 9106


class SimulatorSection(Section):
    host: str = "127.0.0.1"
    port: int = Field(default=18000, ge=1, le=65535)
    history_day_pause_seconds: float = Field(default=1.0, ge=0.0, le=60.0)
    """After each day of history; simtom sleeps one second."""
    hidden_file: Path | None = None
    """For evaluation only: what lies behind each event sent is appended to it, one JSON object a line."""
    continuity: Literal["continued", "fresh"] = "continued"
    """`fresh`: as simtom, each stream makes its own people and forgets some of them. `continued`: nobody is forgotten,
    and a live stream without a seed goes on with the people of the generator's last history."""
    regime: list[RegimeChange] = Field(default=[])
    """As JSON: changes of the world in every stream whose request names none. The ingestor doesn't know of them."""

    @field_validator("hidden_file", mode="before")
    @classmethod
    def _empty_is_off(cls, value: object) -> object:
        return None if value == "" else value


class SimulatorSettings(ServiceSettings):
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_PORT)
    simulator: SimulatorSection = SimulatorSection()
