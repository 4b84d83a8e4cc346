"""One audit: wait for the services to catch up with the log as it stands, read it all, check, report.

The system goes on meanwhile. What is judged (the scope) is what lay on the inputs when the audit began, with all that
followed from it. Records that came later are read where they explain something: a decision in the scope may be that of
a later purchase, and features may have been made as of one.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import redis.asyncio
from aiokafka import TopicPartition

from services.ledger import chain, checks, warehouse_rows
from services.ledger.book import READ_IN_ORDER, Book
from services.ledger.expired import Beginnings, Expired
from services.ledger.freshness import Began, Freshness
from services.ledger.log_reader import LogReader
from services.ledger.settings import LedgerSettings
from shared.contracts.topics import ALL, DEAD_LETTERS, DECISION_UPDATES, DECISIONS, FEATURES, OUTCOMES, TRANSACTIONS
from shared.kafka.connection import client_arguments
from shared.warehouse.reading import read_client

GROUPS = ("flit-features", "flit-scorer", "flit-sink")
ASK_AGAIN_SECONDS = 0.5
Say = Callable[[str], None]
Ends = dict[str, dict[TopicPartition, int]]
"""Topic → partition → the offset at which the audit stops reading."""


@dataclass
class Audit:
    """What an audit found. `lag`: records that a group had not taken in when the waiting ended."""

    findings: list[checks.Finding]
    lag: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    answers_compared: int = 0
    answers_gone: int = 0
    """Decided events of which REST knows nothing (404): their claims lived their time, were erased, or are lost."""
    expired: dict[str, int] = field(default_factory=dict)
    """Topic → how many records the log no longer has: judged by an earlier audit, or by none."""
    chains: dict[int, chain.Followed] = field(default_factory=dict)
    """Partition → the hash chain of its decisions."""

    @property
    def balanced(self) -> bool | None:
        """None: nothing is wrong as far as can be told, and not everything can."""
        if self.lag or any(finding.violations for finding in self.findings):
            return False
        return None if any(finding.not_checkable for finding in self.findings) else True


async def audit(settings: LedgerSettings, say: Say) -> Audit:
    """Make the audit. `say` is told what is being done."""
    async with LogReader(client_arguments(settings.kafka)) as reader:
        began = await _began(reader)
        say("waiting for the services to catch up")
        scope, lag = await _settled_ends(reader, settings.ledger.settle_seconds)
        # First the counts, then the ends: whatever was acknowledged by then is below them.
        acknowledged = await _acknowledged(settings)
        ends = scope | {topic.name: await reader.ends(topic.name) for topic in (TRANSACTIONS, OUTCOMES, DEAD_LETTERS)}
        while True:
            first = await _beginnings(reader)
            gone = await asyncio.to_thread(_expired, settings, first)
            say("reading the log")
            book = await _read(reader, ends, scope, settings, gone, began, say)
            if await _beginnings(reader) == first:
                break
            say("retention has moved on: once more")
        everywhere = [tp for of_topic in ends.values() for tp in of_topic]
        committed = {group: _by_place([await reader.committed(group, everywhere)]) for group in GROUPS}
        say("reading the warehouse")
        rows = await asyncio.to_thread(_rows, settings)
        ends_after = _by_place([await reader.ends(topic.name) for topic in ALL])
    say("comparing")
    answers, answers_gone, why_not = await _answers(settings, book)
    mirrored = checks.warehouse_rows(book, rows, ends_after)
    chains = await asyncio.to_thread(_chains, settings, mirrored, book, rows)
    findings = [
        checks.acknowledged_events(book, acknowledged),
        checks.one_decision(book, answers, why_not),
        mirrored,
        checks.recomputed_features(book),
        checks.refused_records(book),
        checks.durable_before_commit(book, committed, rows),
        checks.caught_up(lag, settings.ledger.settle_seconds),
        checks.degraded_is_said(book),
    ]
    records = {topic: len(places) for topic, places in book.records.items()}
    return Audit(findings, lag, records, len(answers), answers_gone, gone.records, chains)


async def _began(reader: LogReader) -> Began:
    ends = await reader.ends(OUTCOMES.name)
    return Began(time.time_ns() // 1_000_000, {place.partition: end for place, end in ends.items()})


async def _beginnings(reader: LogReader) -> dict[tuple[str, int], int]:
    firsts = _by_place([await reader.beginnings(topic.name) for topic in ALL])
    return {place: first for place, first in firsts.items() if first > 0}


def _by_place(parts: Iterable[Mapping[TopicPartition, int]]) -> dict[tuple[str, int], int]:
    """Offsets by topic and partition, as the pure parts know these."""
    return {(tp.topic, tp.partition): offset for part in parts for tp, offset in part.items()}


async def _settled_ends(
    reader: LogReader, patience: float
) -> tuple[dict[str, dict[TopicPartition, int]], dict[str, int]]:
    """Ends of all topics such that everything that follows from the inputs is below them, and what the groups lack."""
    deadline = time.monotonic() + patience
    ends: Ends = {}
    lag: dict[str, int] = {}
    for topic in (TRANSACTIONS, OUTCOMES):
        ends[topic.name] = await reader.ends(topic.name)
    inputs = ends[TRANSACTIONS.name] | ends[OUTCOMES.name]
    lacking = await reader.caught_up("flit-features", inputs, deadline)
    lag["flit-features"] = sum(lacking.values())
    # What it takes in from here on has its vectors beyond the ends that are read below: that it is late is all that can
    # be said of it.
    for topic in (TRANSACTIONS, OUTCOMES):
        ends[topic.name] = {place: end - lacking.get(place, 0) for place, end in ends[topic.name].items()}
    ends[FEATURES.name] = await reader.ends(FEATURES.name)
    lag["flit-scorer"] = sum((await reader.caught_up("flit-scorer", ends[FEATURES.name], deadline)).values())
    for topic in (DECISIONS, DECISION_UPDATES, DEAD_LETTERS):
        ends[topic.name] = await reader.ends(topic.name)
    everything = {partition: end for topic_ends in ends.values() for partition, end in topic_ends.items()}
    lag["flit-sink"] = sum((await reader.caught_up("flit-sink", everything, deadline)).values())
    return ends, {group: count for group, count in lag.items() if count}


async def _read(
    reader: LogReader, ends: Ends, scope: Ends, settings: LedgerSettings, gone: Expired, began: Began, say: Say
) -> Book:
    book = Book(
        settings.kafka.partitions,
        _by_place(scope.values()),
        settings.privacy.pseudonyms(),
        await asyncio.to_thread(_erased, settings),
        gone,
        freshness=Freshness(began),
    )
    for topic in READ_IN_ORDER:
        count = 0
        async for record in reader.read(ends[topic]):
            book.add(record)
            count += 1
        say(f"{topic}: {count} records")
    if book.asked:
        async for record in reader.read(ends[TRANSACTIONS.name]):
            book.confirm_asked(record)
    if gone_too := book.asked.keys() & book.gone:
        for gone_purchase in await asyncio.to_thread(_bodies, settings, gone_too):
            book.confirm_gone(*gone_purchase)
    return book


def _rows(settings: LedgerSettings) -> dict[str, checks.Rows]:
    client = warehouse_rows.open_client(settings.bigquery)
    try:
        tables = [table for group in checks.TABLES.values() for table in group]
        with read_client(settings.bigquery) as reads:
            return {table: warehouse_rows.rows_of(client, reads, table) for table in tables}
    finally:
        client.close()


def _chains(
    settings: LedgerSettings, finding: checks.Finding, book: Book, rows: Mapping[str, checks.Rows]
) -> dict[int, chain.Followed]:
    """Enters into `finding` what the hash chain tells."""
    client = warehouse_rows.open_client(settings.bigquery)
    try:
        kept = warehouse_rows.kept_records(client, book.expired.beginnings)
        chain.expired_records(finding, kept, rows[chain.TABLE])
        return chain.examine(finding, book, warehouse_rows.chains(client), settings.ledger.earlier_heads())
    finally:
        client.close()


def _expired(settings: LedgerSettings, beginnings: Beginnings) -> Expired:
    client = warehouse_rows.open_client(settings.bigquery)
    try:
        found = warehouse_rows.expired(client, beginnings)
        warehouse_rows.add_loaded(client, found)
        return found
    finally:
        client.close()


def _bodies(settings: LedgerSettings, event_ids: Collection[str]) -> list[tuple[str, str | None, int, dict[str, Any]]]:
    client = warehouse_rows.open_client(settings.bigquery)
    try:
        return list(warehouse_rows.bodies(client, event_ids))
    finally:
        client.close()


def _erased(settings: LedgerSettings) -> frozenset[str]:
    client = warehouse_rows.open_client(settings.bigquery)
    try:
        return warehouse_rows.erased_events(client)
    finally:
        client.close()


async def _acknowledged(settings: LedgerSettings) -> dict[str, int]:
    """Source → events acknowledged, as the ingestor keeps count of them."""
    client = redis.asyncio.from_url(settings.redis.address)
    counts: dict[str, int] = {}
    try:
        async for key in client.scan_iter(match="ingestor:*", count=500):
            if await client.type(key) == b"hash":
                count = await client.hget(key, "acknowledged")
                if count is not None:
                    counts[key.decode().removeprefix("ingestor:")] = int(count)
    finally:
        await client.aclose()
    return counts


async def _answers(settings: LedgerSettings, book: Book) -> tuple[dict[str, bytes], int, str | None]:
    """SHA-256 of what REST gives for some of the decided events, chosen at random; of how many it knows nothing; and
    why no more were compared. Nothing of all that where REST isn't to be asked."""
    if not settings.ledger.scorer_url:
        return {}, 0, None
    dice, deadline = random.Random(0), time.monotonic() + settings.ledger.settle_seconds
    asked = dice.sample(sorted(book.decisions), min(settings.ledger.compared_answers, len(book.decisions)))
    answers: dict[str, bytes] = {}
    gone = 0
    refused: Counter[int] = Counter()
    key = settings.ledger.scorer_key
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    async with httpx.AsyncClient(base_url=settings.ledger.scorer_url, headers=headers, timeout=5) as client:
        for event_id in asked:
            try:
                response = await _asked_until(client, f"/v1/decisions/{quote(event_id, safe='')}", deadline)
            except httpx.TransportError as error:
                return answers, gone, f"REST isn't there ({error!r})"
            if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                return answers, gone, f"REST answers {response.status_code} to LEDGER__SCORER_KEY"
            if response.status_code == httpx.codes.OK:
                answers[event_id] = hashlib.sha256(response.content).digest()
            # For a claim that has lived its time, or was erased: the topic keeps decisions for longer.
            elif response.status_code == httpx.codes.NOT_FOUND:
                gone += 1
            else:
                refused[response.status_code] += 1
    told = ", ".join(f"{status} for {count}" for status, count in sorted(refused.items()))
    if not told and asked and not answers:
        # Each for itself may be; all of them can be a key that may not read, or claims that are gone.
        told = "404 for all"
    return answers, gone, f"{told} of {len(asked)} decided events" if told else None


async def _asked_until(client: httpx.AsyncClient, path: str, deadline: float) -> httpx.Response:
    """The answer, asked again as long as the door says that it can't tell yet: claims may be on their way back."""
    while True:
        response = await client.get(path)
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
            return response
        await asyncio.sleep(ASK_AGAIN_SECONDS)
