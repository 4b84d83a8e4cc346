"""The whole catalogue of bad inputs on a real broker, each row among good neighbours, in front of the real service."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.contracts.dead_letters import MAX_VALUE_BYTES
from shared.contracts.identity import partition_of
from shared.contracts.rejections import InputWarning, RejectionReason
from shared.contracts.topics import OUTCOMES as OUTCOMES_TOPIC
from shared.contracts.topics import TRANSACTIONS
from shared.kafka.producer import OutgoingRecord
from tests.bad_inputs.doors import PAIRS, RECORDS
from tests.bad_inputs.outcomes import OUTCOMES
from tests.bad_inputs.purchases import PURCHASES
from tests.bad_inputs.rows import BadInput, Subject
from tests.integration.features.conftest import PARTITIONS, Features, Rig, until
from tests.integration.features.streams import START_US

NOW_US = START_US + 100 * 86_400_000_000
"""The records' own clock; in the past of every other one."""


@dataclass
class Plan:
    """What is sent, and what has to come of it."""

    records: list[OutgoingRecord] = field(default_factory=list)
    refused: dict[int, RejectionReason] = field(default_factory=dict)
    """Number of the record in `records`."""
    vectors: list[str] = field(default_factory=list)
    """Event ids."""
    outcomes: int = 0
    """That count."""
    warnings: Counter[str] = field(default_factory=Counter)
    misplaced: set[int] = field(default_factory=set)

    def new_subject(self) -> Subject:
        """Of a customer of its own, with its good purchase already sent."""
        number = 10 * (len(self.records) + 1)
        subject = Subject(number, f"cust_{number:06d}", NOW_US)
        self.neighbour(subject, 1)
        return subject

    def neighbour(self, subject: Subject, place: int) -> None:
        """A good purchase of the same customer, so that it lies in the same partition."""
        good = Subject(subject.number + place, subject.customer_id, NOW_US)
        self.send(TRANSACTIONS.name, subject.customer_id.encode(), good.purchase())
        self.vectors.append(good.event_id)

    def send(self, topic: str, key: bytes | None, value: bytes | None, **more: Any) -> int:
        self.records.append(OutgoingRecord(topic, key, value, timestamp_ms=NOW_US // 1000, **more))
        return len(self.records) - 1

    def send_bad(self, bad: BadInput, subject: Subject, topic: str) -> None:
        version = [] if bad.schema_version is None else [("schema_version", bad.schema_version.encode())]
        number = self.send(topic, subject.customer_id.encode(), bad.make(subject), headers=version)
        self.warnings.update(bad.warnings)
        if bad.reason is not None:
            self.refused[number] = bad.reason
        elif topic == TRANSACTIONS.name:
            self.vectors.append(subject.event_id)
        else:
            self.outcomes += 1


def the_whole_catalogue() -> Plan:
    plan = Plan()
    for bad in PURCHASES:
        subject = plan.new_subject()
        plan.send_bad(bad, subject, TRANSACTIONS.name)
        plan.neighbour(subject, 2)
    for bad in OUTCOMES:
        subject = plan.new_subject()
        plan.send_bad(bad, subject, OUTCOMES_TOPIC.name)
        plan.send(OUTCOMES_TOPIC.name, subject.customer_id.encode(), Subject(
            subject.number + 1, subject.customer_id, NOW_US).outcome())  # fmt: skip
        plan.outcomes += 1
    for flawed in RECORDS:
        subject = plan.new_subject()
        key = flawed.key(subject)
        partition = partition_of(key, PARTITIONS) if key is not None else 0
        if flawed.misplaced:
            partition = (partition + 1) % PARTITIONS
        number = plan.send(
            TRANSACTIONS.name, key, flawed.value(subject), headers=list(flawed.headers), partition=partition
        )
        if flawed.misplaced:
            plan.misplaced.add(number)
            plan.warnings[InputWarning.PARTITION] += 1
        if flawed.reason is not None:
            plan.refused[number] = flawed.reason
        else:
            plan.vectors.append(subject.event_id)
        plan.neighbour(subject, 2)
    for pair in PAIRS:
        subject = plan.new_subject()
        for value in pair.make(subject):
            number = plan.send(TRANSACTIONS.name, subject.customer_id.encode(), value)
        plan.vectors.append(subject.event_id)
        plan.warnings.update(pair.warnings)
        if pair.reason is not None:
            plan.refused[number] = pair.reason
        if pair.row == "22":
            plan.vectors.append(Subject(subject.number + 5).event_id)
        plan.neighbour(subject, 2)
    return plan


async def test_every_bad_input_gets_its_own_answer_and_no_neighbour_is_touched(rig: Rig) -> None:
    plan = the_whole_catalogue()
    features = await rig.start_ready(FEATURES__MAX_BATCH="50", FEATURES__MAX_REFUSED_SHARE="1")
    places = await rig.producer.send_all(plan.records)
    await until(rig.has_caught_up)
    transactions = await rig.records(TRANSACTIONS.name)
    # What was sent again is judged where it lies then; the first record of its value there is the one that was sent.
    moved = {dict(one.headers)["rerouted"].decode(): one for one in transactions if "rerouted" in dict(one.headers)}
    assert len(moved) == len(plan.misplaced)

    expected = []
    for number, reason in plan.refused.items():
        place, value = places[number], plan.records[number].value
        if number in plan.misplaced:
            place = moved[f"{place.topic}-{place.partition}-{place.offset}"]
        expected.append((place.topic, place.partition, place.offset, reason.value, *_kept(value)))
    letters = await rig.letters()
    found = [
        (one["topic"], one["partition"], one["offset"], one["reason"], one["value_base64"], one["value_sha256"])
        for one in letters
    ]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert {one["service"] for one in letters} == {"features"}

    vectors = [vector["event_id"] for vector in await rig.vectors()]
    assert Counter(vectors) == Counter(plan.vectors)
    assert await features.metric('flit_events_total{result="ok",service="features",topic="bnpl-outcomes"}') == (
        plan.outcomes
    )
    counted = {rule: await _counted(features, rule) for rule in InputWarning}
    assert counted == {rule: plan.warnings[rule] for rule in InputWarning}
    assert await features.terminate() == 0
    assert_nothing_unhandled(features)


def assert_nothing_unhandled(features: Features) -> None:
    said = features.log.read_text()
    assert "Traceback" not in said
    assert features.events("stopped_by_error") == features.events("gave_up") == []


async def _counted(features: Features, rule: str) -> float:
    return await features.metric(f'flit_input_warnings_total{{rule="{rule}",service="features"}}') or 0.0


def _kept(value: bytes | None) -> Sequence[str | None]:
    kept = None if value is None else base64.b64encode(value[:MAX_VALUE_BYTES]).decode()
    return kept, hashlib.sha256(value or b"").hexdigest()
