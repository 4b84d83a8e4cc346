"""Days of history (shared.archive) into the warehouse, by load jobs: much faster than through the topics.

The rows are those that the same records would have as they come from Kafka, but for their place: in its stead they name
their load, which is the day. Whatever happens, a day's rows are in a table as a whole or not at all, so that a load
that was cut short is simply run again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from google.cloud import bigquery

from services.sink.pipeline import Rules, rows_of
from shared.archive import RUN, ArchivedRecord, Day, days_of, runs_of
from shared.contracts import topics
from shared.contracts.identity import partition_of
from shared.contracts.pseudonyms import PREFIX
from shared.contracts.rejections import Rejection
from shared.pools import process_pool
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY, bigquery_client
from shared.warehouse.columns import Row, Table
from shared.warehouse.loading import load_rows

LOADABLE = (
    *tables.tables_of(topics.TRANSACTIONS.name),
    *tables.tables_of(topics.OUTCOMES.name),
    *tables.tables_of(topics.DEAD_LETTERS.name),
)
PLACES = ("kafka_topic", "kafka_partition", "kafka_offset")
QUERY_TIMEOUT_S = 120.0


class LoadRefused(Exception):
    """The archive and the warehouse don't go together; nothing of the day in question was written."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """An archived record where it would lie in Kafka."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def loaded_rows(day: Day, rules: Rules) -> dict[Table, list[Row]]:
    """What the day brings to each table. Raises ArchiveDamaged, and LoadRefused for a record that the sink refuses:
    the reader of the source checked it by the same rules, so that one of both has others by now."""
    rows: dict[Table, list[Row]] = {table: [] for table in LOADABLE}
    for number, archived in enumerate(day.records()):
        record = _placed(archived, number, rules.partitions)
        try:
            built = rows_of(record, rules)
        except Rejection as refused:
            raise LoadRefused(f"{day.load_id}, record {number}: {refused.reason.value} {refused.field}") from None
        for table, row in built:
            for name in PLACES:
                del row[name]
            row["load_id"] = day.load_id
            if tables.LOADED[0] in table.columns:
                row["load_partition"], row["load_row"] = record.partition, number
            rows[table].append(row)
    return rows


def load(
    settings: BigQuerySettings,
    rules: Rules,
    folder: Path,
    *,
    processes: int,
    stop: Callable[[], bool],
    done: Callable[[Day, int, int], None],
) -> dict[str, int]:
    """Load every sealed day of every run in the folder that the warehouse doesn't hold yet; table → rows written.

    `done` is told of each day: itself, how many are through, and of how many. Where `stop` says so, no further day is
    begun. Raises LoadRefused, ArchiveDamaged, and what Google's client raises.
    """
    runs = runs_of(folder)
    if not runs:
        raise LoadRefused(f"{folder} holds no run of days: a folder with a {RUN} in it")
    days = [day for run in runs for day in days_of(run)]
    client = bigquery_client(settings)
    try:
        _refuse_another_system(client, rules)
        present = {table: _present(client, table, days) for table in LOADABLE}
        mixed, featured_us = _has_streamed_rows(client), _latest_features(client)
    finally:
        client.close()
    missing = [day for day in days if _of_day(present, day) != _expected(day)]
    written: Counter[str] = Counter()
    with process_pool(processes, _open, (settings, rules, mixed, featured_us)) as pool:
        waiting = iter(missing)
        running = {pool.submit(_load_day, day, _of_day(present, day)): day for day in islice(waiting, 2 * processes)}
        through = len(days) - len(missing)
        while running:
            future = next(as_completed(running))
            day = running.pop(future)
            written.update(future.result())
            through += 1
            done(day, through, len(days))
            if not stop():
                for following in islice(waiting, 1):
                    running[pool.submit(_load_day, following, _of_day(present, following))] = following
    return dict(written)


@dataclass(frozen=True, slots=True)
class _Worker:
    client: bigquery.Client
    rules: Rules
    mixed: bool
    """Whether the warehouse holds rows of the stream, whose people may not have a past loaded behind their backs."""
    featured_us: int | None
    """Up to which purchase features were made of what was loaded before."""


_worker: _Worker | None = None


def _open(settings: BigQuerySettings, rules: Rules, mixed: bool, featured_us: int | None) -> None:
    global _worker
    _worker = _Worker(bigquery_client(settings), rules, mixed, featured_us)


def _load_day(day: Day, present: Mapping[str, int]) -> dict[str, int]:
    """Table → rows written of this day. `present`: table → rows of it that are there."""
    if _worker is None:
        raise AssertionError("the pool opens its workers")
    written = {}
    rows = loaded_rows(day, _worker.rules)
    for table, of_table in rows.items():
        if present[table.id] not in (0, len(of_table)):
            raise LoadRefused(f"{table.id} holds {present[table.id]} rows of {day.load_id}, which has {len(of_table)}")
    purchases = rows[tables.TRANSACTIONS]
    if purchases and not present[tables.TRANSACTIONS.id]:
        if _worker.mixed:
            _refuse_known_people(_worker.client, day, purchases)
        last_us = max(row["occurred_at"] for row in purchases)
        if (_worker.featured_us or 0) > last_us:
            _refuse_featured_people(_worker.client, day, purchases, last_us)
    for table, of_table in rows.items():
        if present[table.id] < len(of_table):
            load_rows(
                _worker.client, table, of_table, key=day.load_id, present=partial(_has, _worker.client, table, day)
            )
            written[table.id] = len(of_table)
    return written


def _refuse_known_people(client: bigquery.Client, day: Day, rows: Sequence[Row]) -> None:
    """Whoever has bought through the stream was decided on without this past: it would make those decisions wrong."""
    if _has_any_of(client, rows, tables.TRANSACTIONS, f"{tables.TRANSACTIONS.ever} AND kafka_topic IS NOT NULL"):
        raise LoadRefused(f"{day.load_id} is of customers who have bought through the stream already")


def _refuse_featured_people(client: bigquery.Client, day: Day, rows: Sequence[Row], last_us: int) -> None:
    """Features are made once: those of later purchases of the same people would lack this day for ever."""
    later = f"occurred_at > TIMESTAMP_MICROS({last_us}) AND load_id IS NOT NULL"
    if _has_any_of(client, rows, tables.FEATURES, later):
        raise LoadRefused(
            f"{day.load_id} is of customers of whom features were made without it: delete those of later days "
            f"({tables.FEATURES.id} WHERE load_id IS NOT NULL), load, and `reprocess`"
        )


def _has_any_of(client: bigquery.Client, rows: Sequence[Row], table: Table, which: str) -> bool:
    """Whether the table has rows of these rows' customers. `which`: a condition on them."""
    people = bigquery.ArrayQueryParameter("people", "STRING", sorted({row["customer_id"] for row in rows}))
    sql = (
        f"SELECT customer_id FROM `{client.project}.{table.id}`"
        f" WHERE {which} AND customer_id IN UNNEST(@people) LIMIT 1"
    )
    return any(_asked(client, sql, [people]))


def _latest_features(client: bigquery.Client) -> int | None:
    sql = (
        f"SELECT UNIX_MICROS(MAX(occurred_at)) AS latest FROM `{client.project}.{tables.FEATURES.id}`"
        f" WHERE {tables.FEATURES.ever} AND load_id IS NOT NULL"
    )
    (found,) = _asked(client, sql, [])
    return None if found.latest is None else int(found.latest)


def _refuse_another_system(client: bigquery.Client, rules: Rules) -> None:
    """Raises LoadRefused where those who are there go by another kind of names, or a log has more partitions: whoever
    loads hasn't the system's settings. Another key, or more partitions than the log has, doesn't show here."""
    sql = (
        f"SELECT LOGICAL_OR(STARTS_WITH(customer_id, '{PREFIX}')) AS pseudonyms,"
        f" LOGICAL_OR(NOT STARTS_WITH(customer_id, '{PREFIX}')) AS names,"
        " MAX(COALESCE(kafka_partition, load_partition)) AS highest_partition"
        f" FROM `{client.project}.{tables.TRANSACTIONS.id}` WHERE {tables.TRANSACTIONS.ever}"
    )
    (found,) = _asked(client, sql, [])
    highest = found.highest_partition
    if highest is not None and highest >= rules.partitions:
        raise LoadRefused(f"the warehouse has rows of partition {highest}, KAFKA__PARTITIONS is {rules.partitions}")
    if found.names if rules.pseudonyms.on else found.pseudonyms:
        there = "pseudonyms" if found.pseudonyms else "ids as they come"
        raise LoadRefused(f"the warehouse has {there}, and PRIVACY__PSEUDONYM_KEY says otherwise here")


def _has_streamed_rows(client: bigquery.Client) -> bool:
    sql = (
        f"SELECT 1 FROM `{client.project}.{tables.TRANSACTIONS.id}`"
        f" WHERE {tables.TRANSACTIONS.ever} AND kafka_topic IS NOT NULL LIMIT 1"
    )
    return any(_asked(client, sql, []))


def _present(client: bigquery.Client, table: Table, days: Sequence[Day]) -> dict[str, int]:
    """load_id → rows of it in the table."""
    loads = bigquery.ArrayQueryParameter("loads", "STRING", [day.load_id for day in days])
    sql = (
        f"SELECT load_id, COUNT(*) AS held FROM `{client.project}.{table.id}`"
        f" WHERE {table.ever} AND load_id IN UNNEST(@loads) GROUP BY load_id"
    )
    return {row.load_id: row.held for row in _asked(client, sql, [loads])}


def _has(client: bigquery.Client, table: Table, day: Day) -> bool:
    return bool(_present(client, table, [day]))


def _of_day(present: Mapping[Table, Mapping[str, int]], day: Day) -> dict[str, int]:
    return {table.id: held.get(day.load_id, 0) for table, held in present.items()}


def _expected(day: Day) -> dict[str, int]:
    """Table → how many rows the day's seal promises."""
    return {table.id: day.seal.records.get(table.topic or "", 0) for table in LOADABLE}


def _asked(client: bigquery.Client, sql: str, parameters: Sequence[Any]) -> Iterator[Any]:
    config = bigquery.QueryJobConfig(query_parameters=list(parameters), use_query_cache=False)
    job = client.query(sql, job_config=config, retry=RETRY, timeout=CALL_TIMEOUT_S)
    yield from job.result(retry=RETRY, timeout=QUERY_TIMEOUT_S)


def _placed(archived: ArchivedRecord, number: int, partitions: int) -> _Placed:
    key = None if archived.key is None else archived.key.encode()
    return _Placed(
        topic=archived.topic,
        partition=0 if key is None else partition_of(key, partitions),
        offset=number,
        timestamp=archived.timestamp_ms,
        key=key,
        value=bytes(archived.value),
        headers=[(name, content.encode()) for name, content in archived.headers],
    )
