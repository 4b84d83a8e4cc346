"""Pools of processes that don't outlive whoever opened them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any


def process_pool(
    workers: int, opened: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Spawned, since gRPC's threads don't survive a fork. `opened`: called in each worker first.

    Where its owner is killed, a worker of the standard library's pool waits for the next task for ever.
    """
    return ProcessPoolExecutor(workers, get_context("spawn"), _begin, (opened, arguments))


def _begin(opened: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_the_owner, name="owner", daemon=True).start()
    if opened is not None:
        opened(*arguments)


def _end_with_the_owner() -> None:
    owner = parent_process()
    if owner is not None:
        wait([owner.sentinel])
        os._exit(1)
