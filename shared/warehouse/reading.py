"""Google's own client for reading whole tables fast, for Google's BigQuery or the emulator."""

from __future__ import annotations

from typing import Any

import grpc
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

from shared.settings import BigQuerySettings
from shared.warehouse.keepalive import KEEPALIVE

_EMULATOR_OPTIONS = (("grpc.max_receive_message_length", 128 * 1024 * 1024),)
"""It sends large messages, where Google's service keeps to the usual limit."""


class _Transport(BigQueryReadGrpcTransport):  # type: ignore[misc]
    """Google's own, with signs of life."""

    @classmethod
    def create_channel(cls, host: str = BigQueryReadGrpcTransport.DEFAULT_HOST, **arguments: Any) -> grpc.Channel:
        return super().create_channel(host, options=[*arguments.pop("options", ()), *KEEPALIVE], **arguments)


def read_client(settings: BigQuerySettings) -> BigQueryReadClient:
    """The Storage Read API: over gRPC."""
    if settings.is_emulator:
        channel = grpc.insecure_channel(settings.grpc_endpoint, options=(*_EMULATOR_OPTIONS, *KEEPALIVE))
        return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
    return BigQueryReadClient(transport=_Transport)
