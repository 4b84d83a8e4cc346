"""`make up`, `down`, `status`, `logs`, `ledger`: the embedded stack with all services, kept running."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.processes import StartFailed, log_tail
from deploy.local.services import lag_by_topic, metrics_of, status_of
from deploy.local.stack import DEFAULT_PORTS, EmbeddedStack
from deploy.local.supervisor import SERVICES, RunningStack, Supervisor
from shared.telemetry import logging

DATA_DIR = Path(".local/stack")
UP_SECONDS = 180
"""The first start fetches Kafka; later ones take about 15 seconds."""

DOWN_SECONDS = 60
SCORER_PORT = 8000
CONSOLE_PORT = 8501

console = Console()


def up() -> int:
    """Start in the background; return once everything is ready."""
    if RunningStack.read(DATA_DIR) is not None:
        console.print("already running: `make status` shows it, `make down` stops it")
        return 0
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    output = DATA_DIR.parent / "up.log"
    with output.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local.control", "run"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + UP_SECONDS
    with console.status("starting Kafka, Valkey, BigQuery and the services"):
        while RunningStack.read(DATA_DIR) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                console.print("could not start:\n" + "\n".join(log_tail(output)))
                process.terminate()
                return 1
            time.sleep(0.2)
    return status()


def run() -> int:
    """The background process itself: owns everything until SIGTERM."""
    logging.configure("supervisor")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        with EmbeddedStack(DATA_DIR, ports=DEFAULT_PORTS) as stack:
            settings = {
                "MODEL_REGISTRY__URI": str((DATA_DIR / "models").absolute()),
                "SIMTOM__URL": os.environ.get("SIMTOM_URL") or "http://127.0.0.1:18000",
                "SIMTOM__CUSTOMER_SCOPE": "profile" if os.environ.get("SIMTOM_URL") else "source",
                "SCORER__HTTP_PORT": str(SCORER_PORT),
                "INGESTOR__RATE": os.environ.get("RATE") or "20",
                "CONSOLE__PORT": str(CONSOLE_PORT),
                "TRAINER__REPORTS": str((DATA_DIR / "reports").absolute()),
                "ALERTS__STATE": str((DATA_DIR / "alerts").absolute()),
            }
            supervisor = Supervisor(stack, DATA_DIR, settings)
            try:
                supervisor.prepare()
                supervisor.start()
                RunningStack(os.getpid(), supervisor.environment).write(DATA_DIR)
                supervisor.keep_running(stopped)
            finally:
                RunningStack.file(DATA_DIR).unlink(missing_ok=True)
                supervisor.stop()
    except StartFailed as error:
        console.print(str(error))
        return 1
    return 0


def down() -> int:
    running = RunningStack.read(DATA_DIR)
    if running is None:
        console.print("not running")
        return 0
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_SECONDS
    with console.status("finishing what is in hand"):
        while _exists(running.pid):
            if time.monotonic() > deadline:
                console.print(f"process {running.pid} still runs: see {DATA_DIR.parent / 'up.log'}")
                return 1
            time.sleep(0.2)
    console.print(f"stopped; data stays in {DATA_DIR}")
    return 0


def status() -> int:
    """Health, lag, throughput since the start, model in service, addresses."""
    running = RunningStack.read(DATA_DIR)
    if running is None:
        console.print("not running: `make up` starts it")
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
    for name, value in running.environment.items():
        console.print(f"[dim]{name}={value}[/]")
    return 0


def logs() -> int:
    files = [str(DATA_DIR / "logs" / f"{service.name}.log") for service in SERVICES]
    return subprocess.call(["tail", "-n", "5", "-F", *files])


def ledger() -> int:
    running = RunningStack.read(DATA_DIR)
    if running is None:
        console.print("not running: `make up` starts it")
        return 1
    environment = {**os.environ, **running.environment, "LEDGER__SCORER_URL": f"http://127.0.0.1:{SCORER_PORT}"}
    return subprocess.call([sys.executable, "-m", "services.ledger"], env=environment)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


COMMANDS = {"up": up, "run": run, "down": down, "status": status, "logs": logs, "ledger": ledger}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.control", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    raise SystemExit(COMMANDS[parser.parse_args().command]())


if __name__ == "__main__":
    main()
