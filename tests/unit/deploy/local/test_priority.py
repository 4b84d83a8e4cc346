from __future__ import annotations

import pytest

from deploy.local.priority import yielding


def test_who_mirrors_yields_to_who_decides_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLIT_YIELDING", raising=False)
    assert yielding("sink") == ["nice", "-n", "10"]
    assert yielding("scorer") == []
    monkeypatch.setenv("FLIT_YIELDING", "off")
    assert yielding("sink") == []
