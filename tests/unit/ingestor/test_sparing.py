"""What is sent where the topics hold some of it; when the history has them looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from services.ingestor import sparing
from services.ingestor.history import HistoryIngest
from services.ingestor.reading import BeginningGone
from services.ingestor.sparing import SparingSender
from services.ingestor.stopping import Stopped
from shared.contracts.headers import cloud_event
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord
from shared.settings import KafkaSettings
from tests.unit.ingestor.loop_fakes import Answer, Cursors, Days, Source, Topics, intake_of
from tests.unit.ingestor.test_history import EVENTS, FOUR_DAYS, SOURCE


def named(topic: str, event: str, source: str = SOURCE) -> OutgoingRecord:
    headers = cloud_event(event_id=event, kind="x", source=source, time="2026-06-01T00:00:00Z")
    return OutgoingRecord(topic, b"k", b"v", headers)


HELD = [named(TRANSACTIONS.name, "a"), named(OUTCOMES.name, "b"), named(TRANSACTIONS.name, "c", "elsewhere")]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    whole_asked: list[bool] = []

    async def read_topic(_: Any, topic: str, *, whole: bool, at_most: int) -> AsyncIterator[list[Any]]:
        whole_asked.append(whole)
        yield [SimpleNamespace(headers=record.headers) for record in HELD if record.topic == topic]

    monkeypatch.setattr(sparing, "read_topic", read_topic)
    return whole_asked


async def test_what_the_topics_hold_of_the_source_is_passed_over(looked: list[bool]) -> None:
    topics = Topics()
    sender = SparingSender(topics, KafkaSettings())
    all_of_it = [named(topic, event) for topic in (TRANSACTIONS.name, OUTCOMES.name) for event in "abc"]
    await sender.send_all(all_of_it)
    assert topics.records == all_of_it

    topics.records.clear()
    await sender.look(SOURCE, whole=True)
    await sender.send_all([*all_of_it, OutgoingRecord("dead-letters", None, b"letter")])
    sent = [(record.topic, dict(record.headers).get("ce_id")) for record in topics.records]
    assert sent == [
        (TRANSACTIONS.name, b"b"), (TRANSACTIONS.name, b"c"), (OUTCOMES.name, b"a"), (OUTCOMES.name, b"c"),
        ("dead-letters", None),
    ]  # fmt: skip
    assert looked == [True, True]


@dataclass
class Looked:
    gone: bool = False
    asked: list[tuple[str, bool]] = field(default_factory=list)

    async def look(self, source: str, *, whole: bool) -> None:
        self.asked.append((source, whole))
        if whole and self.gone:
            raise BeginningGone("gone")


async def history(answers: Sequence[Answer], cursors: Cursors, looked: Looked, *, again: bool = False) -> None:
    stop = asyncio.Event()
    intake = intake_of(Source(*answers, stop=stop), Topics(), stop)
    await HistoryIngest(intake, cursors, Days(), looked, generator="bnpl").run(FOUR_DAYS, again=again)


async def test_the_topics_are_looked_at_where_the_cursor_says_nothing_and_before_all_is_read_again() -> None:
    cursors, looked = Cursors(), Looked()
    await history([Answer(EVENTS)], cursors, looked)
    assert looked.asked == [(SOURCE, False)]
    await history([], cursors, looked)  # it is complete
    assert looked.asked == [(SOURCE, False)]
    await history([Answer(EVENTS)], cursors, looked, again=True)
    assert looked.asked[1:] == [(SOURCE, True)]


async def test_what_is_read_again_and_did_not_come_to_its_end_is_looked_at_once_more() -> None:
    cursors, looked = Cursors(), Looked()
    await history([Answer(EVENTS)], cursors, looked)
    with pytest.raises(Stopped):
        await history([Answer(EVENTS[:150], breaks=True)], cursors, looked, again=True)
    assert cursors.saved[SOURCE].completed_day is not None
    await history([Answer(EVENTS)], cursors, looked)
    assert looked.asked[1:] == [(SOURCE, True), (SOURCE, False)]
    assert not cursors.saved[SOURCE].again


async def test_nothing_is_read_again_where_it_can_not_be_told_what_is_there() -> None:
    cursors = Cursors()
    await history([Answer(EVENTS)], cursors, Looked())
    before = cursors.saved[SOURCE]
    with pytest.raises(BeginningGone):
        await history([Answer(EVENTS)], cursors, Looked(gone=True), again=True)
    assert cursors.saved[SOURCE] == before
