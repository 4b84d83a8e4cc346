"""`--check` tries, whatever command stands behind it: nothing is thrown away, rewound or put into service by it."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.features import __main__ as features
from services.scorer import __main__ as scorer
from services.trainer import __main__ as trainer
from services.trainer import cli, switch, warehouse
from services.trainer.settings import TrainerSettings
from shared.model_artifact.registry import ModelRegistry
from shared.telemetry import process


def never(*_: object, **__: object) -> Any:
    raise AssertionError("the command was carried out")


def test_features_checked_is_not_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[partial[Any]] = []
    monkeypatch.setattr(sys, "argv", ["features", "--check", "rebuild"])
    monkeypatch.setattr(process, "run", lambda work, **_: ran.append(work))
    features.main()
    assert [work.func for work in ran] == [features.check]


@pytest.mark.parametrize("command", [["rewind", "0", "5"], ["new-key", "somebody"], ["pseudonym", "customer"], []])
def test_a_scorer_checked_does_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    async def tried(*_: object) -> None:
        print("tried")

    monkeypatch.setattr(sys, "argv", ["scorer", "--check", *command])
    monkeypatch.setenv("MODEL_REGISTRY__URI", str(tmp_path))
    monkeypatch.setattr(scorer, "rewind", never)
    monkeypatch.setattr(scorer, "_check", tried)
    scorer.main()
    assert capsys.readouterr().out == "tried\n"


@pytest.mark.parametrize("command", [["rollback"], ["promote", "m1"], ["train"], []])
def test_a_trainer_checked_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]) -> None:
    class Empty:
        def __init__(self, *_: object) -> None: ...

        def check(self) -> None: ...

    monkeypatch.setattr(warehouse, "Warehouse", Empty)
    monkeypatch.setattr(switch, "COMMANDS", dict.fromkeys(switch.COMMANDS, never))
    arguments: argparse.Namespace = cli.parse(["--check", *command])
    answer = trainer.run(arguments, TrainerSettings(), ModelRegistry(str(tmp_path)))
    assert answer == {"warehouse": "ok", "registry": "ok"}
