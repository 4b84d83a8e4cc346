"""Every query of a dashboard and every rule, asked of a real Prometheus that watches the whole system at work.

What is empty while all is well (refusals, errors, rebuilds) is brought about first.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from shared.contracts.identity import partition_of
from shared.contracts.topics import TRANSACTIONS
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.model_artifact.registry import ModelRegistry
from tests.e2e.system import System, until
from tests.factories import SECOND_US, transaction
from tests.monitoring import expressions, selectors
from tests.system.conftest import Prometheus, prometheus
from tests.unit.scorer.parts import register

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")
OF_A_TRAINING = frozenset({
    "flit_model_auc", "flit_drift_score", "flit_training_examples", "flit_training_seconds", "flit_promotions_total",
    "flit_experiment_evidence_ratio", "flit_guard_looks_total",
})  # fmt: skip
"""Told by the trainer's commands and the guard, for which this system has too short a history."""
OF_RARE_FAULTS = frozenset({"flit_features_halted", "flit_features_rebuild_gaps"})
"""Alone in alerts, or beside a nought on their panels; what brings them about takes minutes."""
QUERIES = dict(expressions())


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("queries")
    registry = ModelRegistry(str(folder / "models"))
    registry.promote(register(registry), "tests", expected=None)
    with System(folder, SERVICES, {"INGESTOR__RATE": "40"}) as running:
        yield running


@pytest.fixture(scope="module")
def watched(system: System) -> Iterator[Prometheus]:
    (ledger_port,) = free_ports(1)
    folder = system.data_dir / "prometheus"
    folder.mkdir()
    environment = system.environment | {
        "METRICS__PORT": str(ledger_port), "LEDGER__REPORT": str(folder / "ledger.json"), "LEDGER__SCORER_URL": "",
    }  # fmt: skip
    ledger = ManagedProcess(
        "ledger", [sys.executable, "-m", "services.ledger", "--every", "5"], log_file=folder / "ledger.log",
        environment=environment,
    )  # fmt: skip
    ports = {service.name: service.metrics_port for service in system.services} | {"ledger": ledger_port}
    with prometheus(folder, ports) as running:
        ledger.start()
        try:
            asyncio.run(bring_about(system, running))
            yield running
        finally:
            ledger.stop()


async def bring_about(system: System, running: Prometheus) -> None:
    await decide_over_rest(system)
    await refuse_and_reroute(system)

    async def seen(expression: str) -> bool:
        return bool(running.query(f"({expression}) > 0"))

    async def audited() -> bool:
        return await seen("flit_ledger_last_audit_timestamp_seconds")

    await until(audited, "an audit", 300)
    damage_the_model(system)
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
            "sum(flit_scorer_model_refused_total)"
        )

    await until(rebuilt, "states that are made anew, and a model that is refused")
    await decide_over_rest(system)
    await refuse_and_reroute(system)


def damage_the_model(system: System) -> None:
    """Promote another, and change its bytes before the scorer looks."""
    registry = ModelRegistry(str(system.data_dir / "models"))
    scorer = system.supervisor.process("scorer")
    scorer.pause()
    try:
        before = registry.current()
        other = register(registry, intercept=-3.0)
        registry.promote(other, "tests", expected=before)
        weights = next((system.data_dir / "models").rglob(f"{other}/model.onnx"))
        weights.chmod(0o644)
        weights.write_bytes(weights.read_bytes() + b"\0")
    finally:
        scorer.resume()


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
    assert watched.targets() == dict.fromkeys((*SERVICES, "ledger"), "up")


@pytest.mark.parametrize("where", QUERIES)
async def test_a_query_gives_data(watched: Prometheus, where: str) -> None:
    # A rate over a minute: what was brought about is less than that ago.
    expression = QUERIES[where].replace("$__rate_interval", "5m")
    for variable in ("service", "topic", "channel", "table"):
        expression = expression.replace(f"${variable}", ".*")
    names = {name for name, _ in selectors(expression)}
    # Whether it is allowed is one thing, whether it is about something the other. Alerts are silent, as they should be:
    # there the metrics that they look at are asked for.
    watched.query(expression)
    if where.startswith("alert "):
        asked = sorted(names - OF_A_TRAINING - OF_RARE_FAULTS)
    else:
        asked = [] if names & OF_A_TRAINING else [expression]
    for each in asked:

        async def answered(each: str = each) -> bool:
            return bool(watched.query(each))

        await until(answered, f"data for {where}: {each}", 60)
