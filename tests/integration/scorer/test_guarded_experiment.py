"""A planted bad challenger on real parts: decisions on Kafka, the sink into the warehouse, the guard, the scorer
again."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from deploy.local.bigquery import BigQuery
from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import status_of
from shared.contracts.identity import canonical_time
from shared.contracts.topics import DECISIONS
from shared.experiments import CHAMPION, Arm, Experiment, Trials, arm_of
from shared.settings import BigQuerySettings
from shared.warehouse.schema import ensure_warehouse
from tests.integration.scorer.conftest import WAIT_S, Rig, until
from tests.unit.scorer.parts import a_vector, register

pytestmark = pytest.mark.integration

PROJECT = "flit-guard-test"
AT_ONCE = 10
PAUSE_S = 0.2
MOST = 1500
"""Decisions until it must be stopped, at 50 a second, the way through the warehouse included: that takes seconds, in
which decisions go on. How few decisions the guard itself needs is a test of its own."""


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQuerySettings]:
    rest, grpc = free_ports(2)
    emulator = BigQuery(tmp_path_factory.mktemp("bigquery"), rest, grpc)
    emulator.start()
    try:
        settings = BigQuerySettings(
            project=PROJECT, rest_endpoint=f"http://127.0.0.1:{rest}", grpc_endpoint=f"127.0.0.1:{grpc}"
        )
        ensure_warehouse(settings)
        yield settings
    finally:
        emulator.stop()


def process(rig: Rig, name: str, warehouse: BigQuerySettings, *arguments: str) -> tuple[ManagedProcess, int]:
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "KAFKA__BOOTSTRAP_SERVERS": rig.parts.kafka.bootstrap_servers,
        "REDIS__URL": rig.parts.valkey.url,
        "BIGQUERY__PROJECT": warehouse.project,
        "BIGQUERY__REST_ENDPOINT": warehouse.rest_endpoint,
        "BIGQUERY__GRPC_ENDPOINT": warehouse.grpc_endpoint,
        "MODEL_REGISTRY__URI": str(rig.registry.root),
        "METRICS__PORT": str(port),
        "SINK__LINGER_MS": "200",
        # The scorer of this test starts after the experiment did.
        "TRAINER__GUARD__SETTLE_SECONDS": "0",
    }
    command = [sys.executable, "-m", f"services.{name}", *arguments]
    return ManagedProcess(name, command, log_file=rig.folder / f"{name}.log", environment=environment), port


async def test_a_planted_bad_challenger_is_rolled_back_by_its_guardrail_without_a_person(
    rig: Rig, warehouse: BigQuerySettings, unique: str
) -> None:
    champion, bad = (register(rig.registry, intercept=each) for each in (-2.0, 4.0))
    rig.registry.promote(champion, "test")
    started = canonical_time(datetime.now(UTC))
    trial = Experiment("trial", unique, [Arm("canary", 0.2, bad)], started, "test")
    rig.registry.change_trials(lambda _: Trials([], trial))
    sink, sink_port = process(rig, "sink", warehouse)
    guard, _ = process(rig, "trainer", warehouse, "guard", "--every", "0.5")
    sent = 0

    async def purchases(count: int) -> list[str]:
        """Of as many new customers."""
        nonlocal sent
        vectors = [a_vector(sent + i + 1, customer_id=f"{unique}_{sent + i + 1}") for i in range(count)]
        sent += count
        await rig.send_vectors(*vectors)
        return [vector.customer_id for vector in vectors]

    try:
        async with rig.scorer() as scorer:
            await asyncio.to_thread(sink.start)
            await asyncio.to_thread(sink.wait_until, lambda: status_of(sink_port, "/ready") == 200, WAIT_S)
            await asyncio.to_thread(guard.start)
            assert scorer.metric(f'flit_model_info{{role="challenger",version="{bad}"}}') == 1
            async with asyncio.timeout(3 * WAIT_S):
                while rig.registry.trials().experiment is not None:
                    assert guard.running, guard.log_file.read_text()[-3000:]
                    assert sent <= MOST
                    await purchases(AT_ONCE)
                    await asyncio.sleep(PAUSE_S)

            async def gone() -> bool:
                return scorer.metric(f'flit_model_info{{role="challenger",version="{bad}"}}') == 0

            await until(gone)
            later = await purchases(50)

            async def all_decided() -> bool:
                return len(await rig.records(DECISIONS.name)) >= sent

            await until(all_decided)
            decided = [msgspec.json.decode(record.value) for record in await rig.records(DECISIONS.name)]
    finally:
        await asyncio.to_thread(guard.stop)
        await asyncio.to_thread(sink.stop)
    mine = [each for each in decided if each["customer_id"].startswith(unique)]
    tried = [each for each in mine if each["model_version"] == bad]
    assert {each["variant"] for each in tried} == {"canary"}
    assert sum(each["decision"] == "decline" for each in tried) > 0.9 * len(tried) > 0
    after = [each for each in mine if each["customer_id"] in later]
    assert len(after) == 50
    assert [name for name in later if arm_of(trial, name) == "canary"], "some of them would have been the canary's"
    assert {(each["model_version"], each["variant"], each["degraded"]) for each in after} == {
        (champion, CHAMPION, None)
    }
    assert rig.registry.current() == champion
    [ended] = rig.registry.ended_experiments("trial")
    assert (ended.experiment, ended.by) == (trial, "guard")
    assert "decline-rate of canary" in ended.why
    lines = (await asyncio.to_thread(guard.log_file.read_text)).splitlines()
    told = [json.loads(line) for line in lines if "experiment_stopped" in line]
    assert len(told) == 1
    print(f"\nstopped after {sent - 50} purchases, of {told[0]['rows']} decisions in the warehouse")
