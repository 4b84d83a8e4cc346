"""The mended emulator: `python -m deploy.local.bigquery_emulator DATA_DIR REST_PORT GRPC_PORT`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Collection
from pathlib import Path

from bqemulator.config import PersistenceMode, Settings
from bqemulator.server import EmulatorServer

from deploy.local.bigquery_patches import NAMES, ON_THE_LOOP, PATCHES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("rest_port", type=int)
    parser.add_argument("grpc_port", type=int)
    parser.add_argument("--without", action="append", choices=NAMES, default=[], help="leave a patch out")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; a container needs 0.0.0.0")
    arguments = parser.parse_args()
    settings = Settings(
        host=arguments.host,
        rest_port=arguments.rest_port,
        grpc_port=arguments.grpc_port,
        persistence_mode=PersistenceMode.PERSISTENT,
        data_dir=arguments.data_dir,
        enable_format_extensions=False,  # another download from the internet
        log_level="warning",
    )
    for name, patch in PATCHES.items():
        if name not in arguments.without:
            patch()
    asyncio.run(_serve(settings, arguments.without))


async def _serve(settings: Settings, without: Collection[str]) -> None:
    for name, patch in ON_THE_LOOP.items():
        if name not in without:
            patch()
    await EmulatorServer(settings)._run_forever_async()


if __name__ == "__main__":
    main()
