"""What every test may rely on."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests are marked by the folder that they lie in."""
    for item in items:
        for folder, marker in (("integration", "integration"), ("e2e", "e2e"), ("system", "system")):
            if folder in item.path.parts:
                item.add_marker(getattr(pytest.mark, marker))
