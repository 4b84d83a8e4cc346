"""A registry in a folder, where its models stand in service, and everything outside of the use case."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.scorer.reload import ModelReloader
from services.scorer.slot import ModelSlot
from shared.model_artifact.registry import ModelRegistry
from shared.telemetry.metrics import MODEL_INFO
from tests.unit.scorer.fakes import Outside


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(str(tmp_path / "models"))


@pytest.fixture
async def outside() -> Outside:
    return Outside()


@pytest.fixture(autouse=True)
def no_model_of_another_test() -> None:
    MODEL_INFO.clear()


@pytest.fixture
def slot() -> ModelSlot:
    return ModelSlot()


@pytest.fixture
def reloader(registry: ModelRegistry, slot: ModelSlot) -> ModelReloader:
    return ModelReloader(registry, slot, interval_s=0.001)
