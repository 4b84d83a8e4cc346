"""Kafka, Valkey and the BigQuery emulator together: started at once, stopped together, data under one folder.

`python -m deploy.local.stack --data-dir D` runs them alone: it prints their addresses as the services' settings, and
stops them at SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol, Self

from deploy.local.bigquery import BigQuery
from deploy.local.kafka import Kafka, Node
from deploy.local.ownership import Ownership
from deploy.local.ports import Ports, free_ports
from deploy.local.processes import POLL_SECONDS, StartFailed, Stopped
from deploy.local.proxies import around_proxies
from deploy.local.valkey import Valkey
from shared.settings import BigQuerySettings, KafkaSettings, RedisSettings

MARKER = ".flit-data"
"""Lies in every data folder of ours: only such a folder is ever wiped."""

CACHE_DIR = Path(__file__).parents[2] / ".cache"
"""What was fetched once and is the same for every stack: Kafka's jars."""

DEFAULT_PORTS = Ports.of_settings(KafkaSettings(), RedisSettings(), BigQuerySettings())
"""Where every service looks if nothing is set; `Ports.of_environment()` where something is."""

Progress = Callable[[str, str], None]
"""Called with a part's name and its state: `starting`, `ready`, `failed`, `stopping`, `stopped`. From several
threads."""


class Part(Protocol):
    """What all three are: one server, or a few, with data of its own that a restart keeps."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def restart(self) -> None: ...
    @property
    def running(self) -> bool: ...


class EmbeddedStack:
    """Use as a context manager: what was started is stopped, whatever happens in between, SIGTERM included."""

    def __init__(
        self,
        data_dir: Path,
        *,
        cache_dir: Path | None = None,
        ports: Ports | None = None,
        fresh: bool = False,
        brokers: int = 1,
        on_progress: Progress | None = None,
        stopped: threading.Event | None = None,
    ) -> None:
        """Nothing is started yet. `cache_dir`: `.cache` of the repository by default. `ports`: free ones by default.

        Set during a start, `stopped` ends it, by Stopped.

        `fresh` wipes what an earlier stack left in `data_dir`, at once. Raises StartFailed if the folder holds anything
        but a stack's data, and PortTaken if a port that was asked for is in use.
        """
        self._dir = data_dir.absolute()
        self._stopped = stopped or threading.Event()
        self._on_progress: Progress = on_progress or (lambda part, state: None)
        settled = (ports or Ports()).settle()
        prepare(self._dir, fresh=fresh)
        nodes = [Node(1, settled.kafka, settled.kafka_controller)]
        others = free_ports(2 * (brokers - 1), but=frozenset(astuple(settled)))
        nodes += [Node(2 + number, others[2 * number], others[2 * number + 1]) for number in range(brokers - 1)]
        self._brokers = brokers
        self.kafka = Kafka(self._dir / "kafka", nodes, cache_dir or CACHE_DIR)
        self.valkey = Valkey(self._dir / "valkey", settled.valkey)
        self.bigquery = BigQuery(self._dir / "bigquery", settled.bigquery_rest, settled.bigquery_grpc)

    @property
    def parts(self) -> dict[str, Part]:
        return {"kafka": self.kafka, "valkey": self.valkey, "bigquery": self.bigquery}

    def environment(self) -> dict[str, str]:
        """The settings that point a service to these parts."""
        return {
            "KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA__REPLICATION_FACTOR": str(min(3, self._brokers)),
            "REDIS__URL": self.valkey.url,
            **self.bigquery.environment(),
        }

    def start(self) -> None:
        """Starts all three at once and returns when each is ready.

        If one fails (StartFailed), or the wait is interrupted (Stopped, or a signal's exception), those that were
        started are stopped before it raises.
        """
        pool = ThreadPoolExecutor(len(self.parts), thread_name_prefix="start")
        starting = [pool.submit(self._start, name) for name in self.parts]
        try:
            waiting = True
            while waiting:
                done, others = wait(starting, POLL_SECONDS, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                waiting = bool(others)
                if waiting and self._stopped.is_set():
                    raise Stopped
        except BaseException:
            self._abandon(starting)
            raise
        finally:
            pool.shutdown()

    def _abandon(self, starting: Sequence[Future[None]]) -> None:
        """Kills what starts, until nothing starts any more: a part may have several processes to run, one by one."""
        waiting = True
        while waiting:
            waiting = bool(wait(starting, timeout=POLL_SECONDS).not_done)
            for part in self.parts.values():
                part.kill()

    def stop(self) -> None:
        """Stops all parts, in whatever state they are. May be called twice."""
        with ThreadPoolExecutor(len(self.parts), thread_name_prefix="stop") as pool:
            list(pool.map(self._stop, self.parts))

    def _start(self, name: str) -> None:
        self._on_progress(name, "starting")
        try:
            self.parts[name].start()
        except BaseException:
            self._on_progress(name, "failed")
            raise
        self._on_progress(name, "ready")

    def _stop(self, name: str) -> None:
        part = self.parts[name]
        if part.running:
            self._on_progress(name, "stopping")
            part.stop()
            self._on_progress(name, "stopped")

    def __enter__(self) -> Self:
        self._until_exit = sigterm_raises()
        self._until_exit.__enter__()
        try:
            self.start()
        except BaseException:
            self._until_exit.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._until_exit.__exit__(None, None, None)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM ends the program by SystemExit, so that clean-up runs; unless it has a handler of its own already."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the clean-up short
        sys.exit(128 + number)

    if ours:
        signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def prepare(folder: Path, *, fresh: bool) -> None:
    """Make the folder a stack's own, empty where `fresh`. Raises StartFailed where it holds anything else."""
    marker = folder / MARKER
    if folder.exists() and not folder.is_dir():
        raise StartFailed("the embedded stack", f"can't keep its data in {folder}: that is a file")
    if folder.exists() and any(folder.iterdir()) and not marker.is_file():
        raise StartFailed(
            "the embedded stack", f"won't touch {folder}: it holds files that aren't a stack's; choose an empty folder"
        )
    if fresh and marker.is_file():
        # The marker goes last, so that a wiping that was cut short can be done again.
        for entry in folder.iterdir():
            if entry == marker:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()


def main(arguments: Sequence[str] | None = None) -> None:
    os.environ.update(around_proxies(os.environ))
    parser = argparse.ArgumentParser(prog="python -m deploy.local.stack", description="The embedded parts alone.")
    parser.add_argument("--data-dir", type=Path, required=True, help="made if need be; kept between runs")
    parser.add_argument("--cache-dir", type=Path, help="what is fetched once (default: .cache of the repository)")
    parser.add_argument("--fresh", action="store_true", help="wipe an earlier stack's data first")
    parser.add_argument("--default-ports", action="store_true", help="the ports where services look, not free ones")
    given = parser.parse_args(arguments)

    def report(part: str, state: str) -> None:
        print(f"{part}: {state}", file=sys.stderr, flush=True)

    try:
        ports = Ports.of_environment() if given.default_ports else None
        with (
            Ownership.take(given.data_dir),
            EmbeddedStack(
                given.data_dir, cache_dir=given.cache_dir, ports=ports, fresh=given.fresh, on_progress=report
            ) as stack,
        ):
            for name, value in stack.environment().items():
                print(f"{name}={value}", flush=True)
            threading.Event().wait()  # until a signal raises: KeyboardInterrupt, or SystemExit for SIGTERM
    except StartFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
