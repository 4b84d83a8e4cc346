"""A connection to the warehouse that is open and dead."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import DeadlineExceeded, InvalidArgument, NotFound, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from deploy.local.ports import free_port
from shared.settings import BigQuerySettings
from shared.warehouse import writing
from tests.chaos.proxy import Proxy

NOWHERE = "projects/p/datasets/d/tables/t/streams/s"
CALL_S, PATIENCE_S = 2.0, 30.0


def is_answered(client: BigQueryWriteClient) -> bool:
    try:
        client.get_write_stream(name=NOWHERE, retry=None, timeout=CALL_S)
    except (InvalidArgument, NotFound):
        return True
    except (DeadlineExceeded, ServiceUnavailable):
        return False
    return True


def test_calls_get_through_again_though_nobody_closed_the_dead_connection(
    bigquery_endpoints: BigQuerySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sooner = tuple((name, 1000) for name, _ in writing._KEEPALIVE)
    monkeypatch.setattr(writing, "_KEEPALIVE", sooner)
    port = free_port()
    target = int(bigquery_endpoints.grpc_endpoint.rpartition(":")[2])
    with Proxy(port, target) as proxy:
        settings = bigquery_endpoints.model_copy(update={"grpc_endpoint": f"127.0.0.1:{port}"})
        client = writing.write_client(settings)
        assert is_answered(client)
        proxy.strand()
        assert not is_answered(client)
        deadline = time.monotonic() + PATIENCE_S
        while not is_answered(client):
            assert time.monotonic() < deadline, "it still asks on the dead connection"


def test_a_connection_to_googles_own_is_asked_for_signs_of_life_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, object]] = []
    create = BigQueryWriteGrpcTransport.create_channel

    def watched(host: str, **arguments: Any) -> grpc.Channel:
        made.extend(arguments["options"])
        return create(host, **arguments)

    monkeypatch.setattr(BigQueryWriteGrpcTransport, "create_channel", watched)
    BigQueryWriteClient(credentials=AnonymousCredentials(), transport=writing._Transport)
    assert set(writing._KEEPALIVE) <= set(made)
