"""Settings: what the console starts with, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.console.serving import options
from services.console.settings import ConsoleSettings
from services.trainer.settings import TrainerSettings
from shared.settings import EXIT_BAD_SETTING, load_settings


def test_it_is_reached_from_this_machine_alone_unless_it_is_told_otherwise() -> None:
    chosen = options(ConsoleSettings().console)
    assert chosen["server.address"] == "127.0.0.1"
    assert chosen["client.showErrorDetails"] == "none"
    assert Path(chosen["theme.base"]).is_file()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONSOLE__PORT", "0"),
        ("CONSOLE__SCORER_URL", "scorer:8000"),
        ("CONSOLE__HEALTH__SINK", "sink"),
        ("CONSOLE__OPERATOR_KEY_FILE", "/nowhere/key"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line_that_names_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as refused:
        load_settings(ConsoleSettings)
    assert refused.value.code == EXIT_BAD_SETTING
    [line] = capsys.readouterr().err.splitlines()
    assert name in line


def test_a_key_in_a_file_is_read_anew_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("flit_00000000_first\n")
    monkeypatch.setenv("CONSOLE__OPERATOR_KEY_FILE", str(file))
    section = ConsoleSettings().console
    assert section.operator_key == "flit_00000000_first"
    file.write_text("flit_00000000_second\n")
    assert section.operator_key == "flit_00000000_second"


def test_what_if_and_backtest_count_with_the_same_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER__MARGIN_ON_GOOD", "0.05")
    monkeypatch.setenv("TRAINER__LOSS_ON_DEFAULT", "0.5")
    assert ConsoleSettings().trainer.economics == TrainerSettings().trainer.economics
    monkeypatch.undo()
    assert ConsoleSettings().trainer.economics == TrainerSettings().trainer.economics


def test_a_service_without_an_address_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE__HEALTH__SIMULATOR", "")
    addresses = ConsoleSettings().console.health.addresses
    assert "simulator" not in addresses and addresses["sink"] == "http://127.0.0.1:9104"
