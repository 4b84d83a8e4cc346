"""Send dead letters again, once: `python -m services.ingestor replay-dead-letters`.

A refused record goes back to its own topic with its original bytes and key; a refused line of the source is mapped
anew. Either carries the header `replayed_from`, and is remembered under where it lay when it was refused, so a second
replay, or a second letter of the same record, sends nothing. It is remembered after the acknowledgement: a crash in
between sends it twice, under the same event id, which the readers drop.
"""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.ingestor.delivery import Sender
from services.ingestor.lines import Line
from services.ingestor.pipeline import NOT_FROM_KAFKA, Reading, Record, Refused, read_line
from services.ingestor.reading import read_topic
from services.ingestor.simtom import CustomerScope, Run
from shared.contracts import topics
from shared.contracts.events import DeadLetter
from shared.contracts.headers import REPLAYED_FROM_HEADER
from shared.contracts.rejections import RejectionReason
from shared.contracts.transactions import Limits
from shared.contracts.wire import UNREADABLE
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from shared.settings import KafkaSettings

log = structlog.get_logger()

MEMORY_KEY = "ingestor:replayed"
"""A sorted set: where a replayed record lay, scored by when it was replayed (seconds since 1970)."""

MEMORY_SECONDS = topics.DEAD_LETTERS.retention_ms // 1000
"""A letter lives no longer than this, so neither need the memory of it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are sent."""

    reason: str | None = None
    limit: int | None = None
    dry_run: bool = False
    repeated: bool = False
    """Also letters of records that had already been replayed, and were refused again."""
    since: str = ""
    """Only those of what was refused since then, in canonical time; empty: all."""


@dataclass
class Report:
    """What became of the letters that were looked at."""

    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items())) or "no letters"


def position_of(letter: DeadLetter) -> str:
    """Where the refused record lay: what a replay is remembered by."""
    return f"{letter.topic}-{letter.partition}-{letter.offset}"


def records_of(
    letter: DeadLetter, *, scope: CustomerScope, limits: Limits, received_us: int
) -> list[OutgoingRecord] | str:
    """The records that the letter stands for, or in a few words why there are none. Pure."""
    mark = (REPLAYED_FROM_HEADER, position_of(letter).encode())
    value = None if letter.value_base64 is None else base64.b64decode(letter.value_base64)
    if value is None:
        return "without a value"
    if len(value) != letter.value_bytes:
        return "kept only in part"
    if letter.partition != NOT_FROM_KAFKA:
        if letter.reason == RejectionReason.CONFLICT:
            # Its event has a decision, of another purchase; once that is forgotten, it would get a second one.
            return "of an event that was decided for another purchase"
        if letter.topic not in topics.BY_NAME or letter.topic == topics.DEAD_LETTERS.name:
            return "of an unknown topic"
        key = None if letter.key_base64 is None else base64.b64decode(letter.key_base64)
        kept = [(name, text.encode()) for name, text in letter.headers.items() if name != REPLAYED_FROM_HEADER]
        # With pseudonyms a vector's key doesn't give its partition, which is its purchase's.
        partition = letter.partition if letter.topic == topics.FEATURES.name else None
        return [OutgoingRecord(letter.topic, key, value, [*kept, mark], partition)]
    run = Run.of_source(letter.topic)
    if run is None:
        return "of an unknown source"
    # The tenure was counted on the day on which the line came in.
    reading = Reading(run, scope, limits, date.fromisoformat(letter.received_at[:10]), received_us)
    result = read_line(Line(max(letter.offset, 0), value), reading)
    if isinstance(result, Refused):
        return "still refused"
    return [_marked(record, mark) for record in result.records]


def _marked(record: Record, mark: tuple[str, bytes]) -> OutgoingRecord:
    return OutgoingRecord(record.topic, record.key, record.value, [*record.headers, mark])


class Replay:
    """Reads the dead letters that are there when it begins, and sends those that were chosen."""

    def __init__(
        self, sender: Sender, redis: Redis, *, kafka: KafkaSettings, scope: CustomerScope, limits: Limits
    ) -> None:
        self._sender = sender
        self._redis = redis
        self._kafka = kafka
        self._scope = scope
        self._limits = limits

    async def run(self, choice: Choice) -> Report:
        """Raises TransientError where the brokers or Redis are away."""
        report, taken = Report(), 0
        async for letters in read_letters(self._kafka):
            wanted = [letter for letter in letters if self._is_wanted(letter, choice, report)]
            chosen: dict[str, list[OutgoingRecord]] = {}
            for letter, known in zip(wanted, await self._known(wanted), strict=True):
                position = position_of(letter)
                if known or position in chosen:
                    report.counts["replayed before"] += 1
                    continue
                if taken == choice.limit:
                    break
                records = records_of(letter, scope=self._scope, limits=self._limits, received_us=time.time_ns() // 1000)
                if isinstance(records, str):
                    report.counts[records] += 1
                    continue
                chosen[position] = records
                taken += 1
            await self._send(chosen, choice, report)
            if taken == choice.limit:
                break
        return report

    def _is_wanted(self, letter: DeadLetter, choice: Choice, report: Report) -> bool:
        if choice.reason is not None and letter.reason != choice.reason:
            return False
        if letter.received_at < choice.since:
            return False
        if REPLAYED_FROM_HEADER in letter.headers and not choice.repeated:
            report.counts["refused again after a replay"] += 1
            return False
        return True

    async def _send(self, chosen: dict[str, list[OutgoingRecord]], choice: Choice, report: Report) -> None:
        if not chosen:
            return
        if choice.dry_run:
            report.counts["would be sent"] += len(chosen)
            return
        await self._sender.send_all([record for records in chosen.values() for record in records])
        now = time.time()
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.zadd(MEMORY_KEY, dict.fromkeys(chosen, now))
                pipeline.zremrangebyscore(MEMORY_KEY, "-inf", now - MEMORY_SECONDS)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {error!r}") from error
        report.counts["sent"] += len(chosen)
        log.info("dead_letters_replayed", letters=len(chosen))

    async def _known(self, letters: Sequence[DeadLetter]) -> list[bool]:
        if not letters:
            return []
        try:
            scores = await self._redis.zmscore(MEMORY_KEY, [position_of(letter) for letter in letters])
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {error!r}") from error
        return [score is not None for score in scores]


async def read_letters(settings: KafkaSettings) -> AsyncIterator[list[DeadLetter]]:
    """The letters from the beginning to the end that the topic has now, in batches. Raises TransientError."""
    async for records in read_topic(settings, topics.DEAD_LETTERS.name):
        yield [letter for record in records if (letter := _decode(record.value)) is not None]


_decoder = msgspec.json.Decoder(DeadLetter)


def _decode(value: bytes | None) -> DeadLetter | None:
    try:
        return _decoder.decode(value or b"")
    except UNREADABLE as error:
        log.warning("no_dead_letter", error=str(error))
        return None
