"""A connection to the warehouse that is open and dead."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from deploy.local.ports import free_port
from shared.settings import BigQuerySettings
from shared.warehouse import reading, writing
from shared.warehouse.keepalive import KEEPALIVE
from tests.chaos.proxy import Proxy

NOWHERE = "projects/p/datasets/d/tables/t/streams/s"
CALL_S, PATIENCE_S = 2.0, 30.0


Call = Callable[[float], object]
"""With a time-out in seconds."""


def writer(settings: BigQuerySettings) -> Call:
    client = writing.write_client(settings)
    return lambda seconds: client.get_write_stream(name=NOWHERE, retry=None, timeout=seconds)


def reader(settings: BigQuerySettings) -> Call:
    client = reading.read_client(settings)
    return lambda seconds: list(client.read_rows(NOWHERE, retry=None, timeout=seconds))


def is_answered(call: Call) -> bool:
    try:
        call(CALL_S)
    except (DeadlineExceeded, ServiceUnavailable):
        return False
    except GoogleAPICallError:
        return True  # there is no such stream
    return True


@pytest.mark.parametrize(("module", "client"), [(writing, writer), (reading, reader)], ids=["writing", "reading"])
def test_calls_get_through_again_though_nobody_closed_the_dead_connection(
    bigquery_endpoints: BigQuerySettings,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    client: Callable[[BigQuerySettings], Call],
) -> None:
    monkeypatch.setattr(module, "KEEPALIVE", tuple((name, 1000) for name, _ in KEEPALIVE))
    port = free_port()
    target = int(bigquery_endpoints.grpc_endpoint.rpartition(":")[2])
    with Proxy(port, target) as proxy:
        call = client(bigquery_endpoints.model_copy(update={"grpc_endpoint": f"127.0.0.1:{port}"}))
        assert is_answered(call)
        proxy.strand()
        assert not is_answered(call)
        deadline = time.monotonic() + PATIENCE_S
        while not is_answered(call):
            assert time.monotonic() < deadline, "it still asks on the dead connection"


@pytest.mark.parametrize(
    ("kind", "transport", "ours"),
    [
        (BigQueryWriteClient, BigQueryWriteGrpcTransport, writing._Transport),
        (BigQueryReadClient, BigQueryReadGrpcTransport, reading._Transport),
    ],
    ids=["writing", "reading"],
)
def test_a_connection_to_googles_own_is_asked_for_signs_of_life_as_well(
    monkeypatch: pytest.MonkeyPatch, kind: Any, transport: Any, ours: Any
) -> None:
    made: list[tuple[str, object]] = []
    create = transport.create_channel

    def watched(host: str, **arguments: Any) -> grpc.Channel:
        made.extend(arguments["options"])
        return create(host, **arguments)

    monkeypatch.setattr(transport, "create_channel", watched)
    kind(credentials=AnonymousCredentials(), transport=ours)
    assert set(KEEPALIVE) <= set(made)
