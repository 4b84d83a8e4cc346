"""Every query of a dashboard and every rule, asked of a real Prometheus that watches the whole system at work.

What is empty while all is well (refusals, errors, rebuilds) is brought about first.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import redis

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from shared.contracts.identity import canonical_time, partition_of
from shared.contracts.topics import TRANSACTIONS
from shared.experiments import Arm, Experiment, Trials
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.model_artifact.registry import ModelRegistry
from tests.alerts.models import damage_once_promoted
from tests.e2e.system import System, until
from tests.factories import SECOND_US, transaction
from tests.integration.trainer.monitored import monitored
from tests.monitoring import expressions, selectors
from tests.system.prometheus import Prometheus, needed, prometheus
from tests.unit.scorer.parts import register

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800), needed]

SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")
OF_RARE_FAULTS = frozenset({"flit_features_halted", "flit_features_rebuild_gaps"})
"""In alerts alone, or beside a nought on their panels; `make alerts` brings them about (tests/alerts)."""
FROM_NOUGHT = frozenset({
    "flit_dead_letters_total", "flit_decisions_total", "flit_decision_seconds_count", "flit_events_total",
    "flit_scorer_checkouts_total", "flit_scorer_model_refused_total", "flit_sink_rows_total",
    "flit_sink_visible_seconds_count",
})  # fmt: skip
"""Are there from the start on: what counts is that they counted something."""
INTERVAL = "5m"
"""In place of Grafana's own interval: what was brought about is less than that ago."""
WATCH_S = 300.0
"""Until a loop that looks after models has looked and trained; twenty seconds on an idle machine."""
QUERIES = dict(expressions())


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("queries")
    registry = ModelRegistry(str(folder / "models"))
    version = register(registry)
    registry.promote(version, "tests", expected=None)
    trial = Experiment("look", "salt", [Arm("half", 0.5, version)], canonical_time(datetime.now(UTC)), "tests")
    registry.change_trials(lambda _: Trials(experiment=trial))
    with System(folder, SERVICES, {"INGESTOR__RATE": "40"}) as running:
        yield running


@pytest.fixture(scope="module")
def watched(system: System) -> Iterator[Prometheus]:
    """Beside the system: repeated audits, the guard of its experiment, and the loop that looks after the models of a
    longer past, in a warehouse of its own."""
    folder = system.data_dir / "prometheus"
    folder.mkdir()
    jobs = {"ledger": ("ledger", "--every", "5"), "guard": ("trainer", "guard", "--every", "2"),
            "trainer": ("trainer", "watch", "--every", "2")}  # fmt: skip
    ports = dict(zip(jobs, free_ports(len(jobs)), strict=True))
    past = monitored(
        system.stack.bigquery.settings.model_copy(update={"project": "flit-watched"}), system.data_dir / "watched"
    )
    environments: dict[str, dict[str, str]] = {
        "ledger": {"LEDGER__REPORT": str(folder / "ledger.json"), "LEDGER__SCORER_URL": ""},
        "guard": {"TRAINER__GUARD__SETTLE_SECONDS": "0"},
        "trainer": past.environment,
    }
    beside = [
        ManagedProcess(
            job, [sys.executable, "-m", f"services.{service}", *arguments], log_file=folder / f"{job}.log",
            environment=system.environment | {"METRICS__PORT": str(ports[job])} | environments[job],
        )
        for job, (service, *arguments) in jobs.items()
    ]  # fmt: skip
    with prometheus(folder, {service.name: service.metrics_port for service in system.services} | ports) as running:
        try:
            for process in beside:
                process.start()
            asyncio.run(bring_about(system, running))
            yield running
        finally:
            for process in beside:
                process.stop()


async def bring_about(system: System, running: Prometheus) -> None:
    await decide_over_rest(system)
    await refuse_and_reroute(system)

    async def seen(expression: str) -> bool:
        return bool(running.query(f"({expression}) > 0"))

    async def audited() -> bool:
        return await seen("flit_ledger_last_audit_timestamp_seconds")

    async def looked_after() -> bool:
        return await seen("flit_training_examples") and await seen("flit_monitor_as_of_timestamp_seconds")

    await until(audited, "an audit", 300)
    await until(looked_after, "a loop that has looked at its models and trained", WATCH_S)
    registry = ModelRegistry(str(system.data_dir / "models"))
    damage_once_promoted(registry, register(registry, intercept=-3.0), system.supervisor.process("scorer"))
    system.supervisor.process("sink").kill()

    async def taken_over() -> bool:
        return await seen("sum(flit_sink_takeovers_total)")

    await until(taken_over, "streams that are taken over")
    system.stack.bigquery.kill()

    async def appends_fail() -> bool:
        return await seen("sum(flit_sink_append_failures_total)")

    await until(appends_fail, "an append that fails")
    system.stack.bigquery.restart()
    port = system.supervisor.environment["REDIS__URL"]
    redis.Redis.from_url(port).flushall()

    async def rebuilt() -> bool:
        return await seen("sum(flit_features_rebuilt_records_total)") and await seen(
            "sum(flit_scorer_model_refused_total) > 0"
        )

    await until(rebuilt, "states that are made anew, and a model that is refused")
    await decide_over_rest(system)
    await refuse_and_reroute(system)


async def decide_over_rest(system: System) -> None:
    now_us = int(time.time() * SECOND_US)
    async with httpx.AsyncClient(base_url=system.http, timeout=60) as client:
        for number in range(20):
            body = transaction(number, t_us=now_us, event_id=f"asked-{now_us}-{number}", customer_id=f"asked_{number}")
            assert (await client.post("/v1/decisions", json=body)).status_code == 200
        assert (await client.post("/v1/decisions", json={"amount": "much"})).status_code == 422


async def refuse_and_reroute(system: System) -> None:
    now_us = int(time.time() * SECOND_US)
    good = transaction(0, t_us=now_us, event_id=f"astray-{now_us}", customer_id="astray", unheard_of="a warning")
    elsewhere = (partition_of(b"astray", system.kafka.partitions) + 1) % system.kafka.partitions
    bad: dict[str, Any] = transaction(1, t_us=now_us, event_id=f"bad-{now_us}", amount=-1)
    producer = ReliableProducer(system.kafka)
    await producer.start()
    try:
        await producer.send_all([
            OutgoingRecord(TRANSACTIONS.name, b"astray", json.dumps(good).encode(), partition=elsewhere),
            OutgoingRecord(TRANSACTIONS.name, bad["customer_id"].encode(), json.dumps(bad).encode()),
        ])  # fmt: skip
    finally:
        await producer.stop()


def test_prometheus_sees_every_service(watched: Prometheus) -> None:
    assert watched.targets() == dict.fromkeys((*SERVICES, "ledger", "guard", "trainer"), "up")


@pytest.mark.parametrize("where", QUERIES)
async def test_a_query_gives_data(watched: Prometheus, where: str) -> None:
    expression = QUERIES[where].replace("$__rate_interval", INTERVAL)
    for variable in ("service", "topic", "channel", "table"):
        expression = expression.replace(f"${variable}", ".*")
    # Whether it is allowed is one thing, whether it is about something the other. Alerts are silent, as they should be:
    # there the metrics that they look at are asked for.
    watched.query(expression)
    names = {name for name, _ in selectors(expression)}
    asked = [f"{name} > 0" if name in FROM_NOUGHT else name for name in sorted(names - OF_RARE_FAULTS)]
    for each in asked if where.startswith("alert ") else [expression]:

        async def answered(each: str = each) -> bool:
            return bool(watched.query(each))

        await until(answered, f"data for {where}: {each}", 60)
