"""What one process alone may be at, of all that share a bucket."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud import storage

from shared.model_artifact import lease as lease_module
from shared.model_artifact.alone import Busy
from shared.model_artifact.conditional import write_where
from shared.model_artifact.lease import Lease
from shared.model_artifact.registry import ModelRegistry
from tests.gcs_server import Buckets

pytestmark = pytest.mark.integration

REAL = os.environ.get("FLIT_TEST_GCS_BUCKET")
Machine = Callable[[], ModelRegistry]
"""Makes the registry as another machine sees it."""


def test_a_lease_is_renewed_while_its_owner_lives_and_taken_over_once_he_is_dead(server: Buckets) -> None:
    blob = lambda: storage.Client().bucket("flit-models").blob(".training")  # noqa: E731
    lasts = timedelta(seconds=1.2)
    with Lease.take(blob, "training", lasts):
        first = server_generation(blob)
        wait_for(lambda: server_generation(blob) != first)
        with pytest.raises(Busy):
            Lease.take(blob, "training", lasts)
    abandoned = Lease.take(blob, "training", lasts)  # and never entered: as if its process had died

    def free() -> bool:
        try:
            with Lease.take(blob, "training", lasts):
                return True
        except Busy:
            return False

    wait_for(free)
    with abandoned:
        pass  # who was taken for dead gives nothing back that isn't his
    assert free()


def test_a_renewal_whose_answer_is_lost_for_good_leaves_the_lease_with_its_owner(
    server: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = lambda: storage.Client().bucket("flit-models").blob(".training")  # noqa: E731
    lost = threading.Event()

    def lose_one(blob: Callable[[], Any], data: bytes, expected: int) -> int:
        generation = write_where(blob, data, expected)
        if not lost.is_set():
            lost.set()
            raise ServiceUnavailable("no answer, and no more tries")
        return generation

    lasts = timedelta(seconds=1.2)
    with Lease.take(blob, "training", lasts):
        monkeypatch.setattr(lease_module, "write_where", lose_one)
        assert lost.wait(30)
        generations = {server_generation(blob)}
        wait_for(lambda: len(generations | {server_generation(blob)}) > 1)
        with pytest.raises(Busy):
            Lease.take(blob, "training", lasts)


def server_generation(blob: Callable[[], Any]) -> int:
    there = blob()
    there.reload()
    return int(there.generation)


def wait_for(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
