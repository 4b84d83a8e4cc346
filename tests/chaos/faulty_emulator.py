"""The emulator with the errors that BigQuery itself answers with now and then, while the file of TROUBLE_FILE exists.

Its content is the share of appends that fail. Half of these were carried out all the same: the answer is what failed.
Which ones and with what, TROUBLE_SEED draws.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import grpc
from bqemulator.grpc_api import write_servicer
from bqemulator.grpc_api.write_servicer import BigQueryWriteHandler

from deploy.local import bigquery_emulator, bigquery_patches

FILE = Path(os.environ["TROUBLE_FILE"])
DICE = random.Random(int(os.environ["TROUBLE_SEED"]))
BEFORE: tuple[grpc.StatusCode, ...] = (
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNAVAILABLE,
)
"""HTTP's 429, 500, 409 and 503."""
AFTER: tuple[grpc.StatusCode, ...] = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL)


def make_faulty() -> None:
    append = BigQueryWriteHandler._perform_append

    def perform_append(self: Any, stream: Any, rows: Any, offset: int | None, most: int) -> Any:
        if DICE.random() >= _share():
            return append(self, stream, rows, offset, most)
        codes = BEFORE
        if DICE.random() < 0.5:
            append(self, stream, rows, offset, most)
            codes = AFTER
        return write_servicer._error_response(stream.name, "trouble", status_code=DICE.choice(codes))

    BigQueryWriteHandler._perform_append = perform_append


def _share() -> float:
    try:
        return float(FILE.read_text())
    except (FileNotFoundError, ValueError):
        return 0.0


if __name__ == "__main__":
    patch = bigquery_patches.apply

    def patch_then_break(without: Collection[str]) -> None:
        patch(without)
        make_faulty()

    setattr(bigquery_patches, "apply", patch_then_break)  # noqa: B010 (its signature has a default)
    bigquery_emulator.main()
