"""What every test may rely on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

# No test is timed: what is slow on a busy machine is not wrong.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Several whole systems run beside each other, and beside tests that compute.
os.environ["FLIT_YIELDING"] = "off"


@pytest.fixture(autouse=True)
def _loggers_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that is used first after some command configured them is kept as it is, for the rest of the process:
    `capture_logs` of a later test wouldn't reach it."""
    configure = structlog.configure
    monkeypatch.setattr(
        structlog, "configure", lambda **settings: configure(**settings | {"cache_logger_on_first_use": False})
    )


E2E_DONE_BY = 0.7
"""Of all files, the last whole system is started: the end of a run is for what is quick."""


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Tests are marked by the folder that they lie in; of those that are chosen by that, whole systems are started far
    from each other."""
    for item in items:
        for folder, marker in (("integration", "integration"), ("e2e", "e2e"), ("system", "system")):
            if folder in item.path.parts:
                item.add_marker(getattr(pytest.mark, marker))
    yield
    items[:] = _spread(items)


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Files of whole systems evenly among the others: workers take one file after the other, and two systems under
    load beside each other take far more than twice as long as one after the other."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    systems = [path for path in files if "e2e" in path.parts]
    others = [path for path in files if "e2e" not in path.parts]
    apart = max(1, int(len(others) * E2E_DONE_BY / max(len(systems), 1)))
    order = []
    for number, path in enumerate(systems):
        order += [path, *others[number * apart : (number + 1) * apart]]
    order += others[len(systems) * apart :]
    return [item for path in order for item in files[path]]
