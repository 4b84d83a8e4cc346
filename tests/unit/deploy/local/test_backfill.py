from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from deploy.local.backfill import AnotherHistory, BackfillSettings, as_begun

BEGUN = {"start": "2026-06-01", "end": "2026-06-30", "daily": 5000, "seed": 7, "generator": "bnpl"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What a run a while ago was asked for."""
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(BEGUN))
    return path


def test_a_first_run_ends_yesterday(tmp_path: Path) -> None:
    settings = as_begun(BackfillSettings(days=10), tmp_path / "asked.json")
    assert settings.last == datetime.now(UTC).date() - timedelta(days=1)
    assert (settings.last - settings.first).days == 9


def test_a_later_day_goes_on_with_the_days_and_the_seed_that_were_begun(file: Path) -> None:
    settings = as_begun(BackfillSettings(), file)
    assert (settings.first, settings.last, settings.seed) == (date(2026, 6, 1), date(2026, 6, 30), 7)


@pytest.mark.parametrize("asked", [{"start": "2026-06-01"}, {"days": 30}, {"seed": 7, "daily": 5000}])
def test_the_same_may_be_said_again(file: Path, asked: dict[str, object]) -> None:
    assert as_begun(BackfillSettings.model_validate(asked), file).last == date(2026, 6, 30)


@pytest.mark.parametrize(
    "asked", [{"start": "2026-06-02"}, {"days": 90}, {"seed": 8}, {"daily": 100}, {"end": "2026-07-01"}]
)
def test_another_history_needs_a_folder_of_its_own(file: Path, asked: dict[str, object]) -> None:
    with pytest.raises(AnotherHistory, match=f"{next(iter(asked)).upper()} would be another one"):
        as_begun(BackfillSettings.model_validate(asked), file)
