from __future__ import annotations

import os
from datetime import date

import pytest

from services.ingestor import cli
from services.ingestor.settings import IngestorSettings
from shared.settings import load_settings


def settings_from(monkeypatch: pytest.MonkeyPatch, *arguments: str, **environment: str) -> IngestorSettings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    copy = dict(os.environ)
    cli.to_environment(cli.parse(arguments), copy)
    for name, value in copy.items():
        monkeypatch.setenv(name, value)
    return load_settings(IngestorSettings)


def test_without_a_word_it_reads_the_live_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(monkeypatch)
    assert (settings.ingestor.mode, settings.ingestor.generator, settings.ingestor.max_events) == ("live", "bnpl", 0)
    assert settings.metrics.port == 9101


def test_a_container_is_told_by_its_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(
        monkeypatch, INGESTOR__MODE="history", INGESTOR__START="2026-06-01", INGESTOR__END="2026-06-04",
        INGESTOR__DAILY="300", INGESTOR__SEED="7",
    )  # fmt: skip
    assert settings.ingestor.mode == "history"
    assert settings.ingestor.end == date(2026, 6, 4)


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(monkeypatch, "live", "--rate", "50", INGESTOR__RATE="5", INGESTOR__MODE="history")
    assert (settings.ingestor.mode, settings.ingestor.rate) == ("live", 50.0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("live", "--rate", "0"), "INGESTOR__RATE"),
        (("live", "--rate", "1001"), "INGESTOR__RATE"),
        (("live", "--generator", "../bnpl"), "INGESTOR__GENERATOR"),
        (("history", "--start", "2026-06-01"), "INGESTOR__END"),
        (("history", "--end", "2026-06-01"), "INGESTOR__START"),
        (("history",), "INGESTOR__START"),
        (("history", "--start", "2026-06-02", "--end", "2026-06-01"), "1 to 366 days"),
        (("history", "--start", "2025-01-01", "--end", "2026-06-01"), "1 to 366 days"),
        (("history", "--start", "2026-06-01", "--end", "2026-06-02", "--seed", "0"), "INGESTOR__SEED"),
    ],
)
def test_a_bad_setting_is_named_in_one_line(
    arguments: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings_from(monkeypatch, *arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "moment"),
    [("2026-06-01", "2026-06-01T00:00:00.000000Z"), ("2026-06-01T02:00:00+02:00", "2026-06-01T00:00:00.000000Z")],
)
def test_a_replay_begins_on_a_day_or_at_a_time(text: str, moment: str) -> None:
    assert cli.parse(["replay-dead-letters", "--since", text]).since == moment
    with pytest.raises(SystemExit):
        cli.parse(["replay-dead-letters", "--since", "yesterday"])


def test_a_replay_is_limited_to_one_letter_at_least() -> None:
    assert cli.parse(["replay-dead-letters", "--limit", "1"]).limit == 1
    with pytest.raises(SystemExit):
        cli.parse(["replay-dead-letters", "--limit", "0"])


def test_a_range_of_366_days_is_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(monkeypatch, "history", "--start", "2028-01-01", "--end", "2028-12-31")
    assert settings.ingestor.start == date(2028, 1, 1)
