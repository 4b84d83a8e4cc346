from __future__ import annotations

from pathlib import Path

import pytest

from shared.model_artifact.registry import ModelRegistry


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(str(tmp_path / "registry"))
