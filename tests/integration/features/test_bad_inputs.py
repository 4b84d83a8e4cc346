"""The catalogue of bad inputs on the real broker: every row among good neighbours, in one stream."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.contracts.identity import partition_of
from shared.contracts.rejections import InputWarning, RejectionReason
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord
from tests.bad_inputs import doors, outcomes, purchases
from tests.bad_inputs.rows import BadInput, Subject
from tests.factories import SECOND_US
from tests.integration.features.conftest import PARTITIONS, Rig, until

ROW_NUMBERS = 10
"""Of events, for each row: its own, and its neighbours'."""
KEPT_BYTES = 65_536
"""Of a refused value in its letter."""


@dataclass
class Stream:
    """What is sent, and what has to come of it."""

    now_us: int
    records: list[OutgoingRecord] = field(default_factory=list)
    refused: dict[int, RejectionReason] = field(default_factory=dict)
    """Place in `records` → reason. A misplaced record's letter is about its second, well-placed appearance."""
    decided: set[str] = field(default_factory=set)
    """Events that have to get a vector."""
    warnings: Counter[InputWarning] = field(default_factory=Counter)
    rows: int = 0

    def subject(self) -> Subject:
        """Of the next row: nobody else's event, and nobody else's customer."""
        self.rows += 1
        return Subject(self.rows * ROW_NUMBERS, f"cust_{self.rows:06d}", self.now_us)

    def neighbour(self, subject: Subject, number: int) -> None:
        """A good purchase of the same customer, so of the same partition."""
        other = Subject(subject.number + number, subject.customer_id, subject.now_us)
        self.add(other, TRANSACTIONS.name, other.purchase())
        self.decided.add(other.event_id)

    def add(
        self,
        subject: Subject,
        topic: str,
        value: bytes | None,
        *,
        key: Callable[[Subject], bytes | None] = lambda subject: subject.customer_id.encode(),
        headers: Sequence[tuple[str, Any]] = (),
        reason: RejectionReason | None = None,
        misplaced: bool = False,
    ) -> None:
        home = partition_of(subject.customer_id.encode(), PARTITIONS)
        if reason is not None:
            self.refused[len(self.records)] = reason
        record = OutgoingRecord(
            topic,
            key(subject),
            value,
            list(headers),
            partition=(home + misplaced) % PARTITIONS,
        )
        self.records.append(record)

    def add_body(self, bad: BadInput, topic: str) -> None:
        subject = self.subject()
        self.neighbour(subject, 1)
        headers = [("schema_version", bad.schema_version.encode())] if bad.schema_version is not None else []
        self.add(subject, topic, bad.make(subject), headers=headers, reason=bad.reason)
        self.neighbour(subject, 2)
        self.warnings.update(bad.warnings)
        if bad.reason is None and topic == TRANSACTIONS.name:
            self.decided.add(subject.event_id)


def catalogue() -> Stream:
    stream = Stream(int(time.time()) * SECOND_US)
    for bad in purchases.PURCHASES:
        stream.add_body(bad, TRANSACTIONS.name)
    for bad in outcomes.OUTCOMES:
        stream.add_body(bad, OUTCOMES.name)
    for record in doors.RECORDS:
        subject = stream.subject()
        stream.neighbour(subject, 1)
        stream.add(
            subject,
            TRANSACTIONS.name,
            record.value(subject),
            key=record.key,
            headers=record.headers,
            reason=record.reason,
            misplaced=record.misplaced,
        )
        stream.neighbour(subject, 2)
        if record.reason is None:
            stream.decided.add(subject.event_id)
    for pair in doors.PAIRS:
        subject = stream.subject()
        first, second = pair.make(subject)
        stream.add(subject, TRANSACTIONS.name, first)
        stream.add(subject, TRANSACTIONS.name, second, reason=pair.reason)
        stream.decided |= {json.loads(body)["event_id"] for body in (first, second)}
        stream.warnings.update(pair.warnings)
    return stream


async def test_every_bad_input_gets_its_letter_and_its_neighbours_get_their_vectors(rig: Rig) -> None:
    features = await rig.start_ready()
    stream = catalogue()
    placed = await rig.producer.send_all(stream.records)
    await until(rig.has_caught_up)

    wanted: Counter[tuple[str, str]] = Counter()
    place_of: dict[tuple[str, int, int], tuple[str, str]] = {}
    for index, reason in stream.refused.items():
        sent, at = stream.records[index], placed[index]
        seen = (hashlib.sha256(sent.value or b"").hexdigest(), reason.value)
        wanted[seen] += 1
        if not is_misplaced(sent):
            place_of[at.topic, at.partition, at.offset] = seen
    letters = await rig.letters()
    assert Counter((letter["value_sha256"], letter["reason"]) for letter in letters) == wanted
    found = {(letter["topic"], letter["partition"], letter["offset"]): letter for letter in letters}
    assert len(found) == len(letters)
    for place, seen in place_of.items():
        assert (found[place]["value_sha256"], found[place]["reason"]) == seen
    whole = {hashlib.sha256(record.value or b"").hexdigest(): record.value or b"" for record in stream.records}
    for letter in letters:
        original = whole[letter["value_sha256"]]
        assert base64.b64decode(letter["value_base64"] or b"") == original[:KEPT_BYTES]
        assert letter["value_bytes"] == len(original)

    vectors = Counter(vector["event_id"] for vector in await rig.vectors())
    assert vectors == Counter(stream.decided)
    for warning, count in stream.warnings.items():
        sample = f'flit_input_warnings_total{{rule="{warning.value}",service="features"}}'
        assert await features.metric(sample) == count, warning
    assert await features.metric("flit_features_rerouted_total") == sum(map(is_misplaced, stream.records))
    assert features.process.returncode is None
    assert not [line for line in features.log.read_text().splitlines() if "Traceback" in line]
    assert await features.terminate() == 0


def is_misplaced(record: OutgoingRecord) -> bool:
    """Whether the key gives another partition; then it is sent there, and judged there."""
    return record.key is not None and partition_of(record.key, PARTITIONS) != record.partition
