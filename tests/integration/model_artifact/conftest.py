from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gcs_server import Buckets, gcs_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Buckets]:
    with gcs_server() as (address, buckets):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield buckets
