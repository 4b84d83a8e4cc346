"""More write streams than one connection carries: a server with the limit that Google's have."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from services.sink.append import OK, AppendConnection, freeze
from services.sink.pipeline import build
from shared.contracts import topics
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.writing import STREAMS_EACH, WriteClients
from tests.integration.warehouse.rows import RULES
from tests.unit.sink.records import one_of_each, record

pytestmark = pytest.mark.integration

A_CONNECTION = 100
STREAMS = 2 * A_CONNECTION + 30
METHOD = "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows"


class _Writes(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Takes every batch."""

    def __init__(self) -> None:
        self.connections: set[str] = set()

    def service(self, details: Any) -> Any:
        if details.method != METHOD:
            return None
        return grpc.stream_stream_rpc_method_handler(
            self._append,
            request_deserializer=types.AppendRowsRequest.deserialize,
            response_serializer=types.AppendRowsResponse.serialize,
        )

    def _append(self, requests: Iterator[types.AppendRowsRequest], context: Any) -> Iterator[types.AppendRowsResponse]:
        self.connections.add(context.peer())
        for request in requests:
            yield types.AppendRowsResponse(append_result={"offset": request.offset})


@pytest.fixture
def writes() -> Iterator[tuple[BigQuerySettings, _Writes]]:
    handler = _Writes()
    with ThreadPoolExecutor(STREAMS) as threads:
        server = grpc.server(threads, options=[("grpc.max_concurrent_streams", A_CONNECTION)])
        server.add_generic_rpc_handlers([handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        endpoint = f"127.0.0.1:{port}"
        yield BigQuerySettings(project="p", rest_endpoint="http://127.0.0.1:9", grpc_endpoint=endpoint), handler
        server.stop(grace=None).wait()


def test_each_of_many_open_streams_gets_its_answer(writes: tuple[BigQuerySettings, _Writes]) -> None:
    settings, server = writes
    clients = WriteClients(settings)
    value = one_of_each(1, "cust_000001")[topics.FEATURES]
    rows = build(topics.FEATURES.name, [record(topics.FEATURES, value)], RULES, frozenset()).rows[tables.FEATURES]
    (batch,) = freeze(tables.FEATURES, rows)
    open_streams: list[AppendConnection] = []
    with ThreadPoolExecutor(1) as sending:
        for number in range(STREAMS):
            stream = AppendConnection(clients.take(), f"streams/{number}", tables.FEATURES)
            open_streams.append(stream)
            answer = sending.submit(stream.append, batch, number)
            assert answer.result(timeout=20).code is OK, f"stream {number}"
        assert len(server.connections) == -(-STREAMS // STREAMS_EACH)
        for stream in open_streams:
            stream.cancel()


def test_a_stream_that_is_closed_makes_room_for_another(writes: tuple[BigQuerySettings, _Writes]) -> None:
    clients = WriteClients(writes[0])
    taken: list[BigQueryWriteClient] = [clients.take() for _ in range(STREAMS_EACH)]
    clients.give_back(taken[0])
    assert clients.take() is taken[0]
    assert clients.take() is not taken[0]
