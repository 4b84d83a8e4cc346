"""What holds for every kit, whatever it is written in: run as a user runs it, against the running system."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from shared.contracts import topics
from shared.contracts.headers import REROUTED_HEADER, header
from shared.contracts.identity import partition_of
from tests.e2e.system import System

KITS = Path(__file__).parents[1] / "kits"
PATIENCE_SECONDS = 240
"""A starved machine takes long to join a consumer group; on an idle one the longest takes four seconds."""


@dataclass(frozen=True)
class Kit:
    """`stored`: what the consumer has kept at a path, event id → the record's value."""

    publish: Sequence[str]
    consume: Sequence[str]
    stored: Callable[[Path], Mapping[str, bytes]]

    def published(self, system: System, *purchases: Mapping[str, Any]) -> list[str]:
        """Their event ids."""
        done = self._run(system, self.publish, "".join(json.dumps(one) + "\n" for one in purchases))
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def refused(self, system: System, *lines: str) -> list[str]:
        """What the producer says of lines of which it sends none."""
        done = self._run(system, self.publish, "".join(f"{line}\n" for line in lines))
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr.splitlines()

    def consumed(self, system: System, path: Path, group: str, until: str) -> list[str]:
        """Event ids of what was new to the consumer's store."""
        done = self._run(system, [*self.consume, str(path), "--group", group, "--until", until])
        assert done.returncode == 0, done.stderr
        return [line.split()[0] for line in done.stdout.splitlines()]

    def _run(self, system: System, command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=given, env=system.environment, capture_output=True, text=True, check=False,
            timeout=PATIENCE_SECONDS,
        )  # fmt: skip


def purchase(order: str, customer: str, **fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "event_id": order,
        "transaction_id": order,
        "customer_id": customer,
        "occurred_at": now,
        "amount": 59.9,
        "currency": "EUR",
    } | fields


async def log_of(system: System, topic: topics.Topic) -> list[ConsumerRecord[bytes, bytes]]:
    """All records of a topic."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=system.kafka.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await reader.start()
    try:
        partitions = [TopicPartition(topic.name, number) for number in range(system.kafka.partitions)]
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        found: list[ConsumerRecord[bytes, bytes]] = []
        while len(found) < sum(ends.values()):
            for records in (await reader.getmany(timeout_ms=500)).values():
                found += records
        return found
    finally:
        await reader.stop()


async def each_decision_is_kept_once(kit: Kit, system: System, folder: Path, name: str) -> None:
    """Also of a purchase that was published twice, and by a consumer that reads all of it again: of a group that has
    committed nothing, as if it had been killed between storing and committing."""
    customer, store = f"{name}-Žofie 🛒", folder / "kept"
    known, other = purchase(f"{name}-1", customer), purchase(f"{name}-2", customer)
    first, again, second = kit.published(system, known, known, other)
    assert first == again == f"{name}-1" != second
    new = kit.consumed(system, store, f"{name}-first", second)  # the same partition: the other was read before
    assert len(new) == len(set(new)) and {first, second} <= set(new)
    before = kit.stored(store)
    (third,) = kit.published(system, purchase(f"{name}-3", customer))
    new = kit.consumed(system, store, f"{name}-again", third)
    assert third in new and not set(new) & before.keys()
    written = {json.loads(one.value or b"")["event_id"]: one.value for one in await log_of(system, topics.DECISIONS)}
    kept = kit.stored(store)
    assert {event: kept[event] for event in (first, second, third)} == {
        event: written[event] for event in (first, second, third)
    }


async def purchases_lie_where_their_keys_belong(kit: Kit, system: System, name: str) -> None:
    customers = [f"{name}-{number}-ü" for number in range(12)]
    kit.published(system, *(purchase(f"{name}-{one}", one) for one in customers))
    there = [one for one in await log_of(system, topics.TRANSACTIONS) if (one.key or b"").decode() in customers]
    assert len(there) == len(customers), "none was sent again to another place"
    assert len({one.partition for one in there}) > 1
    for record in there:
        assert record.partition == partition_of(record.key or b"", system.kafka.partitions)
        assert header(record.headers, REROUTED_HEADER) is None


async def what_breaks_the_contract_is_not_sent(kit: Kit, system: System) -> None:
    before = len(await log_of(system, topics.TRANSACTIONS))
    lines = [
        json.dumps(purchase("bad-1", "eve", amount=-1)),
        json.dumps({"event_id": "bad-2", "transaction_id": "bad-2"}),
        "{",
        "[]",
        json.dumps(purchase("bad-5", "eve", amount=math.nan)),
        json.dumps({name: value for name, value in purchase("bad-6", "eve").items() if name != "event_id"}),
    ]
    said = kit.refused(system, *lines)
    assert [line.split(":")[0] for line in said] == [f"line {number}" for number in range(1, 7)]
    assert "amount" in said[0] and "customer_id" in said[1] and "event_id" in said[5]
    assert len(await log_of(system, topics.TRANSACTIONS)) == before
