"""What `make demo` can be told, by environment variables of the same names."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_SEED = 20260601


class DemoSettings(BaseSettings):
    """Empty variables count as unset, since make exports them so."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    events: int = Field(default=5000, ge=1)
    """Live events to wait for."""
    rate: float = Field(default=200.0, gt=0, le=1000)
    """Live events per second."""
    simtom_url: str = ""
    """An external simtom instead of the bundled simulator."""
    seed: int = Field(default=DEFAULT_SEED, ge=1)
    history_days: int = Field(default=150, ge=90, le=366)
    """84 of them for labels to mature, the rest to train and to hold out."""
    history_daily: int = Field(default=300, ge=10)
    """Events a day, about: weekdays and holidays differ."""
    data_dir: Path = Field(default=Path(".local/demo"), alias="DEMO_DATA_DIR")
    out: Path = Field(default=Path("out/demo.json"), alias="DEMO_OUT")

    @property
    def history(self) -> tuple[date, date]:
        """First and last day of history: it ends yesterday, so that the live stream goes on from there."""
        last = datetime.now(UTC).date() - timedelta(days=1)
        return last - timedelta(days=self.history_days - 1), last
