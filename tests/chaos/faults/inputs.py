"""What comes in: bad, again, late, new, and too much of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import islice

from shared.contracts.identity import partition_of
from shared.contracts.rejections import RejectionReason
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, OUTCOMES, TRANSACTIONS
from tests.bad_inputs.doors import RECORDS
from tests.bad_inputs.outcomes import OUTCOMES as BAD_OUTCOMES
from tests.bad_inputs.purchases import PURCHASES
from tests.bad_inputs.rows import BadInput, Subject
from tests.chaos.crowd import ADMITTED, TOLD_TO_COME_AGAIN, ask_for, p99
from tests.chaos.faults.fault import Fault, bounded_memory
from tests.chaos.faults.lag import caught_up
from tests.chaos.world import Message, World

Place = tuple[str, int, int]
"""Topic, partition, offset."""

BURST_S, BURST_FACTOR = 60, 10
SLICES_A_SECOND = 10
CAPACITY_FACTOR = 3
"""The least that a system is sized for, in times of its steady load."""
CATCH_UP_S = BURST_S * (BURST_FACTOR - CAPACITY_FACTOR) / (CAPACITY_FACTOR - 1)
"""From the end of a burst until nothing of it is left to do, in the warehouse neither: what has piled up by then, with
what such a system has to spare."""

CHANGED = 5
"""Purchases that come once more with another amount."""

REST_CLIENTS, REST_S = 4, 3.0
CROWD_CLIENTS, CROWD_S = 800, 6.0
"""Three times as many as the scorer lets in at once."""
ADMITTED_P99_S, TIMES_AT_REST = 0.5, 8
"""Of those that it lets in meanwhile: twice as long as the scorer wants them to take, or, where others use the
machine as well, so many times the p99 of a few clients at once."""


async def bad_inputs(world: World) -> None:
    """Every row of the catalogue that a topic can meet, among good neighbours: each gets its letter, with its reason,
    and each neighbour its decision."""
    name = f"bad-{world.dice.getrandbits(32):08x}"
    good = world.purchases(name, 150)
    now_us = int(time.time() * 1_000_000)
    numbers = itertools.count(world.dice.randrange(1 << 16) * 1_000)

    def subject() -> Subject:
        number = next(numbers)
        return Subject(number, f"{name}-{number % 20}", now_us)

    def spoilt(row: BadInput, about: Subject) -> tuple[Message, RejectionReason | None]:
        headers = () if row.schema_version is None else (("schema_version", row.schema_version.encode()),)
        return Message(about.customer_id.encode(), row.make(about), headers), row.reason

    wrong = [spoilt(row, subject()) for row in PURCHASES]
    for record in RECORDS:
        about = subject()
        key = record.key(about)
        partition = partition_of(key or b"", world.system.kafka.partitions)
        place = (partition + record.misplaced) % world.system.kafka.partitions
        wrong.append((Message(key, record.value(about), record.headers, place), record.reason))
    records = [*((Message(key, value), None) for key, value in good), *wrong]
    world.dice.shuffle(records)
    outcomes = [spoilt(row, subject()) for row in BAD_OUTCOMES]
    wanted: dict[Place, str] = {}
    misplaced: Counter[str] = Counter()
    for topic, sent in ((TRANSACTIONS.name, records), (OUTCOMES.name, outcomes)):
        places = await world.send(topic, [message for message, _ in sent])
        for (message, reason), (partition, offset) in zip(sent, places, strict=True):
            if reason is None:
                continue
            if message.place not in (None, partition_of(message.key or b"", world.system.kafka.partitions)):
                misplaced[reason.value] += 1  # its letter is of the place that it was sent on to
            else:
                wanted[topic, partition, offset] = reason.value
    await _judged(world, wanted, misplaced, {json.loads(value or b"")["event_id"] for _, value in good})


async def _judged(world: World, wanted: Mapping[Place, str], misplaced: Counter[str], good: Collection[str]) -> None:
    """Letters and decisions are what they should be, once all is done with."""
    await caught_up(world)
    letters: dict[Place, str] = {}
    others: Counter[str] = Counter()
    async for record in world.records(DEAD_LETTERS.name):
        letter = json.loads(record.value or b"")
        place = (letter["topic"], letter["partition"], letter["offset"])
        if place in wanted:
            letters[place] = letter["reason"]
        else:
            others[letter["reason"]] += 1
    unlike = {place: (reason, letters.get(place)) for place, reason in wanted.items() if letters.get(place) != reason}
    assert not unlike, f"{len(unlike)} bad inputs without their letters, such as {dict(islice(unlike.items(), 3))}"
    assert misplaced <= others, f"letters of misplaced records: {dict(misplaced)}, of {dict(others)}"
    decided = {dict(record.headers)["ce_id"].decode() async for record in world.records(DECISIONS.name)}
    assert not (lost := set(good) - decided), f"{len(lost)} good neighbours without a decision, such as {min(lost)}"


async def repeats_and_latecomers(world: World) -> None:
    name = f"again-{world.dice.getrandbits(32):08x}"
    good = world.purchases(name, 120)
    late = world.purchases(f"{name}-late", 20, occurred_at="2026-01-05T10:00:00.000000Z")
    records = [*good, *good[:60], *late, *late[:10]]
    world.dice.shuffle(records)
    await world.produce(TRANSACTIONS.name, records)
    changed = [Message(key, (value or b"").replace(b"67.51", b"67.52")) for key, value in good[:CHANGED]]
    places = await world.send(TRANSACTIONS.name, changed)
    conflicts = {(TRANSACTIONS.name, *place): RejectionReason.CONFLICT.value for place in places}
    await _judged(world, conflicts, Counter(), {json.loads(value or b"")["event_id"] for _, value in [*good, *late]})


async def schema_drift(world: World) -> None:
    name = f"drift-{world.dice.getrandbits(32):08x}"
    records = [
        *world.purchases(f"{name}-field", 20, loyalty={"tier": "gold", "since": 2019}),
        *world.purchases(f"{name}-enum", 20, product={"category": "groceries"}, device={"type": "fridge"}),
        *world.purchases(f"{name}-type", 20, device={"is_trusted": 1.0}),
    ]
    await world.produce(TRANSACTIONS.name, records)


async def burst(world: World) -> None:
    """Ten times the load for a minute."""
    name = f"burst-{world.dice.getrandbits(32):08x}"
    a_slice = world.rate * (BURST_FACTOR - 1) // SLICES_A_SECOND
    async with bounded_memory(world, "features", "scorer", "sink"), world.producer() as producer:
        began = time.monotonic()
        for number in range(BURST_S * SLICES_A_SECOND):
            made = [Message(key, value) for key, value in world.purchases(f"{name}-{number}", a_slice)]
            await world.hand_over(producer, TRANSACTIONS.name, made)
            await asyncio.sleep(max(0.0, began + (number + 1) / SLICES_A_SECOND - time.monotonic()))
        late_s = time.monotonic() - began - BURST_S
        assert late_s < BURST_S / 2, f"a burst that took {late_s:.0f} s longer is none: the machine is too slow"


async def worked_off(world: World) -> None:
    await caught_up(world, CATCH_UP_S)


async def rest_overload(world: World) -> None:
    """Many more checkouts at once than are let in: the others are told to come again, and those in it stay quick."""
    name = f"crowd-{world.dice.getrandbits(32):08x}"
    numbers = itertools.count()

    def body() -> bytes:
        ((_, value),) = world.purchases(f"{name}-{next(numbers)}", 1)
        return value or b""

    async with bounded_memory(world, "scorer"):
        rested = await ask_for(world.system.http, REST_CLIENTS, REST_S, body)
        crowd = await ask_for(world.system.http, CROWD_CLIENTS, CROWD_S, body)
    world.note(
        f"p99 {p99(rested.admitted_s) * 1000:.0f} ms at rest; under {CROWD_CLIENTS} clients {dict(crowd.statuses)},"
        f" admitted {p99(crowd.admitted_s) * 1000:.0f} ms, refused {p99(crowd.refused_s) * 1000:.0f} ms"
    )
    assert not crowd.degraded, f"{crowd.degraded} of {crowd.statuses[ADMITTED]} admitted got the fallback's answer"
    assert set(rested.statuses) == {ADMITTED}, f"without a crowd: {rested.statuses}"
    assert set(crowd.statuses) <= {ADMITTED, *TOLD_TO_COME_AGAIN}, f"statuses {crowd.statuses}"
    assert crowd.refused_s, f"nobody of {CROWD_CLIENTS} was refused"
    assert not crowd.without_time, f"{crowd.without_time} refusals don't say when to come again"
    limit_s = max(ADMITTED_P99_S, TIMES_AT_REST * p99(rested.admitted_s))
    assert p99(crowd.admitted_s) <= limit_s, f"the admitted ones waited {p99(crowd.admitted_s):.1f} s"
    assert p99(crowd.refused_s) <= p99(crowd.admitted_s), f"it took {p99(crowd.refused_s):.1f} s to say no"


FAULTS: tuple[Fault, ...] = (
    Fault("bad-inputs", "features", bad_inputs),
    Fault("repeats-and-latecomers", "features", repeats_and_latecomers),
    Fault("schema-drift", "features", schema_drift),
    Fault("burst", "features", burst, recovered=worked_off, seconds=150, heavy=True),
    Fault("rest-overload", "scorer", rest_overload, seconds=40, heavy=True),
)
