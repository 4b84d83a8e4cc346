"""A Storage Write API in memory, with faults to order, and what else a writer talks to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pyarrow as pa
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from services.sink.bigquery import PartitionWriter, Warehouse
from services.sink.streams import StreamNames
from shared.warehouse.columns import Row, Table
from shared.warehouse.tables import CHAIN, DECISION_UPDATES, DECISIONS
from shared.warehouse.writing import WriteClients

CODE = grpc.StatusCode
TOPIC, PARTITION = "decision-updates", 2


class Broken(grpc.RpcError):  # type: ignore[misc]
    """A call that the line or the server ended."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "to order"


@dataclass
class FakeStream:
    rows: int = 0
    sealed: bool = False


@dataclass
class FakeWrites:
    """The client, its transport, and the one table behind it."""

    offsets: list[int] = field(default_factory=list)
    """kafka_offset of every row, in the order of their arrival."""
    links: list[str | None] = field(default_factory=list)
    """chain_sha256 of every row of a chained table."""
    streams: dict[str, FakeStream] = field(default_factory=dict)
    before: list[grpc.StatusCode | None] = field(default_factory=list)
    """For coming appends, in order: refuse with this status in the answer; None: don't."""
    lost: list[grpc.StatusCode | None] = field(default_factory=list)
    """For coming appends that succeed, in order: break the line instead of answering; None: don't."""
    appends: int = 0
    asked: list[int] = field(default_factory=list)
    """From which offset on the table was asked for its last row, each time."""

    @property
    def transport(self) -> FakeWrites:
        return self

    def create_write_stream(self, **_: Any) -> types.WriteStream:
        name = f"streams/{len(self.streams)}"
        self.streams[name] = FakeStream()
        return types.WriteStream(name=name)

    def finalize_write_stream(self, *, name: str, **_: Any) -> None:
        self.streams[name].sealed = True

    def append_rows(self, requests: Iterator[types.AppendRowsRequest], **_: Any) -> FakeCall:
        return FakeCall(self, requests)

    def take(self, request: types.AppendRowsRequest, schema: pa.Schema) -> types.AppendRowsResponse:
        self.appends += 1
        if self.before and (code := self.before.pop(0)) is not None:
            return _refusal(code)
        stream = self.streams.get(request.write_stream)
        if stream is None:
            return _refusal(CODE.NOT_FOUND)
        if stream.sealed:
            return _refusal(CODE.FAILED_PRECONDITION)
        if request.offset != stream.rows:
            return _refusal(CODE.ALREADY_EXISTS if request.offset < stream.rows else CODE.OUT_OF_RANGE)
        batch = pa.ipc.read_record_batch(pa.py_buffer(request.arrow_rows.rows.serialized_record_batch), schema)
        self.offsets += batch.column("kafka_offset").to_pylist()
        if CHAIN.name in batch.schema.names:
            self.links += batch.column(CHAIN.name).to_pylist()
        stream.rows += batch.num_rows
        if self.lost and (code := self.lost.pop(0)) is not None:
            raise Broken(code)
        return types.AppendRowsResponse(append_result={"offset": request.offset})


class FakeCall:
    """A bidirectional call: each `next` takes one request and answers it."""

    def __init__(self, server: FakeWrites, requests: Iterator[types.AppendRowsRequest]) -> None:
        self._server, self._requests = server, requests
        self._schema: pa.Schema | None = None

    def __next__(self) -> types.AppendRowsResponse:
        request = next(self._requests)
        written = request.arrow_rows.writer_schema.serialized_schema
        if written:
            self._schema = pa.ipc.read_schema(pa.py_buffer(written))
        assert self._schema is not None, "the first request of a connection has to bring the schema"
        return self._server.take(request, self._schema)

    def cancel(self) -> None:
        """Nothing waits here."""


def _refusal(code: grpc.StatusCode) -> types.AppendRowsResponse:
    return types.AppendRowsResponse(error={"code": code.value[0], "message": f"{code.name} to order"})


class FakeClient:
    """Answers how far the table got."""

    project = "p"

    def __init__(self, writes: FakeWrites) -> None:
        self._writes = writes

    def query(self, _: str, *, job_config: bigquery.QueryJobConfig, **__: Any) -> Any:
        (least,) = (one.value for one in job_config.query_parameters if one.name == "offset")
        self._writes.asked.append(least)
        found = dict(zip_longest(self._writes.offsets, self._writes.links))
        found = {offset: link for offset, link in found.items() if offset >= least}
        link = next((found[offset] for offset in sorted(found, reverse=True) if found[offset] is not None), None)
        row = SimpleNamespace(highest=max(found, default=None), link=link, arrived_us=None)
        return SimpleNamespace(result=lambda **_: [row])


@dataclass
class FakeNames:
    """`StreamNames` in memory."""

    held: dict[str, str] = field(default_factory=dict)

    async def current(self, place: str) -> str | None:
        return self.held.get(place)

    async def replace(self, place: str, expected: str | None, name: str) -> bool:
        if self.held.get(place) != expected:
            return False
        self.held[place] = name
        return True


def writer(
    writes: FakeWrites, names: StreamNames, threads: ThreadPoolExecutor, table: Table = DECISION_UPDATES
) -> PartitionWriter:
    one_for_all = SimpleNamespace(take=lambda: writes, give_back=lambda _: None)
    warehouse = Warehouse(cast(bigquery.Client, FakeClient(writes)), cast(WriteClients, one_for_all), names, threads)
    return PartitionWriter(warehouse, table, table.topic or TOPIC, PARTITION)


def rows(offsets: Sequence[int], **changes: Any) -> list[Row]:
    """Rows of `decision_updates` at these Kafka offsets."""
    place = {"kafka_topic": TOPIC, "kafka_partition": PARTITION, "kafka_timestamp": 0}
    needed = {"update_id": "u", "event_id": "e", "kind": "verdict"}
    return [{**needed, **place, "kafka_offset": offset, **changes} for offset in offsets]


def decisions(offsets: Sequence[int], **changes: Any) -> list[Row]:
    """Rows of the chained table at these Kafka offsets."""
    place = {"kafka_topic": DECISIONS.topic, "kafka_partition": PARTITION, "kafka_timestamp": 0}
    needed = {"prediction_timestamp": 0, "event_id": "e", "occurred_at": 0, "decision": "approve", "features": "{}"}
    return [{**needed, **place, "kafka_offset": at, "record_sha256": f"{at:064x}", **changes} for at in offsets]
