"""The embedded stack with all services, kept running: `make up`, `down`, `stop`, `start`, `status`, `env`, `logs`,
`ledger`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.history import Beginning, BeginningSettings, Stopped
from deploy.local.ports import check_free
from deploy.local.processes import StartFailed, log_tail
from deploy.local.services import READY_TIMEOUT_SECONDS, lag_by_topic, metrics_of, status_of
from deploy.local.stack import DEFAULT_PORTS, MARKER, EmbeddedStack
from deploy.local.supervisor import SERVICES, RunningStack, Supervisor, held
from shared.settings import load_settings
from shared.telemetry import logging

DATA_DIR = Path(".local/stack")
UP_SECONDS = 180
"""Without news: the first start fetches Kafka."""

DOWN_SECONDS = 60
POLL_SECONDS = 0.2
BEFORE_PURCHASES_COME = ("simulator", "features", "scorer", "sink")
STARTING = DATA_DIR / "starting"
"""What the background process does, in words, until everything is ready."""
NOT_RUNNING = "not running: `make up` starts it"
SCORER_PORT = 8000
CONSOLE_PORT = 8501
SIMULATOR_PORT = 18000
MORE_PORTS = {"simulator": [SIMULATOR_PORT], "scorer": [SCORER_PORT], "console": [CONSOLE_PORT]}
"""Of services, beside those of their metrics."""

console = Console()


def up() -> int:
    """Start in the background; return once everything is ready."""
    running = RunningStack.read(DATA_DIR)
    if running is not None and running.ready:
        console.print("already running: `make status` shows it, `make down` stops it")
        return 0
    output = DATA_DIR.parent / "up.log"
    process = None
    if running is None:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        STARTING.unlink(missing_ok=True)
        with output.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "deploy.local.control", "run"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        running = RunningStack(process.pid, {}, ready=False)
    said, deadline = "", time.monotonic() + UP_SECONDS
    with console.status("starting Kafka, Valkey, BigQuery and the services") as spinner:
        while not running.ready:
            # Of our own child only we know that it has ended.
            there = _exists(running.pid) if process is None else process.poll() is None
            if not there or time.monotonic() > deadline:
                console.print("could not start:\n" + "\n".join(log_tail(output)))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGTERM)
                return 1
            if STARTING.exists() and (now := STARTING.read_text()) not in ("", said):
                said, deadline = now, time.monotonic() + UP_SECONDS
                spinner.update(said)
            time.sleep(POLL_SECONDS)
            running = RunningStack.read(DATA_DIR) or running
    return status()


def run() -> int:
    """The background process itself: owns everything until SIGTERM."""
    logging.configure("supervisor")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    new, beginning_settings = not (DATA_DIR / MARKER).exists(), load_settings(BeginningSettings)
    try:
        check_free({service.name: [service.metrics_port, *MORE_PORTS.get(service.name, ())] for service in SERVICES})
        stack = EmbeddedStack(DATA_DIR, ports=DEFAULT_PORTS)
        beginning = Beginning(DATA_DIR, beginning_settings, new=new)
        with stack:
            settings = {
                "MODEL_REGISTRY__URI": str((DATA_DIR / "models").absolute()),
                "SIMTOM__URL": os.environ.get("SIMTOM_URL") or f"http://127.0.0.1:{SIMULATOR_PORT}",
                "SIMTOM__CUSTOMER_SCOPE": "profile" if os.environ.get("SIMTOM_URL") else "source",
                "SIMULATOR__HISTORY_DAY_PAUSE_SECONDS": "0",
                "SCORER__HTTP_PORT": str(SCORER_PORT),
                "INGESTOR__RATE": os.environ.get("RATE") or "20",
                "CONSOLE__PORT": str(CONSOLE_PORT),
                "TRAINER__REPORTS": str((DATA_DIR / "reports").absolute()),
                "ALERTS__STATE": str((DATA_DIR / "alerts").absolute()),
            }
            supervisor = Supervisor(stack, DATA_DIR, settings)
            running = RunningStack(os.getpid(), supervisor.environment, ready=False)
            running.write(DATA_DIR)
            shutil.rmtree(held(DATA_DIR), ignore_errors=True)
            try:
                supervisor.prepare()
                if beginning.needed:
                    supervisor.start(BEFORE_PURCHASES_COME)
                    _begin(beginning, supervisor, stopped)
                supervisor.start()
                replace(running, ready=True).write(DATA_DIR)
                supervisor.keep_running(stopped)
            finally:
                RunningStack.file(DATA_DIR).unlink(missing_ok=True)
                STARTING.unlink(missing_ok=True)
                supervisor.stop()
    except Stopped:
        return 0
    except StartFailed as error:
        console.print(str(error))
        return 1
    return 0


def _begin(beginning: Beginning, supervisor: Supervisor, stopped: threading.Event) -> None:
    """Bring the past in, while what ends is started again. Raises StartFailed, Stopped."""
    ended = threading.Event()
    scorer = supervisor.service("scorer").metrics_port
    with ThreadPoolExecutor(1) as thread:
        bringing = thread.submit(
            lambda: asyncio.run(beginning.brought(supervisor.environment, scorer, STARTING.write_text, stopped))
        )
        bringing.add_done_callback(lambda _: ended.set())
        supervisor.keep_running(ended)
        bringing.result()


def down() -> int:
    running = RunningStack.read(DATA_DIR)
    if running is None:
        console.print("not running")
        return 0
    pid = running.pid
    os.kill(pid, signal.SIGTERM)
    if not _until(lambda: not _exists(pid), "finishing what is in hand", DOWN_SECONDS):
        console.print(f"process {pid} still runs: see {DATA_DIR.parent / 'up.log'}")
        return 1
    console.print(f"stopped; data stays in {DATA_DIR}")
    return 0


def status() -> int:
    """Health, lag, throughput since the start, model in service, addresses."""
    running = RunningStack.read(DATA_DIR)
    if running is None:
        console.print(NOT_RUNNING)
        return 1
    table = Table(title="services", title_justify="left")
    for column in ("service", "health", "lag", "events so far", "metrics"):
        table.add_column(column)
    model = "none yet: the trainer makes one, once outcomes have matured"
    for service in SERVICES:
        samples = metrics_of(service.metrics_port)
        lag = lag_by_topic(samples)
        events = sum(value for name, value in samples.items() if name.startswith("flit_events_total{"))
        health = {200: "[green]ready[/]", None: "[red]away[/]"}.get(
            status_of(service.metrics_port, "/ready"), "[yellow]not ready[/]"
        )
        address = f"http://127.0.0.1:{service.metrics_port}/metrics"
        table.add_row(service.name, health, f"{sum(lag.values()):.0f}" if lag else "–", f"{events:,.0f}", address)
        for name, sample in samples.items():
            if name.startswith("flit_model_info{") and sample == 1:
                model = name.removeprefix("flit_model_info")
    console.print(table)
    console.print(f"model in service: {model}", markup=False)
    console.print(f"checkout: http://127.0.0.1:{SCORER_PORT}/docs")
    console.print(f"console: http://127.0.0.1:{CONSOLE_PORT}")
    console.print('for commands of your own: eval "$(make --silent env)"', markup=False)
    return 0


def env() -> int:
    """The settings of the running services, for a shell: what is typed there is about them."""
    running = RunningStack.read(DATA_DIR)
    if running is None:
        print(NOT_RUNNING, file=sys.stderr)
        return 1
    for name, value in running.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def logs() -> int:
    files = [str(DATA_DIR / "logs" / f"{service.name}.log") for service in SERVICES]
    return subprocess.call(["tail", "-n", "5", "-F", *files])


def ledger() -> int:
    running = RunningStack.read(DATA_DIR)
    if running is None:
        console.print(NOT_RUNNING)
        return 1
    environment = {**os.environ, **running.environment, "LEDGER__SCORER_URL": f"http://127.0.0.1:{SCORER_PORT}"}
    return subprocess.call([sys.executable, "-m", "services.ledger"], env=environment)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def stop_or_start(command: str, name: str) -> int:
    """One service: stopped until it is started."""
    if RunningStack.read(DATA_DIR) is None:
        console.print(NOT_RUNNING)
        return 1
    service = next(service for service in SERVICES if service.name == name)
    mark = held(DATA_DIR) / name
    if command == "stop":
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        done = _until(lambda: status_of(service.metrics_port, "/live") is None, f"{name} stops", READY_TIMEOUT_SECONDS)
    else:
        mark.unlink(missing_ok=True)
        done = _until(service.ready, f"{name} starts", READY_TIMEOUT_SECONDS)
    if not done:
        console.print(f"waited {READY_TIMEOUT_SECONDS} s: see `make logs`")
    return 0 if done else 1


def _until(done: Callable[[], bool], what: str, seconds: float) -> bool:
    """Whether it came to be so in that time."""
    deadline = time.monotonic() + seconds
    with console.status(what):
        while not done():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
    return True


COMMANDS = {"up": up, "run": run, "down": down, "status": status, "env": env, "logs": logs, "ledger": ledger}
OF_ONE = ("stop", "start")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.control", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        commands.add_parser(name)
    for name in OF_ONE:
        commands.add_parser(name).add_argument("service", choices=[service.name for service in SERVICES])
    given = parser.parse_args()
    if given.command in OF_ONE:
        raise SystemExit(stop_or_start(given.command, given.service))
    raise SystemExit(COMMANDS[given.command]())


if __name__ == "__main__":
    main()
