"""`make backfill`: a long history into a warehouse of its own, in bulk: read, loaded, features, training set.

Kafka and Redis have no part in it. Whatever ends it, the next run goes on where it stood: a stage knows what is done.
The warehouse stays for notebooks and experiments; `python -m deploy.local.backfill --serve` keeps it open for them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any, Self

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from deploy.local.bigquery import BigQuery
from deploy.local.history import DEFAULT_SEED
from deploy.local.ownership import Ownership
from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess, StartFailed
from deploy.local.proxies import around_proxies
from deploy.local.result import Result
from deploy.local.services import READY_TIMEOUT_SECONDS, Service
from deploy.local.stack import prepare
from shared.archive import days_of, runs_of
from shared.durable import replace_synced
from shared.settings import load_settings
from shared.warehouse.schema import ensure_warehouse

POLL_SECONDS = 0.25
YESTERDAY = timedelta(days=1)


class BackfillSettings(BaseSettings):
    """Empty variables count as unset, since make exports them so."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    start: date | None = None
    """First day; unset, so many days before the last one as `days` says."""
    end: date | None = None
    """Last day, included; unset, yesterday."""
    days: int = Field(default=90, ge=1, le=366)
    daily: int = Field(default=5000, ge=1)
    """Events a day, about: weekdays and holidays differ."""
    seed: int = Field(default=DEFAULT_SEED, ge=1)
    generator: str = "bnpl"
    simtom_url: str = ""
    """An external simtom instead of the bundled simulator."""
    as_of: str = ""
    """What has matured by then is the training set; unset, by the last purchase."""
    engine: str = "local"
    """Of the history runner: `local` or `dask`."""
    workers: int = Field(default=2, ge=1)
    data_dir: Path = Field(default=Path(".local/backfill"), alias="BACKFILL_DATA_DIR")
    out: Path = Field(default=Path("out/backfill.json"), alias="BACKFILL_OUT")

    @property
    def last(self) -> date:
        return self.end or datetime.now(UTC).date() - YESTERDAY

    @property
    def first(self) -> date:
        return self.start or self.last - timedelta(days=self.days - 1)


class AnotherHistory(Exception):
    """The data folder holds one that was asked for otherwise."""


KEPT = ("start", "end", "daily", "seed", "generator")


def as_begun(settings: BackfillSettings, file: Path) -> BackfillSettings:
    """What the first run over a data folder was asked for, which the file keeps: yesterday is another day tomorrow, and
    two histories in one warehouse would be one past of the same people. Raises AnotherHistory where something else is
    asked for now."""
    wanted = settings.model_copy(update={"start": settings.first, "end": settings.last})
    if not file.exists():
        return wanted
    kept = json.loads(file.read_text())
    days = {name: date.fromisoformat(kept[name]) for name in ("start", "end")}
    begun = settings.model_copy(update=kept | days)
    given = settings.model_fields_set & {*KEPT, "days"}
    differing = [name for name in KEPT if name in given and getattr(begun, name) != getattr(wanted, name)]
    if "days" in given and begun.last - begun.first != timedelta(days=settings.days - 1):
        differing.append("days")
    if differing:
        raise AnotherHistory(
            f"{file.parent} holds the history of {begun.first} to {begun.last}, {begun.daily} a day, "
            f"seed {begun.seed}, {begun.generator}: {', '.join(name.upper() for name in differing)} would be another "
            "one, which needs a folder of its own (BACKFILL_DATA_DIR)"
        )
    return begun


class Backfill:
    """One run over one data folder."""

    def __init__(self, settings: BackfillSettings, console: Console) -> None:
        """Raises AnotherHistory."""
        self._console = console
        self._dir = settings.data_dir.absolute()
        prepare(self._dir, fresh=False)
        self._asked = self._dir / "asked.json"
        self.settings = as_begun(settings, self._asked)
        rest, grpc, self._source_port, self._metrics_port = free_ports(4)
        self.bigquery = BigQuery(self._dir / "bigquery", rest, grpc)
        self.archive = self._dir / "archive"
        self.hidden = self._dir / "hidden.jsonl"
        self.stage_seconds: dict[str, float] = {}

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """With its warehouse running."""
        self.bigquery.start()
        try:
            yield self
        finally:
            self.bigquery.stop()

    def run(self) -> dict[str, Any]:
        """All stages, those that are done already as well, which then have nothing to do; what came of it, as
        `out/backfill.json` holds it. Raises StartFailed."""
        asked = self.settings.model_dump(mode="json", include=set(KEPT))
        replace_synced(self._asked, json.dumps(asked).encode())
        with self._bars() as bars:
            with self._stage("read"):
                self._read(bars)
            days = [day for run in runs_of(self.archive) for day in days_of(run)]
            with self._stage("load"):
                ensure_warehouse(self.bigquery.settings)
                self._step(bars, "loaded", "sink", ["load", str(self.archive)], len(days), _lines_with("day_loaded"))
            with self._stage("features"):
                arguments = ["reprocess", "--engine", self.settings.engine, "--workers", str(self.settings.workers)]
                log = self._step(bars, "features", "trainer", arguments, None, _lines_with("partition_done"))
                made = _answer(log)
            with self._stage("examples"):
                examples = self._dir / "examples.parquet"
                arguments = ["examples", "--to", str(examples)]
                arguments += ["--as-of", self.settings.as_of] if self.settings.as_of else []
                log = self._step(bars, "examples", "trainer", arguments)
                kept = _answer(log)
        records: dict[str, int] = {}
        for day in days:
            for topic, count in day.seal.records.items():
                records[topic] = records.get(topic, 0) + count
        return {
            "first": str(self.settings.first),
            "last": str(self.settings.last),
            "days": len(days),
            "records": records,
            "features": made,
            "examples": kept,
            "stage_seconds": {name: round(seconds, 1) for name, seconds in self.stage_seconds.items()},
            "seconds": round(sum(self.stage_seconds.values()), 1),
        }

    def _read(self, bars: Progress) -> None:
        """The source's days into the archive."""
        settings = self.settings
        total = (settings.last - settings.first).days + 1
        with ExitStack() as cleanup:
            url = settings.simtom_url or self._simulator(cleanup)
            environment = {
                "SIMTOM__URL": url,
                # The bundled simulator never forgets a person; of another one only id and profile together are one.
                "SIMTOM__CUSTOMER_SCOPE": "profile" if settings.simtom_url else "source",
            }
            arguments = ["backfill", "--start", str(settings.first), "--end", str(settings.last)]
            arguments += ["--daily", str(settings.daily), "--seed", str(settings.seed)]
            arguments += ["--generator", settings.generator, "--to", str(self.archive)]
            self._step(bars, "read", "ingestor", arguments, total, lambda _: self._days_read(), environment)

    def _simulator(self, cleanup: ExitStack) -> str:
        service = Service(
            "simulator",
            self._metrics_port,
            environment={
                "SIMULATOR__PORT": str(self._source_port),
                "SIMULATOR__HIDDEN_FILE": str(self.hidden),
                "SIMULATOR__HISTORY_DAY_PAUSE_SECONDS": "0",
            },
        )
        process = self._process(service, {})
        process.start()
        cleanup.callback(process.stop)
        process.wait_until(service.ready, READY_TIMEOUT_SECONDS)
        return f"http://127.0.0.1:{self._source_port}"

    def _days_read(self) -> int:
        return sum(len(days_of(run)) for run in runs_of(self.archive))

    def _step(
        self,
        bars: Progress,
        title: str,
        name: str,
        arguments: Sequence[str],
        total: int | None = None,
        done: Callable[[Path], int] = lambda log: 0,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> Path:
        """Run a service's command to its end, with a bar; its log. `done`: from the log, how many parts there are."""
        process = self._process(Service(name, 0, arguments), environment)
        bar = bars.add_task(title, total=total)
        process.log_file.unlink(missing_ok=True)
        process.start()
        try:
            while process.running:
                bars.update(bar, completed=done(process.log_file))
                time.sleep(POLL_SECONDS)
        finally:
            process.stop()
        if process.exit_code != 0:
            raise StartFailed(title, f"ended with status {process.exit_code}", process.log_file)
        parts = total or done(process.log_file)
        bars.update(bar, completed=parts, total=parts)
        return process.log_file

    def _process(self, service: Service, environment: Mapping[str, str]) -> ManagedProcess:
        return ManagedProcess(
            service.name,
            service.command,
            log_file=self._dir / "logs" / f"{service.name}.log",
            environment=service.full_environment({**self.bigquery.environment(), **environment}),
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.stage_seconds[name] = time.monotonic() - started

    def _bars(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._console,
            refresh_per_second=2,
        )


def _lines_with(event: str) -> Callable[[Path], int]:
    """Counts the lines of a log that tell of the event."""

    def count(log: Path) -> int:
        try:
            return log.read_bytes().count(f'"{event}"'.encode())
        except FileNotFoundError:
            return 0

    return count


def _answer(log: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(log.read_text().strip().splitlines()[-1])
    return answer


def main() -> None:
    os.environ.update(around_proxies(os.environ))
    parser = argparse.ArgumentParser(prog="python -m deploy.local.backfill", description="A long history, in bulk.")
    parser.add_argument("--serve", action="store_true", help="only keep the warehouse open, and say where it is")
    serve = parser.parse_args().serve
    settings, console = load_settings(BackfillSettings), Console()
    try:
        with Ownership.take(settings.data_dir):
            out = Result(settings.out)
            if not serve:
                out.begin()
            with Backfill(settings, console).opened() as backfill:
                if serve:
                    for name, value in backfill.bigquery.environment().items():
                        print(f"{name}={value}", flush=True)
                    Event().wait()
                result = backfill.run()
            out.leave(result)
    except (StartFailed, AnotherHistory) as error:
        raise SystemExit(f"backfill failed: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the next run goes on from here") from None
    console.print_json(json.dumps(result))


if __name__ == "__main__":
    main()
