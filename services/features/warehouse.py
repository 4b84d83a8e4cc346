"""Records that the log no longer has, read from the warehouse. Imported only where a rebuild needs it.

Every query names a stretch of days and offsets, and what it may cost at most: tables are partitioned by day, and within
a day ordered by their place in Kafka, so that a stretch reads a few blocks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.cloud import bigquery

from services.features.past import PastRecord, past_record
from shared.contracts.headers import REROUTED_HEADER
from shared.contracts.pseudonyms import Pseudonyms
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.google_errors import AWAY
from shared.kafka.errors import TransientError
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.accepted import Row
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY, bigquery_client
from shared.warehouse.columns import Table

STRETCH_OFFSETS = 100_000
"""Asked for at once: few enough for BigQuery to sort in no time, many enough that its second or two doesn't matter."""

PAGE_ROWS = 5_000
"""In memory at once, about a kilobyte each."""

QUERY_TIMEOUT_S = 300.0

OFFSET = re.compile("[0-9]{1,18}")

TABLE_OF: dict[str, Table] = {TRANSACTIONS.name: tables.TRANSACTIONS, OUTCOMES.name: tables.OUTCOMES}
"""The typed tables: as accepted, every field with its type. `raw_bnpl_txs_json` holds the fields as they came."""

_ALL_TIME = "{column} >= TIMESTAMP '1970-01-01 00:00:00+00' AND {column} < TIMESTAMP '2201-01-01 00:00:00+00'"
"""Every moment that the decoder accepts. Only narrow columns are read of all days."""

_PLACE = "kafka_topic = @topic AND kafka_partition = @partition AND kafka_offset >= @low AND kafka_offset < @high"
_SOURCE = "source_topic = @topic AND source_partition = @partition AND source_offset >= @low AND source_offset < @high"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Offsets of one partition, from `low` up to `high` (exclusive)."""

    topic: str
    partition: int
    low: int
    high: int
    found: int = 0
    """How many of them have rows."""
    first: datetime | None = None
    last: datetime | None = None
    """Of the rows, by the column that the table is partitioned by."""


class Past:
    """Every method raises TransientError where BigQuery doesn't answer, or refuses."""

    def __init__(self, settings: BigQuerySettings, pseudonyms: Pseudonyms, *, max_bytes: int) -> None:
        """`max_bytes`: that one query may read; one that would read more is refused by BigQuery, unpaid."""
        self._settings = settings
        self._pseudonyms = pseudonyms
        self._max_bytes = max_bytes
        self._held: bigquery.Client | None = None

    async def survey(self, topic: str, partition: int, low: int, high: int) -> list[Stretch]:
        """[low, high) in stretches, and what the warehouse has of each."""
        table = TABLE_OF[topic]
        sql = (
            f"SELECT DIV(kafka_offset, {STRETCH_OFFSETS}) AS number, COUNT(DISTINCT kafka_offset) AS found,"
            f" MIN({table.partition_by}) AS first, MAX({table.partition_by}) AS last"
            f" FROM `{self._settings.project}.{table.id}`"
            f" WHERE {_ALL_TIME.format(column=table.partition_by)} AND {_PLACE} GROUP BY number"
        )
        whole = Stretch(topic, partition, low, high)
        answers = {row["number"]: row for row in await asyncio.to_thread(self._rows, sql, whole)}
        stretches = []
        for number in range(low // STRETCH_OFFSETS, (high - 1) // STRETCH_OFFSETS + 1):
            start, answer = number * STRETCH_OFFSETS, answers.get(number)
            has = () if answer is None else (answer["found"], answer["first"], answer["last"])
            ends = max(low, start), min(high, start + STRETCH_OFFSETS)
            stretches.append(Stretch(topic, partition, *ends, *has))
        return stretches

    async def accounted(self, stretch: Stretch) -> set[int]:
        """Offsets that have a row, or a letter: of their own, or of the copy that was sent to the right partition.

        Raises TransientError where these are not the rows that the survey found: they change under our hands.
        """
        return await asyncio.to_thread(self._accounted, stretch)

    async def records(self, stretch: Stretch) -> AsyncIterator[list[PastRecord]]:
        """In order of their offsets, each once, a few thousand at a time.

        Raises TransientError where they are not as many as the survey found.
        """
        if not stretch.found:
            return
        table, last, read = TABLE_OF[stretch.topic], stretch.low - 1, 0
        names = [column.name for column in table.columns if column.name not in _NOT_NEEDED]
        sql = (
            f"SELECT {', '.join(names)} FROM `{self._settings.project}.{table.id}`"
            f" WHERE {table.partition_by} >= @first AND {table.partition_by} <= @last AND {_PLACE}"
            " ORDER BY kafka_offset"
        )
        pages = self._pages(sql, stretch)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            fresh = []
            for record in page:
                if record.offset > last:
                    fresh.append(record)
                    last = record.offset
            read += len(fresh)
            yield fresh
        if read != stretch.found:
            raise TransientError(f"{table.id}: {read} rows of {stretch}, where there were {stretch.found}")

    async def loaded(self, topic: str, partition: int) -> AsyncIterator[list[PastRecord]]:
        """What was loaded in bulk, in its order, a few thousand at a time."""
        table = TABLE_OF[topic]
        names = [column.name for column in table.columns if column.name not in _NOT_NEEDED]
        sql = (
            f"SELECT {', '.join(names)} FROM `{self._settings.project}.{table.id}`"
            f" WHERE {_ALL_TIME.format(column=table.partition_by)} AND load_partition = @partition"
            " ORDER BY load_id, load_row"
        )
        pages = self._pages(sql, Stretch(topic, partition, 0, 0))
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            yield page

    def _accounted(self, stretch: Stretch) -> set[int]:
        project, table, letters = self._settings.project, TABLE_OF[stretch.topic], tables.DEAD_LETTERS
        rows = (
            f"SELECT DISTINCT kafka_offset AS place FROM `{project}.{table.id}`"
            f" WHERE {_ALL_TIME.format(column=table.partition_by)} AND {_PLACE}"
        )
        refused = (
            f"SELECT DISTINCT source_offset AS place FROM `{project}.{letters.id}`"
            f" WHERE {_ALL_TIME.format(column=letters.partition_by)} AND {_SOURCE}"
        )
        elsewhere = (
            f"SELECT DISTINCT JSON_VALUE(headers, '$.{REROUTED_HEADER}') AS origin FROM `{project}.{letters.id}`"
            f" WHERE {_ALL_TIME.format(column=letters.partition_by)} AND source_topic = @topic"
            f" AND JSON_VALUE(headers, '$.{REROUTED_HEADER}') IS NOT NULL"
        )
        here = f"{stretch.topic}-{stretch.partition}-"
        places = {row["place"] for row in self._rows(rows, stretch)}
        if len(places) != stretch.found:
            raise TransientError(f"{table.id}: {len(places)} rows of {stretch}, where there were {stretch.found}")
        places |= {row["place"] for row in self._rows(refused, stretch)}
        origins = [row["origin"].removeprefix(here) for row in self._rows(elsewhere, stretch)]
        # Anybody may send a header of that name.
        return places | {int(origin) for origin in origins if OFFSET.fullmatch(origin)}

    def _pages(self, sql: str, stretch: Stretch) -> Iterator[list[PastRecord]]:
        with self._answering():
            for page in self._ask(sql, stretch).pages:
                yield [past_record(stretch.topic, row, self._pseudonyms) for row in page]

    def _rows(self, sql: str, stretch: Stretch) -> Sequence[Row]:
        with self._answering():
            return list(self._ask(sql, stretch))

    def _ask(self, sql: str, stretch: Stretch) -> Any:
        if self._held is None:
            self._held = bigquery_client(self._settings)
        job = self._held.query(sql, job_config=self._config(stretch), retry=RETRY, timeout=CALL_TIMEOUT_S)
        # Over the REST pages, which keep the order of the query.
        return job.result(page_size=PAGE_ROWS, timeout=QUERY_TIMEOUT_S)

    def _config(self, stretch: Stretch) -> bigquery.QueryJobConfig:
        values: Mapping[str, tuple[str, object]] = {
            "topic": ("STRING", stretch.topic),
            "partition": ("INT64", stretch.partition),
            "low": ("INT64", stretch.low),
            "high": ("INT64", stretch.high),
            "first": ("TIMESTAMP", stretch.first),
            "last": ("TIMESTAMP", stretch.last),
        }
        return bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter(name, kind, value) for name, (kind, value) in values.items()
            ],
            maximum_bytes_billed=self._max_bytes,
            use_query_cache=False,  # what was missing may have come
        )

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except AWAY as error:
            raise TransientError(
                f"warehouse (BIGQUERY__…, FEATURES__REBUILD_MAX_BYTES {self._max_bytes}): {error!r}"[:500]
            ) from error


_NOT_NEEDED = {"kafka_topic", "kafka_partition", "kafka_timestamp", "load_id", "load_partition", "load_row"}
