"""What every test may rely on."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# No test is timed: what is slow on a busy machine is not wrong.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests are marked by the folder that they lie in."""
    for item in items:
        for folder, marker in (("integration", "integration"), ("e2e", "e2e"), ("system", "system")):
            if folder in item.path.parts:
                item.add_marker(getattr(pytest.mark, marker))
