"""`make demo`: history, a first model, live purchases decided, the ledger. The composition root of the main job."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.local import demo_result
from deploy.local.demo_settings import DemoSettings
from deploy.local.demo_view import DemoView
from deploy.local.history import CATCH_UP_SECONDS, POLL_SECONDS, TOOL_SECONDS, in_service, last_answer, streamed
from deploy.local.observer import Observer
from deploy.local.ownership import Ownership
from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess, StartFailed, Stopped
from deploy.local.progress import HistoryProgress
from deploy.local.proxies import around_proxies
from deploy.local.result import Result
from deploy.local.services import READY_TIMEOUT_SECONDS, Service, lag_by_topic, metrics_of
from deploy.local.source_scores import write_expected_rates
from deploy.local.stack import EmbeddedStack
from services.ledger import warehouse_rows
from services.ledger.log_reader import LogReader
from shared.settings import KafkaSettings, load_settings

METRICS_SECONDS = 2.0
"""Between two looks at the services' metrics: writing them down takes a service some milliseconds off its work."""

MOST_RESTARTS = 3
SERVICES = ("features", "scorer", "sink")
MAIN_JOB_TOOLS = {"OMP_NUM_THREADS": "2"}


class Demo:
    """One run. `stage_seconds` fills up as it goes on."""

    def __init__(self, settings: DemoSettings, view: DemoView) -> None:
        self.settings = settings
        self.view = view
        self.stage_seconds: dict[str, float] = {}
        self._stopped = threading.Event()
        self.stack = EmbeddedStack(
            settings.data_dir, fresh=True, on_progress=self._part_progress, stopped=self._stopped
        )
        names = ("http", "simulator", "simtom", *SERVICES)
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.hidden = settings.data_dir.absolute() / "hidden.jsonl"
        self.processes: dict[str, ManagedProcess] = {}
        self.environment: dict[str, str] = {}
        self.restarts: dict[str, int] = {}

    async def run(self) -> dict[str, Any]:
        """Do it all; give the result as `out/demo.json` holds it. Raises StartFailed where something didn't work."""
        with contextlib.ExitStack() as cleanup:
            with self._stage("start"):
                cleanup.callback(self._stop)
                await self._started()
            self.view.addresses(self._addresses())
            reader = LogReader({"bootstrap_servers": self.stack.kafka.bootstrap_servers})
            observer = Observer({"bootstrap_servers": self.stack.kafka.bootstrap_servers}, KafkaSettings().partitions)
            await reader.start()
            await observer.start()
            try:
                with self._stage("history"):
                    history_events = await self._history(reader)
                with self._stage("train"):
                    model = await self._train()
                observer.restart_counting()
                with self._stage("live"):
                    await self._live(observer, model)
                with self._stage("settle"):
                    await self._settled(reader)
            finally:
                await observer.stop()
                await reader.close()
            with self._stage("ledger"):
                balanced = await self._tool("ledger", [], check=False) == 0
            result = await asyncio.to_thread(
                demo_result.collect, observer.seen, model, history_events, self.environment, self.settings.events
            )
            result["ledger_balanced"] = balanced
        result["restarts"] = self.restarts
        result["stage_seconds"] = {name: round(seconds, 1) for name, seconds in self.stage_seconds.items()}
        return result

    async def _started(self) -> None:
        """Parts and services are up. Cancelled, it ends once nothing starts any more."""
        starting = asyncio.create_task(asyncio.to_thread(self._start_all))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._stopped.set()
            await asyncio.gather(starting, return_exceptions=True)
            raise

    def _start_all(self) -> None:
        self.stack.start()
        self._start_services()

    def _start_services(self) -> None:
        external = bool(self.settings.simtom_url)
        self.environment = {
            **self.stack.environment(),
            "MODEL_REGISTRY__URI": str(self.settings.data_dir.absolute() / "models"),
            "SIMTOM__URL": self.settings.simtom_url or f"http://127.0.0.1:{self.ports['simtom']}",
            # The bundled simulator never forgets a person; of another one only id and profile together are one.
            "SIMTOM__CUSTOMER_SCOPE": "profile" if external else "source",
            "SCORER__HTTP_PORT": str(self.ports["http"]),
            "LEDGER__SCORER_URL": f"http://127.0.0.1:{self.ports['http']}",
            "LOG__FORMAT": "json",
            # A laptop that does everything at once may be slow for a moment; no checkout waits here.
            "SCORER__REDIS_TIMEOUT_MS": "1000",
        }
        for module, arguments in (("shared.kafka.admin", ["create-topics"]), ("shared.warehouse", ["create"])):
            self._run_module(module, arguments)
        services = [Service(name, self.ports[name]) for name in SERVICES]
        if not external:
            simulator = {
                "SIMULATOR__PORT": str(self.ports["simtom"]),
                "SIMULATOR__HIDDEN_FILE": str(self.hidden),
                "SIMULATOR__HISTORY_DAY_PAUSE_SECONDS": "0",
                "SIMULATOR__CONTINUITY": "continued",
            }
            services.append(Service("simulator", self.ports["simulator"], environment=simulator))
        for service in services:
            self._start(service)
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        for service in services:
            while not service.ready():
                if self._stopped.is_set():
                    raise Stopped
                if time.monotonic() > deadline:
                    raise StartFailed(service.name, "was not ready in time", self._log(service.name))
                self._restart_what_ended()
                time.sleep(POLL_SECONDS)

    async def _history(self, reader: LogReader) -> int:
        """Stream the days of history through the topics until all of it is decided and in the warehouse."""
        ingestor = self._start(Service("ingestor", 0, self.settings.ingesting), name="history")
        progress = HistoryProgress(reader, expected=self.settings.history_days * self.settings.history_daily)
        with self.view.stages() as bars:
            progress.show(bars)
            await streamed(ingestor, progress, self._until)
        return progress.ingested

    async def _train(self) -> dict[str, Any]:
        """Train on what has matured, promote, and wait until the scorer decides with it."""
        arguments = ["train", "--promote", "--hidden", str(self.hidden)]
        if self.settings.simtom_url:
            await asyncio.to_thread(self._rates_from_scores)
        with self.view.console.status("training on matured outcomes"):
            await self._tool("trainer", arguments)
            report = last_answer(self._log("trainer"))
            await in_service(report["version"], self.ports["scorer"], self._until)
        self.view.say(f"model {report['version']} ({report['family']}) in service")
        return report

    def _rates_from_scores(self) -> None:
        client = warehouse_rows.open_client(demo_result.warehouse_settings(self.environment))
        try:
            write_expected_rates(client, self.hidden)
        finally:
            client.close()

    async def _live(self, observer: Observer, model: dict[str, Any]) -> None:
        """Stream live purchases until each has its decision: as many as are wanted, less what was refused of them."""
        wanted = self.settings.events
        arguments = ["live", "--rate", str(self.settings.rate), "--max-events", str(wanted)]
        ingestor = self._start(Service("ingestor", 0, arguments), name="live")
        patience = 2 * wanted / self.settings.rate + CATCH_UP_SECONDS
        lag: dict[str, float] = {}
        with self.view.live() as live:
            looked_at = 0.0

            async def done() -> bool:
                nonlocal looked_at
                if time.monotonic() - looked_at > METRICS_SECONDS:
                    looked_at = time.monotonic()
                    lag.clear()
                    for name in SERVICES:
                        samples = await asyncio.to_thread(metrics_of, self.ports[name])
                        lag.update({f"{name} {topic}": n for topic, n in lag_by_topic(samples).items() if n})
                seen = observer.seen
                live.update(self.view.stream(seen, wanted, lag, model))
                if (failure := observer.failed()) is not None:
                    raise StartFailed("watching the topics", f"failed: {failure!r}")
                status = ingestor.exit_code
                if status not in (None, 0):
                    raise StartFailed("the live stream", f"ended with {status}", ingestor.log_file)
                return status == 0 and await observer.at_end() and not seen.missing

            await self._until(done, patience, "a decision for every live event")

    async def _settled(self, reader: LogReader) -> None:
        """Wait until the warehouse holds what the topics hold."""
        progress = HistoryProgress(reader, expected=0)

        async def done() -> bool:
            await progress.update()
            return progress.settled

        with self.view.console.status("waiting for the warehouse"):
            await self._until(done, CATCH_UP_SECONDS, "rows of the live events")

    async def _until(self, done: Callable[[], Awaitable[bool]], patience: float, what: str) -> None:
        deadline = time.monotonic() + patience
        looking = asyncio.ensure_future(done())
        try:
            while True:
                if looking.done():
                    if looking.result():
                        return
                    looking = asyncio.ensure_future(done())
                # Who looks may be waiting for brokers that have to be started again first.
                await asyncio.to_thread(self._restart_what_ended)
                if time.monotonic() > deadline:
                    raise StartFailed("the demo", f"waited {patience:.0f} s for {what}; logs: {self._log('x').parent}")
                await asyncio.sleep(POLL_SECONDS)
        finally:
            looking.cancel()

    def _restart_what_ended(self) -> None:
        """As any supervisor would; how often stands in the result, and the ledger tells whether it did harm."""
        for name, part in self.stack.parts.items():
            if not part.running:
                self._starts_again(name, None)
                part.start()
        for name in (*SERVICES, "simulator"):
            process = self.processes.get(name)
            if process is not None and not process.running:
                self._starts_again(name, process)
                process.start()

    def _starts_again(self, name: str, process: ManagedProcess | None) -> None:
        """Raises StartFailed where it has been started again too often."""
        ended = "ended" if process is None else f"ended with status {process.exit_code}"
        self.restarts[name] = self.restarts.get(name, 0) + 1
        if self.restarts[name] > MOST_RESTARTS:
            raise StartFailed(name, f"{ended} again", None if process is None else process.log_file)
        self.view.say(f"[yellow]{name} {ended}: starting it again[/]")

    def _start(self, service: Service, name: str | None = None) -> ManagedProcess:
        process = ManagedProcess(
            name or service.name,
            service.command,
            log_file=self._log(name or service.name),
            environment=service.full_environment(self.environment),
        )
        process.start()
        self.processes[name or service.name] = process
        return process

    async def _tool(self, name: str, arguments: list[str], *, check: bool = True) -> int:
        """Run a one-shot service to its end; its exit status."""
        environment = {**MAIN_JOB_TOOLS, "LEDGER__REPORT": "out/ledger.json"}
        process = self._start(Service(name, 0, arguments, environment))
        status = await asyncio.to_thread(process.wait, TOOL_SECONDS)
        if check and status != 0:
            raise StartFailed(name, f"ended with status {status}", process.log_file)
        return -1 if status is None else status

    def _run_module(self, module: str, arguments: list[str]) -> None:
        process = ManagedProcess(
            module,
            [sys.executable, "-m", module, *arguments],
            log_file=self._log(module),
            environment={**os.environ, "PYTHONPATH": str(Path.cwd()), **self.environment},
        )
        process.run(READY_TIMEOUT_SECONDS, self._stopped)

    def _stop(self) -> None:
        with ThreadPoolExecutor(len(self.processes) + 1) as threads:
            list(threads.map(lambda process: process.stop(), self.processes.values()))
        self.stack.stop()

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.stage_seconds[name] = time.monotonic() - started

    def _part_progress(self, part: str, state: str) -> None:
        if state == "ready":
            self.view.say(f"[green]✓[/] {part}")

    def _log(self, name: str) -> Path:
        return self.settings.data_dir.absolute() / "logs" / f"{name}.log"

    def _addresses(self) -> dict[str, str]:
        http, operations = self.ports["http"], self.ports["scorer"]
        return {
            "checkout (REST)": f"http://127.0.0.1:{http}/docs",
            "scorer metrics": f"http://127.0.0.1:{operations}/metrics",
            "event source": self.environment["SIMTOM__URL"],
        }


def main() -> None:
    os.environ.update(around_proxies(os.environ))
    started = time.time()
    settings = load_settings(DemoSettings)
    view = DemoView(Console())
    setup_seconds = started - float(os.environ.get("MAKE_STARTED") or started)
    try:
        with Ownership.take(settings.data_dir):
            out = Result(settings.out)
            out.begin()
            result = asyncio.run(_interruptible(settings, view))
            result["setup_seconds"] = round(setup_seconds, 1)
            out.leave(result)
    except StartFailed as error:
        raise SystemExit(f"demo failed: {error}") from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise SystemExit("demo stopped; nothing is left running") from None
    view.summary(result)
    problems = demo_result.problems(result)
    for problem in problems:
        view.say(f"[red]{problem}[/]")
    raise SystemExit(1 if problems else 0)


async def _interruptible(settings: DemoSettings, view: DemoView) -> dict[str, Any]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await Demo(settings, view).run()


if __name__ == "__main__":
    main()
