"""Google's own client for appending rows, for Google's BigQuery or the emulator.

Apart from the one that reads, since only the sink has its packages. The emulator gets an insecure gRPC channel: no
environment variable would point this client anywhere.
"""

from __future__ import annotations

import threading
from typing import Any

import grpc
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from shared.settings import BigQuerySettings
from shared.warehouse.keepalive import KEEPALIVE

_EMULATOR_OPTIONS = (
    ("grpc.max_receive_message_length", 128 * 1024 * 1024),
    # gRPC's own back-off grows to two minutes: an emulator that was restarted would stay unreachable for as long.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
"""gRPC lets channels to the same place share one connection."""

STREAMS_EACH = 80
"""Google's servers let a connection carry a hundred calls at once. An open write stream is a call that lasts, and the
calls that make and seal streams go the same way."""


class _Transport(BigQueryWriteGrpcTransport):  # type: ignore[misc]
    """Google's own, with signs of life."""

    @classmethod
    def create_channel(cls, host: str = BigQueryWriteGrpcTransport.DEFAULT_HOST, **arguments: Any) -> grpc.Channel:
        options = [*arguments.pop("options", ()), *KEEPALIVE, *_OWN_CONNECTION]
        return super().create_channel(host, options=options, **arguments)


def write_client(settings: BigQuerySettings) -> BigQueryWriteClient:
    """The Storage Write API: over gRPC, and a connection of its own."""
    if settings.is_emulator:
        channel = grpc.insecure_channel(
            settings.grpc_endpoint, options=(*_EMULATOR_OPTIONS, *KEEPALIVE, *_OWN_CONNECTION)
        )
        return BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))
    return BigQueryWriteClient(transport=_Transport)


class WriteClients:
    """A client for each `STREAMS_EACH` streams: with one for all, the streams beyond a connection's limit would wait
    for ever, and their partitions with them. `take` blocks where it has to make one."""

    def __init__(self, settings: BigQuerySettings) -> None:
        self._settings = settings
        self._streams: dict[BigQueryWriteClient, int] = {}
        self._lock = threading.Lock()

    def take(self) -> BigQueryWriteClient:
        """For one more stream. Raises what making a client does: credentials may not be had."""
        with self._lock:
            client = next((each for each, held in self._streams.items() if held < STREAMS_EACH), None)
            if client is None:
                client = write_client(self._settings)
            self._streams[client] = self._streams.get(client, 0) + 1
            return client

    def give_back(self, client: BigQueryWriteClient) -> None:
        """Of a stream that is closed. The connection stays: a rebalance takes streams only to bring others."""
        with self._lock:
            self._streams[client] -= 1
