"""What the loop asks a training to learn from."""

from __future__ import annotations

from pathlib import Path

import msgspec

from services.trainer.lifecycle.command import champion_learnt_from
from shared.contracts.identity import from_epoch_micros
from shared.model_artifact.registry import ModelRegistry
from tests.unit.model_artifact.artifacts import WINDOW, a_manifest, some_files


def test_what_the_champion_left_out_is_not_learnt_from_again(tmp_path: Path) -> None:
    registry = ModelRegistry(str(tmp_path / "models"))
    assert champion_learnt_from(registry) is None
    window = msgspec.structs.replace(WINDOW, train_from="2026-06-20T00:00:00.000000Z")
    registry.promote(registry.register(a_manifest(data_window=window), some_files()), "test")
    since_us = champion_learnt_from(registry)
    assert since_us is not None
    assert from_epoch_micros(since_us) == window.train_from
