"""Where the parts of a large job are worked on: by processes of this machine, or by Dask. The same function either way.

A part shares nothing with the others: it gets its number, and opens the warehouse for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from shared.pools import process_pool

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Engine:
    name: Literal["local", "dask"] = "local"
    workers: int = 1
    """Processes, here or of a Dask cluster made for the job."""
    scheduler: str | None = None
    """Of a Dask cluster that is there already, such as `tcp://dask:8786`: its workers then, however many."""

    @contextmanager
    def cluster(self) -> Iterator[Any]:
        """A client of the Dask cluster: of the one that is there, or of one made for the job; None of the local
        engine."""
        if self.name == "local":
            yield None
            return
        from distributed import Client, LocalCluster

        if self.scheduler is not None:
            with Client(self.scheduler) as client:
                yield client
            return
        with (
            LocalCluster(n_workers=self.workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client

    def run(self, task: Callable[[int], T], parts: Sequence[int]) -> Iterator[tuple[int, T]]:
        """Each part with its result, as they are done. Raises what the first failing part does."""
        return _dask(task, parts, self) if self.name == "dask" else _local(task, parts, self.workers)


def _local(task: Callable[[int], T], parts: Sequence[int], workers: int) -> Iterator[tuple[int, T]]:
    if workers == 1:
        yield from ((part, task(part)) for part in parts)
        return
    with process_pool(min(workers, len(parts)) or 1) as pool:
        running = {pool.submit(task, part): part for part in parts}
        for future in as_completed(running):
            yield running[future], future.result()


def _dask(task: Callable[[int], T], parts: Sequence[int], engine: Engine) -> Iterator[tuple[int, T]]:
    from distributed import as_completed as as_dask_completes

    with engine.cluster() as client:
        yield from _futures(client, task, parts, as_dask_completes)


def _futures(client: Any, task: Callable[[int], T], parts: Sequence[int], completed: Any) -> Iterator[tuple[int, T]]:
    # Dask would take two calls with equal arguments for one, and give the first one's answer: these have effects.
    running = {client.submit(task, part, pure=False): part for part in parts}
    for future in completed(running):
        yield running[future], future.result()
