"""The mended BigQuery emulator: `python -m deploy.local.bigquery_emulator DATA_DIR REST_PORT GRPC_PORT`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

from bqemulator.config import PersistenceMode, Settings
from bqemulator.server import EmulatorServer

from deploy.local import bigquery_patches

MAX_REQUEST_BYTES = 128 * 1024 * 1024
"""Also bounds one answer of the Storage Read API, which comes in one piece here: reads of 100,000 rows need it."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.bigquery_emulator", description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("rest_port", type=int)
    parser.add_argument("grpc_port", type=int)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; in a container 0.0.0.0")
    parser.add_argument(
        "--without",
        action="append",
        choices=bigquery_patches.NAMES,
        default=[],
        help="leave a defect as it is, to show that its patch is needed",
    )
    given = parser.parse_args(arguments)
    settings = Settings(
        rest_host=given.host,
        rest_port=given.rest_port,
        grpc_host=given.host,
        grpc_port=given.grpc_port,
        persistence_mode=PersistenceMode.PERSISTENT,
        data_dir=given.data_dir,
        write_api_max_request_bytes=MAX_REQUEST_BYTES,
        # Reads Avro files, and wants the internet for it.
        enable_format_extensions=False,
        log_level="warning",
    )
    bigquery_patches.apply(given.without)
    asyncio.run(_serve(settings, given.without))


async def _serve(settings: Settings, without: Collection[str]) -> None:
    bigquery_patches.apply_on_the_loop(without)
    await EmulatorServer(settings)._run_forever_async()


if __name__ == "__main__":
    main()
