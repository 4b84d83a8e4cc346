"""The emulator with places where a test can hold a thread: takes the arguments of `deploy.local.bigquery_emulator`.

In the folder HOLD_DIR, `<place>.armed` makes the next thread that comes to the place wait there. It renames the file to
`<place>.reached` and goes on once `<place>.go` exists. So a race becomes an order of events that a test decides.

append-inserted   an append has inserted its rows and hasn't committed
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from bqemulator.grpc_api.write_servicer import BigQueryWriteHandler

from deploy.local import bigquery_emulator

FOLDER = Path(os.environ["HOLD_DIR"])
POLL_SECONDS = 0.02


def hold(place: str) -> None:
    try:
        (FOLDER / f"{place}.armed").rename(FOLDER / f"{place}.reached")
    except FileNotFoundError:
        return
    while not (FOLDER / f"{place}.go").exists():
        time.sleep(POLL_SECONDS)


def make_holdable() -> None:
    flush = BigQueryWriteHandler._flush_to_target

    def flush_to_target(self: Any, stream: Any, rows: Any) -> None:
        flush(self, stream, rows)
        hold("append-inserted")

    BigQueryWriteHandler._flush_to_target = flush_to_target


if __name__ == "__main__":
    make_holdable()
    bigquery_emulator.main()
