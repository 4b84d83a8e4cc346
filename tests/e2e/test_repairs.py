"""What the ledger says to do, done as it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from deploy.local.supervisor import held
from services.ledger.log_reader import LogReader
from shared.contracts.topics import DECISIONS, FEATURES, TRANSACTIONS, Topic
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests.e2e.system import Log, System, until
from tests.unit.scorer.parts import body_of

PURCHASES = 40
GROUP = "flit-scorer"
PATIENCE_S = 120


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_decision_that_is_missing_is_made_by_rewinding_the_scorer(tmp_path: Path) -> None:
    with System(tmp_path, ("features", "scorer", "sink")) as system:
        log = Log(system.stack.kafka.bootstrap_servers)

        async def holds(topic: Topic, records: int) -> bool:
            return await log.count(topic.name) >= records

        await publish(system, 0)
        await until(lambda: holds(DECISIONS, PURCHASES), "the first decisions")
        stop(system, "scorer")
        await publish(system, PURCHASES)
        await until(lambda: holds(FEATURES, 2 * PURCHASES), "all vectors")
        passed = await pass_over(system)
        start(system, "scorer")
        found = system.ledger()
        assert found["invariants"]["P2"]["violations"] == PURCHASES
        assert "services.scorer rewind" in found["invariants"]["P2"]["repair"]
        refused = rewind(system, *next(iter(passed.items())))
        assert refused.returncode == 1 and "stop them first" in refused.stderr
        stop(system, "scorer")
        too_far = rewind(system, *next(iter(passed.items())), SCORER__CLAIM_TTL_SECONDS="60")
        assert too_far.returncode == 1 and "as far back as claims" in too_far.stderr
        for partition, offset in passed.items():
            done = rewind(system, partition, offset)
            assert done.returncode == 0, done.stderr
        start(system, "scorer")
        await until(lambda: holds(DECISIONS, 2 * PURCHASES), "the missing decisions")
        report = system.ledger()
    assert report["balanced"], json.dumps(report["invariants"], indent=1)
    assert report["invariants"]["P2"]["checked"] == 2 * PURCHASES


async def publish(system: System, first: int) -> None:
    bodies = [body_of(number) for number in range(first, first + PURCHASES)]
    producer = ReliableProducer(system.kafka)
    await producer.start()
    try:
        await producer.send_all(
            [OutgoingRecord(TRANSACTIONS.name, json.loads(body)["customer_id"].encode(), body) for body in bodies]
        )
    finally:
        await producer.stop()


async def pass_over(system: System) -> dict[int, int]:
    """What a careless hand does: the group's offsets are set to the end. Gives what they were."""
    async with LogReader({"bootstrap_servers": system.kafka.bootstrap_servers}) as reader:
        ends = await reader.ends(FEATURES.name)
        before = await reader.committed(GROUP)
    # One that has ended is a member for some seconds more.
    await until(lambda: committed(system, ends), "the group to have no member")
    return {place.partition: before.get(place, 0) for place, end in ends.items() if before.get(place, 0) < end}


async def committed(system: System, ends: dict[TopicPartition, int]) -> bool:
    consumer = AIOKafkaConsumer(bootstrap_servers=system.kafka.bootstrap_servers, group_id=GROUP)
    await consumer.start()
    try:
        consumer.assign(list(ends))
        await consumer.commit({place: OffsetAndMetadata(end, "") for place, end in ends.items()})
    except KafkaError:
        return False
    finally:
        await consumer.stop()
    return True


def stop(system: System, name: str) -> None:
    held(system.data_dir).mkdir(exist_ok=True)
    (held(system.data_dir) / name).touch()
    system.supervisor.process(name).wait(PATIENCE_S)


def start(system: System, name: str) -> None:
    (held(system.data_dir) / name).unlink()


def rewind(system: System, partition: int, offset: int, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.scorer", "rewind", str(partition), str(offset)],
        env=system.environment | settings, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
