"""Erasure of one customer: `python -m services.sink erase`, the id on standard input.

From Redis go the state and the claims, from the warehouse what is personal; the topics keep what they hold until its
retention ends, which is said. Safe to repeat: a second run finds what the first one left, or nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import structlog
from google.cloud import bigquery
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.sink import erasure_rows
from services.sink.erasure_log import Traces, traces
from shared.claim_keys import COMPLETE, customer_of, key_of
from shared.contracts.identity import partition_of
from shared.contracts.topics import BY_NAME, DECISIONS, OUTCOMES, TRANSACTIONS
from shared.exposure import ExposureStore
from shared.feature_state import FeatureStateStore
from shared.google_errors import AWAY
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from shared.warehouse import tables
from shared.warehouse.clients import RETRY

log = structlog.get_logger()

EXIT_UNFINISHED = 3
"""Something was left that can't be erased yet: run the same command again."""

MOVE_SECONDS = 10.0
"""A batch that read the state before it was deleted writes it again; after so long none is under way any more."""

KEYS_AT_ONCE = 500


@dataclass
class Erasure:
    """What was done. Holds nobody's id."""

    erasure_id: str
    erased_at: datetime
    states: int = 0
    claims: int = 0
    accounts: int = 0
    """Of what he owes."""
    rows: dict[str, int] = field(default_factory=dict)
    """Table → rows emptied."""
    topics: dict[str, int] = field(default_factory=dict)
    """Topic → records that it still holds."""
    topics_until: dict[str, datetime | None] = field(default_factory=dict)
    """Topic → when the last of them is past its retention; None: never."""
    pending: dict[str, str] = field(default_factory=dict)
    """What is left → why."""

    @property
    def complete(self) -> bool:
        return not self.pending

    def lines(self) -> list[str]:
        """For people."""
        told = [
            f"erasure {self.erasure_id}: {'complete' if self.complete else 'NOT FINISHED, run it again'}",
            f"Redis: {self.states} state(s), {self.claims} claim(s) and {self.accounts} account(s) deleted",
            *(f"warehouse: {table}: {count} row(s) emptied" for table, count in self.rows.items()),
        ]
        if any(self.rows.values()):
            told.append("warehouse: BigQuery itself keeps what stood there for its time travel and seven days beyond")
        for topic, count in self.topics.items():
            until = self.topics_until[topic]
            told.append(f"topic {topic}: still holds {count} record(s), {_until(until)}")
        if not self.topics:
            told.append("topics: no record left")
        return told + [f"left: {what}: {why}" for what, why in self.pending.items()]


def _until(moment: datetime | None) -> str:
    if moment is None:
        return "for ever: the topic has no retention"
    return f"the last of them until its retention ends on {moment:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class Parts:
    kafka: KafkaSettings
    redis: Redis
    warehouse: bigquery.Client
    patience_s: float
    """How long to wait for the services to take in what they haven't yet."""


async def erase(parts: Parts, customer_id: str, *, also: Sequence[str] = ()) -> Erasure:
    """Erase a customer. `also`: other ids that he is stored under.

    Raises TransientError where something doesn't answer: what was done by then stays done, and a repetition goes on.
    """
    done = Erasure(uuid.uuid4().hex, datetime.now(UTC))
    names = list(dict.fromkeys([customer_id, *also]))
    partition = partition_of(customer_id.encode(), parts.kafka.partitions)
    found = await traces(parts.kafka, names, parts.patience_s)
    _note_topics(done, found)
    done.pending |= found.waited_for
    try:
        events = found.events | await asyncio.to_thread(erasure_rows.events_of, parts.warehouse, names)
        await _redis(parts, done, names, partition, events)
        await _note_restorings(parts, done, partition)
        for table in tables.STREAMED:
            emptied = await asyncio.to_thread(erasure_rows.empty, parts.warehouse, table, names)
            done.rows[table.id] = emptied.rows
            if emptied.left:
                places = ", ".join(emptied.left)
                done.pending[table.id] = f"written lately, still in BigQuery's streaming buffer: {places}"
        await asyncio.to_thread(_record, parts.warehouse, done)
    except (RedisError, *AWAY) as error:
        raise TransientError(f"not finished, run it again: {error!r}"[:500]) from error
    log.info("erased", erasure_id=done.erasure_id, complete=done.complete, rows=sum(done.rows.values()))
    return done


def _note_topics(done: Erasure, found: Traces) -> None:
    for topic, held in found.held.items():
        done.topics[topic] = held.records
        done.topics_until[topic] = held.until(BY_NAME[topic])


async def _redis(parts: Parts, done: Erasure, names: Sequence[str], partition: int, events: set[str]) -> None:
    states = FeatureStateStore(parts.redis)
    done.states, done.claims, done.accounts = await _delete(parts.redis, names, partition, events)
    # Read after the deletion: whoever had read the state before it moves the position from here.
    before = await states.position(partition)
    deadline = time.monotonic() + MOVE_SECONDS
    while done.states and await states.position(partition) == before and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    again, claims, accounts = await _delete(parts.redis, names, partition, events)
    done.states, done.claims = max(done.states, again), done.claims + claims
    done.accounts = max(done.accounts, accounts)


async def _note_restorings(parts: Parts, done: Erasure, partition: int) -> None:
    """What is being made anew from the topics while they still hold the customer holds him again in the end."""
    inputs = {TRANSACTIONS.name, OUTCOMES.name} & done.topics.keys()
    if inputs and not (await FeatureStateStore(parts.redis).standing(partition)).whole:
        done.pending["states"] = f"those of partition {partition} are being rebuilt from the topics"
    if DECISIONS.name in done.topics and await parts.redis.get(COMPLETE) is None:
        done.pending["claims"] = "they are being restored from the topics"


async def _delete(redis: Redis, names: Sequence[str], partition: int, events: set[str]) -> tuple[int, int, int]:
    """How many states, claims and accounts there were."""
    states, accounts = FeatureStateStore(redis), ExposureStore(redis)
    deleted = sum([await states.erase(partition, name) for name in names])
    claims = 0
    keys = [key_of(event_id) for event_id in sorted(events)]
    for begin in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[begin : begin + KEYS_AT_ONCE]
        held = zip(some, cast(list[bytes | None], await redis.mget(some)), strict=True)
        # Under an event id of his another customer's purchase may have been decided: that claim stays.
        his = [key for key, claim in held if claim is not None and customer_of(claim) in (*names, None)]
        claims += int(await redis.delete(*his)) if his else 0
    return deleted, claims, sum([await accounts.erase(partition, name) for name in names])


def _record(client: bigquery.Client, done: Erasure) -> None:
    """The audit record. Written last: it says what was done, not what was meant."""
    known = [until for until in done.topics_until.values() if until is not None]
    values: dict[str, tuple[str, object, str]] = {
        "erased_at": ("TIMESTAMP", done.erased_at, "@{}"),
        "erasure_id": ("STRING", done.erasure_id, "@{}"),
        "complete": ("BOOL", done.complete, "@{}"),
        "pending": ("STRING", json.dumps(done.pending), "PARSE_JSON(@{})"),
        "states": ("INT64", done.states, "@{}"),
        "claims": ("INT64", done.claims, "@{}"),
        "rows_emptied": ("STRING", json.dumps(done.rows), "PARSE_JSON(@{})"),
        "topics": ("STRING", json.dumps(done.topics), "PARSE_JSON(@{})"),
        "topics_until": ("TIMESTAMP", max(known, default=None), "@{}"),
    }
    statement = (
        f"INSERT INTO `{client.project}.{tables.ERASURES.id}` ({', '.join(values)}) "
        f"VALUES ({', '.join(form.format(name) for name, (_, _, form) in values.items())})"
    )
    parameters = [bigquery.ScalarQueryParameter(name, kind, value) for name, (kind, value, _) in values.items()]
    config = bigquery.QueryJobConfig(query_parameters=parameters)
    # Not repeated by the client itself: an insert whose answer was lost would be there twice.
    client.query(statement, job_config=config, retry=RETRY, job_retry=None).result(timeout=erasure_rows.QUERY_TIMEOUT_S)
