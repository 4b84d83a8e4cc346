from __future__ import annotations

import sys
from pathlib import Path

import pytest

from services.trainer import __main__ as trainer
from services.trainer.examples import TooEarly, TooFewExamples, TrainingRefused
from services.trainer.warehouse import WarehouseUnavailable
from shared.model_artifact.alone import Busy
from shared.telemetry import logging


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        (TooFewExamples("few"), trainer.EXIT_TOO_EARLY),
        (TooEarly("no model"), trainer.EXIT_TOO_EARLY),
        (Busy("training"), trainer.EXIT_TOO_EARLY),
        (TrainingRefused("a prohibited basis"), 1),
        (WarehouseUnavailable("away"), 1),
    ],
)
def test_what_time_alone_mends_is_told_from_what_is_wrong(
    refused: Exception, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(*_: object) -> dict[str, object]:
        raise refused

    monkeypatch.setattr(trainer, "run", run)
    monkeypatch.setattr(logging, "configure", lambda *_: None)  # it is that of the tests' own process
    monkeypatch.setattr(sys, "argv", ["trainer", "evaluate"])
    monkeypatch.setenv("MODEL_REGISTRY__URI", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        trainer.main()
    assert ended.value.code == status
