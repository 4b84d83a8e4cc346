"""What `make demo` can be told, by environment variables of the same names."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from deploy.local.history import HistorySettings


class DemoSettings(HistorySettings):
    events: int = Field(default=5000, ge=1)
    """Live events to wait for."""
    rate: float = Field(default=200.0, gt=0, le=1000)
    """Live events per second."""
    simtom_url: str = ""
    """An external simtom instead of the bundled simulator."""
    data_dir: Path = Field(default=Path(".local/demo"), alias="DEMO_DATA_DIR")
    out: Path = Field(default=Path("out/demo.json"), alias="DEMO_OUT")
