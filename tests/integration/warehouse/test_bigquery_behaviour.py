"""What we rely on in BigQuery, asked of the emulator always, and of Google's where settings name a project.

To ask Google: application default credentials, and FLIT_TEST_BIGQUERY_PROJECT naming a project that holds nothing else
(datasets flit_bnpl_raw, flit_ml_raw and flit_ml are made in it, and rows added). Every known difference between the two
stands in `Differences`, so whoever raises the emulator's version sees here what may go.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pyarrow as pa
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.bigquery_storage_v1 import types

from services.sink.append import ALREADY_EXISTS, OK, AppendConnection, Frozen, freeze
from services.sink.bigquery import FencedOff, PartitionWriter, Warehouse
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.arrow import schema_of
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import RowInvalid
from shared.warehouse.schema import ensure_warehouse, pending_changes
from shared.warehouse.writing import WriteClients, write_client
from tests.integration.warehouse.rows import query
from tests.unit.sink.fakes import FakeNames, rows

GOOGLE_PROJECT = os.environ.get("FLIT_TEST_BIGQUERY_PROJECT", "")
TABLE = tables.DECISION_UPDATES


@dataclass(frozen=True)
class Differences:
    """Where the two part. Both are met by checking rows before they are sent, and by never leaving the filter out."""

    refuses_null_in_required: bool
    refuses_query_without_partition_filter: bool
    sealed: frozenset[grpc.StatusCode]
    """Status of an append to a finalized stream. The writer asks whose the partition is for each of them."""


EMULATOR = Differences(
    refuses_null_in_required=False,
    refuses_query_without_partition_filter=False,
    sealed=frozenset({grpc.StatusCode.FAILED_PRECONDITION}),
)
GOOGLE = Differences(
    refuses_null_in_required=True,
    refuses_query_without_partition_filter=True,
    sealed=frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}),
)


@dataclass(frozen=True)
class Target:
    settings: BigQuerySettings
    differs: Differences


@pytest.fixture(scope="module", params=["emulator", "google"])
def target(request: pytest.FixtureRequest) -> Target:
    if request.param == "google":
        if not GOOGLE_PROJECT:
            pytest.skip("FLIT_TEST_BIGQUERY_PROJECT names no project of Google's")
        settings = BigQuerySettings(project=GOOGLE_PROJECT, rest_endpoint="", grpc_endpoint="")
        found = Target(settings, GOOGLE)
    else:
        shared: BigQuerySettings = request.getfixturevalue("bigquery_endpoints")
        found = Target(shared.model_copy(update={"project": "flit-behaviour"}), EMULATOR)
    ensure_warehouse(found.settings)
    return found


@pytest.fixture
def topic() -> str:
    """Tells this test's rows from all others in the table."""
    return f"test-{uuid.uuid4().hex}"


@dataclass
class Stream:
    target: Target
    name: str
    connection: AppendConnection

    def send(self, batch: Frozen, offset: int) -> grpc.StatusCode:
        return self.connection.append(batch, offset).code


@pytest.fixture
def stream(target: Target) -> Iterator[Stream]:
    client = write_client(target.settings)
    parent = f"projects/{target.settings.project}/datasets/{TABLE.dataset}/tables/{TABLE.name}"
    made = client.create_write_stream(
        parent=parent, write_stream=types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
    )
    connection = AppendConnection(client, made.name, TABLE)
    yield Stream(target, made.name, connection)
    connection.cancel()


def held(target: Target, topic: str) -> list[int]:
    sql = (
        f"SELECT kafka_offset FROM `{{project}}.{TABLE.id}` "
        "WHERE kafka_timestamp >= TIMESTAMP '1970-01-01 00:00:00+00' "
        f"AND kafka_topic = '{topic}' ORDER BY kafka_offset"
    )
    return [row["kafka_offset"] for row in query(target.settings, sql)]


class TestBigQuery:
    """One class for both, so that a promise is never asked of the emulator alone."""

    def test_the_warehouse_is_as_declared_once_it_was_made(self, target: Target) -> None:
        assert pending_changes(target.settings) == []

    def test_a_row_is_visible_once_its_append_is_acknowledged(self, target: Target, stream: Stream, topic: str) -> None:
        (batch,) = freeze(TABLE, rows([3, 4], kafka_topic=topic))
        assert stream.send(batch, 0) is OK
        assert held(target, topic) == [3, 4]

    def test_an_offset_is_taken_once_and_none_is_left_out(self, target: Target, stream: Stream, topic: str) -> None:
        (batch,) = freeze(TABLE, rows([0, 1], kafka_topic=topic))
        assert stream.send(batch, 0) is OK
        assert stream.send(batch, 0) is ALREADY_EXISTS
        assert stream.send(batch, 7) is grpc.StatusCode.OUT_OF_RANGE
        assert held(target, topic) == [0, 1]

    def test_a_sealed_stream_takes_nothing(self, target: Target, stream: Stream, topic: str) -> None:
        (batch,) = freeze(TABLE, rows([0], kafka_topic=topic))
        assert stream.send(batch, 0) is OK
        client = write_client(target.settings)
        assert client.finalize_write_stream(name=stream.name).row_count == 1
        assert client.finalize_write_stream(name=stream.name).row_count == 1, "sealing twice is no error"
        assert stream.send(batch, 1) in target.differs.sealed
        assert held(target, topic) == [0]

    def test_whether_null_is_taken_for_a_required_column(self, target: Target, stream: Stream, topic: str) -> None:
        schema = pa.schema([field.with_nullable(True) for field in schema_of(TABLE)])
        row = rows([0], kafka_topic=topic, event_id=None)[0]
        batch = pa.RecordBatch.from_pylist([row], schema=schema)
        refused = stream.send(Frozen(batch.serialize().to_pybytes(), 1, 0), 0) is not OK
        assert refused == target.differs.refuses_null_in_required
        with pytest.raises(RowInvalid):
            TABLE.check(row)

    def test_whether_a_query_may_leave_the_partition_filter_out(self, target: Target) -> None:
        sql = f"SELECT COUNT(*) FROM `{target.settings.project}.{tables.RAW_TRANSACTIONS.id}`"
        try:
            bigquery_client(target.settings).query(sql).result()
            refused = False
        except GoogleAPICallError:
            refused = True
        assert refused == target.differs.refuses_query_without_partition_filter

    async def test_a_takeover_seals_the_predecessor_and_goes_on_where_it_stopped(
        self, target: Target, topic: str
    ) -> None:
        async for warehouse in _warehouse(target):
            first, second = (PartitionWriter(warehouse, TABLE, topic, 0) for _ in range(2))
            await first.open()
            await first.append(rows([0, 1], kafka_topic=topic, kafka_partition=0))
            assert await second.open() == 1
            with pytest.raises(FencedOff):
                await first.append(rows([2], kafka_topic=topic, kafka_partition=0))
            await second.append(rows([1, 2], kafka_topic=topic, kafka_partition=0))
            second.close()
        assert held(target, topic) == [0, 1, 2]


async def _warehouse(target: Target) -> AsyncIterator[Warehouse]:
    with ThreadPoolExecutor(4) as threads:
        yield Warehouse(bigquery_client(target.settings), WriteClients(target.settings), FakeNames(), threads)
