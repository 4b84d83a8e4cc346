from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from deploy.local.backfill import AnotherHistory, BackfillSettings, as_begun, main
from deploy.local.bigquery import BigQuery
from deploy.local.ownership import Ownership
from deploy.local.processes import StartFailed

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


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of an earlier run, beside its data folder. The next one's warehouse doesn't start."""

    def fails(_self: BigQuery) -> None:
        raise StartFailed("bigquery", "wasn't ready within 120 s")

    monkeypatch.setattr(BigQuery, "start", fails)
    monkeypatch.setenv("BACKFILL_DATA_DIR", str(tmp_path / "backfill"))
    monkeypatch.setenv("BACKFILL_OUT", str(tmp_path / "backfill.json"))
    (tmp_path / "backfill.json").write_text("its result")
    return tmp_path / "backfill.json"


def test_a_backfill_that_fails_leaves_no_result_of_an_earlier_one(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["backfill"])
    with pytest.raises(SystemExit, match="backfill failed: bigquery"):
        main()
    assert not result.exists()


def test_who_only_opens_the_warehouse_leaves_the_result_alone(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["backfill", "--serve"])
    with pytest.raises(SystemExit, match="backfill failed: bigquery"):
        main()
    assert result.exists()


def test_a_second_backfill_is_told_of_the_first_and_touches_nothing(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["backfill"])
    folder = result.with_suffix("")
    with (
        Ownership.take(folder),
        pytest.raises(SystemExit, match=f"already runs in {folder}, as process {os.getpid()}$"),
    ):
        main()
    assert result.exists() and not folder.exists()
