"""Settings out of files, as container engines mount secrets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.settings import KafkaSettings, ServiceSettings, load_settings


class Settings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if "__" in name or name == "SECRETS_DIR":
            monkeypatch.delenv(name)


def test_a_file_named_after_a_setting_is_its_value_beside_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "KAFKA__SASL_PASSWORD").write_text("of a file\n")
    (tmp_path / "api-keys").write_text("no setting\n")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("KAFKA__SASL_USERNAME", "flit-sink")
    kafka = load_settings(Settings).kafka
    assert kafka.sasl_password is not None
    assert (kafka.sasl_username, kafka.sasl_password.get_secret_value()) == ("flit-sink", "of a file")


def test_a_variable_goes_before_a_file_and_an_empty_file_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "KAFKA__PARTITIONS").write_text("8")
    (tmp_path / "KAFKA__SSL_CAFILE").write_text("")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("KAFKA__PARTITIONS", "16")
    assert load_settings(Settings).kafka == KafkaSettings(partitions=16)


def test_no_file_is_looked_for_unasked_and_a_folder_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "KAFKA__PARTITIONS").write_text("8")
    monkeypatch.chdir(tmp_path)
    assert load_settings(Settings).kafka == KafkaSettings()
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(SystemExit):
        load_settings(Settings)
    told = capsys.readouterr().err
    assert told.startswith("bad setting") and "elsewhere" in told
