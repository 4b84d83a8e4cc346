"""A small run of each kind of load against the whole system: what was planned is what the system has taken in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from deploy.capacity.cost import predicted_cpu
from shared.contracts.topics import TRANSACTIONS
from tests.availability.__main__ import PROCESSES
from tests.availability.__main__ import run as availability
from tests.capacity import watching
from tests.capacity.loads import Loads
from tests.capacity.measure import measure
from tests.e2e.system import Log
from tests.load.driving import Target, drive, planned
from tests.load.running import LoadedSystem
from tests.load.seen import CHECKOUT, PUBLISH
from tests.load.shapes import Rates

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

RATES, SECONDS = Rates(checkouts=5, events=10), 20.0
PATIENT = {"SCORER__REDIS_TIMEOUT_MS": "5000", "SCORER__PUBLISH_TIMEOUT_MS": "20000", "SCORER__DEADLINE_MS": "60000"}
"""A test machine on which other tests run is no outage."""


def test_what_locust_sent_is_on_the_topic_and_decided_and_its_reports_are_left(tmp_path: Path) -> None:
    out = tmp_path / "out" / "steady"
    with LoadedSystem(tmp_path, PATIENT) as loaded:
        before, already = watching.moment(loaded), asyncio.run(Log(loaded.kafka).count(TRANSACTIONS.name))
        target = Target(loaded.url, loaded.key, loaded.kafka)
        seen = {each.name: each for each in drive(target, "steady", RATES, SECONDS, out)}
        asyncio.run(loaded.settled())
        span = watching.between(before, watching.moment(loaded))
        arrived = asyncio.run(Log(loaded.kafka).count(TRANSACTIONS.name)) - already
        report = loaded.ledger(quiet=True)
    plan = planned("steady", RATES, SECONDS)
    assert seen[CHECKOUT].requests >= 0.5 * plan.checkouts
    assert seen[PUBLISH].requests >= 0.5 * plan.events
    assert seen[CHECKOUT].failures == seen[PUBLISH].failures == 0
    assert arrived == seen[CHECKOUT].requests + seen[PUBLISH].requests == span.purchases
    assert span.checkouts == seen[CHECKOUT].requests
    assert report["balanced"]
    assert {"steady.html", "steady_stats.csv", "steady_failures.csv"} <= {path.name for path in out.parent.iterdir()}


def test_every_call_is_answered_while_processes_are_restarted_and_killed() -> None:
    made = availability(60.0, 20, 5, 1, Console(quiet=True))
    assert made["passed"], made
    assert len(made["happened"]) == len(PROCESSES) + 1
    assert made["calls"] >= 250


def test_measured_figures_foretell_the_load_that_they_were_measured_at(tmp_path: Path) -> None:
    with LoadedSystem(tmp_path, PATIENT) as loaded:
        figures = measure(loaded, tmp_path, lambda _: None, seconds=10.0)
        span = Loads(loaded, tmp_path).paced(Rates(1, 79), seconds=10.0)
    assert set(figures.processes) == {"features", "scorer", "sink", "kafka", "valkey"}
    for part, cpu in predicted_cpu(figures, span.purchase_rate - 1, 1).items():
        # Whatever else the machine does: the accounting is of the processes alone, and yet caches are shared.
        assert 0.3 < cpu / span.cpu(part) < 3, part
    assert figures.state_bytes[-1][0] == 30
    assert 100 < figures.state_bytes[-1][1] < 20_000
    assert all(size > 100 for size in (*figures.record_bytes.values(), *figures.row_bytes.values()))
