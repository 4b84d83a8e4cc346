"""The defects of bqemulator 1.4.0, each mended by one function that says what is wrong and what breaks without it.

The version (and DuckDB's) is pinned exactly: the patches reach inside. Each has a test that leaves it out and shows the
defect; whoever raises the version removes each patch whose test then fails to show anything.

Not mended, and met by checking rows before they are sent: REQUIRED and the partition filter aren't enforced, there are
no `row_errors`, a query's `destination` is ignored, PENDING and BUFFERED streams live in memory only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from deploy.local.bigquery_patches.appends import atomic_appends, durable_streams
from deploy.local.bigquery_patches.engine import (
    cursor_for_each_thread,
    no_snapshots,
    no_spatial_extension,
    one_write_lock,
    orphans_removed,
)
from deploy.local.bigquery_patches.serving import (
    any_upload_type,
    bounded_results,
    columns_added,
    enough_threads,
    named_loads,
)

PATCHES: dict[str, Callable[[], None]] = {
    "spatial": no_spatial_extension,
    "snapshots": no_snapshots,
    "cursor": cursor_for_each_thread,
    "orphans": orphans_removed,
    "uploads": any_upload_type,
    "loads": named_loads,
    "results": bounded_results,
    "columns": columns_added,
    "streams": durable_streams,
    # Around `streams`, so that a stream's offset is saved in the transaction of its rows.
    "atomic": atomic_appends,
    # Last: it locks what the others may have wrapped.
    "lock": one_write_lock,
}
"""By name, in the order in which they are put on."""

ON_THE_LOOP: dict[str, Callable[[], None]] = {"threads": enough_threads}
"""Patches that need the running event loop."""

NAMES: tuple[str, ...] = (*PATCHES, *ON_THE_LOOP)


def apply(without: Collection[str] = ()) -> None:
    """Mends the emulator in this process, before its server is made."""
    for name, patch in PATCHES.items():
        if name not in without:
            patch()


def apply_on_the_loop(without: Collection[str] = ()) -> None:
    """The rest, from within the running loop."""
    for name, patch in ON_THE_LOOP.items():
        if name not in without:
            patch()
