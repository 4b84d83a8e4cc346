"""Whole systems run as a user runs them: without the measuring of coverage in each of their processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _unmeasured() -> Iterator[None]:
    switched_off = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("COVERAGE_PROCESS")}
    yield
    os.environ.update(switched_off)
