"""Kafka, Valkey and the BigQuery emulator together: started at once, stopped together, data under one folder."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol, Self

from deploy.local.bigquery import PROJECT, BigQuery
from deploy.local.kafka import Kafka, KafkaPorts
from deploy.local.processes import ManagedProcess, StartFailed
from deploy.local.valkey import Valkey

MARKER = ".flit-data"
"""Lies in every data folder of ours: only such a folder is ever wiped."""

CACHE_DIR = Path(__file__).parents[2] / ".cache"
"""Kafka's jars, fetched once."""

Progress = Callable[[str, str], None]
"""Part and what became of it: `starting`, `ready`."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the parts listen; 0 picks a free port."""

    kafka: int = 0
    kafka_controller: int = 0
    valkey: int = 0
    bigquery_rest: int = 0
    bigquery_grpc: int = 0


DEFAULT_PORTS = Ports(19092, 19093, 16379, 19050, 19060)
"""The addresses that every service takes where nothing is set."""


class Part(Protocol):
    process: ManagedProcess

    def start(self) -> None: ...

    def stop(self) -> None: ...


class EmbeddedStack:
    """Use as a context manager: what was started is stopped, whatever happens in between."""

    def __init__(
        self,
        data_dir: Path,
        *,
        cache_dir: Path | None = None,
        ports: Ports | None = None,
        fresh: bool = False,
        on_progress: Progress = lambda part, state: None,
    ) -> None:
        """`fresh`: wipe the data of an earlier run first. Raises StartFailed for a folder that isn't ours."""
        self._dir = data_dir.absolute()
        _prepare(self._dir, fresh)
        wanted = ports or Ports()
        self._on_progress = on_progress
        self.kafka = Kafka(
            self._dir / "kafka", cache_dir or CACHE_DIR, KafkaPorts(wanted.kafka, wanted.kafka_controller)
        )
        self.valkey = Valkey(self._dir / "valkey", wanted.valkey)
        self.bigquery = BigQuery(self._dir / "bigquery", wanted.bigquery_rest, wanted.bigquery_grpc)

    @property
    def parts(self) -> dict[str, Part]:
        return {"kafka": self.kafka, "valkey": self.valkey, "bigquery": self.bigquery}

    def environment(self) -> dict[str, str]:
        """The settings that point a service to these parts."""
        return {
            "KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "REDIS__URL": self.valkey.url,
            "BIGQUERY__PROJECT": PROJECT,
            "BIGQUERY__REST_ENDPOINT": self.bigquery.rest_endpoint,
            "BIGQUERY__GRPC_ENDPOINT": self.bigquery.grpc_endpoint,
        }

    def start(self) -> None:
        """Start all at once, and wait until each is ready. If one fails, stop the others and raise StartFailed."""

        def start(name: str, part: Part) -> None:
            self._on_progress(name, "starting")
            part.start()
            self._on_progress(name, "ready")

        # A child dies with the thread that made it, not with the process: so these threads live as long as we do.
        self._threads = ThreadPoolExecutor(len(self.parts), thread_name_prefix="stack")
        starting = [self._threads.submit(start, name, part) for name, part in self.parts.items()]
        try:
            for future in starting:
                future.result()
        except BaseException:
            for future in starting:
                with contextlib.suppress(Exception):
                    future.exception()
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all parts, in any state."""
        with ThreadPoolExecutor(len(self.parts)) as threads:
            list(threads.map(lambda part: part.stop(), self.parts.values()))
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _prepare(folder: Path, fresh: bool) -> None:
    marker = folder / MARKER
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise StartFailed(f"{folder} holds something that isn't ours: choose an empty folder for the data")
    if fresh and marker.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return stopped


def main() -> None:
    parser = argparse.ArgumentParser(description="The embedded parts alone, until Ctrl-C")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--fresh", action="store_true", help="wipe the folder's data first")
    arguments = parser.parse_args()
    stopped = stop_on_signals()
    try:
        with EmbeddedStack(arguments.data_dir, fresh=arguments.fresh) as stack:
            for name, value in stack.environment().items():
                print(f"{name}={value}", flush=True)
            stopped.wait()
    except StartFailed as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
