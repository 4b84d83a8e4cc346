"""The background process of `make up`: starts everything, and owns it until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from rich.console import Console

from deploy.local.control import CONSOLE_PORT, DATA_DIR, REPORT, SCORER_PORT, SIMULATOR_PORT, STARTING
from deploy.local.history import Beginning, BeginningSettings
from deploy.local.ownership import Owned, Ownership, owner
from deploy.local.ports import Ports, check_free
from deploy.local.processes import StartFailed, Stopped
from deploy.local.proxies import around_proxies
from deploy.local.stack import MARKER, EmbeddedStack, Progress
from deploy.local.supervisor import SERVICES, RunningStack, Supervisor, held
from deploy.local.telling import told_in
from shared.settings import load_settings
from shared.telemetry import logging

BEFORE_PURCHASES_COME = ("simulator", "features", "scorer", "sink")
MORE_PORTS = {"simulator": [SIMULATOR_PORT], "scorer": [SCORER_PORT], "console": [CONSOLE_PORT]}
"""Of services, beside those of their metrics."""

console = Console()


def run(lock: int | None) -> int:
    """Its exit status. `lock`: descriptor of one that was taken for this process; None: it takes it itself."""
    logging.configure("supervisor")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        with Ownership.take(DATA_DIR) if lock is None else Ownership(lock) as ownership:
            ownership.is_of(os.getpid())  # whoever handed it over may be gone before it has said so
            _own(stopped)
    except Owned:
        console.print(f"already running, as process {owner(DATA_DIR)}")
        return 1
    except Stopped:
        return 0
    except StartFailed as error:
        console.print(str(error), markup=False)
        return 1
    return 0


def _own(stopped: threading.Event) -> None:
    """Everything, until it is stopped. Raises StartFailed, Stopped."""
    new, beginning_settings = not (DATA_DIR / MARKER).exists(), load_settings(BeginningSettings)
    check_free({service.name: [service.metrics_port, *MORE_PORTS.get(service.name, ())] for service in SERVICES})
    with ExitStack() as starting:
        say = starting.enter_context(told_in(STARTING))
        stack = EmbeddedStack(DATA_DIR, ports=Ports.of_environment(), on_progress=_parts_told(say), stopped=stopped)
        beginning = Beginning(DATA_DIR, beginning_settings, new=new)
        with stack:
            supervisor = Supervisor(stack, DATA_DIR, settings_of_services(), stopped=stopped, say=say)
            shutil.rmtree(held(DATA_DIR), ignore_errors=True)
            running = RunningStack(os.getpid(), supervisor.environment, ready=False)
            running.write(DATA_DIR)
            try:
                supervisor.prepare()
                if beginning.needed:
                    supervisor.start(BEFORE_PURCHASES_COME)
                    _begin(beginning, supervisor, say, stopped)
                supervisor.start()
                starting.close()
                replace(running, ready=True).write(DATA_DIR)
                supervisor.keep_running(stopped, parts=True)
            finally:
                RunningStack.file(DATA_DIR).unlink(missing_ok=True)
                supervisor.stop()


def settings_of_services() -> dict[str, str]:
    """For every service, beside the addresses of the parts."""
    return {
        "MODEL_REGISTRY__URI": str((DATA_DIR / "models").absolute()),
        "SIMTOM__URL": os.environ.get("SIMTOM_URL") or f"http://127.0.0.1:{SIMULATOR_PORT}",
        "SIMTOM__CUSTOMER_SCOPE": "profile" if os.environ.get("SIMTOM_URL") else "source",
        "SIMULATOR__HISTORY_DAY_PAUSE_SECONDS": "0",
        "SCORER__HTTP_PORT": str(SCORER_PORT),
        "INGESTOR__RATE": os.environ.get("RATE") or "20",
        "CONSOLE__PORT": str(CONSOLE_PORT),
        "CONSOLE__LEDGER_REPORT": str(REPORT.absolute()),
        "TRAINER__REPORTS": str((DATA_DIR / "reports").absolute()),
        "ALERTS__STATE": str((DATA_DIR / "alerts").absolute()),
    }


def _parts_told(say: Callable[[str], None]) -> Progress:
    """Says which parts are still to come."""
    coming: list[str] = []

    def told(part: str, state: str) -> None:
        if state == "starting":
            coming.append(part)
        elif state == "ready":
            coming.remove(part)
        if state in ("starting", "ready") and coming:
            say(f"starting {', '.join(coming)}")

    return told


def _begin(beginning: Beginning, supervisor: Supervisor, say: Callable[[str], None], stopped: threading.Event) -> None:
    """Bring the past in, while what ends is started again. Raises StartFailed, Stopped."""
    ended = threading.Event()
    scorer = supervisor.service("scorer").metrics_port
    with ThreadPoolExecutor(1) as thread:
        bringing = thread.submit(lambda: asyncio.run(beginning.brought(supervisor.environment, scorer, say, stopped)))
        bringing.add_done_callback(lambda _: ended.set())
        supervisor.keep_running(ended, parts=True)
        bringing.result()


def main() -> None:
    os.environ.update(around_proxies(os.environ))
    parser = argparse.ArgumentParser(prog="python -m deploy.local.background", description=__doc__)
    parser.add_argument("--lock", type=int, help="descriptor of the lock that `make up` has taken")
    raise SystemExit(run(parser.parse_args().lock))


if __name__ == "__main__":
    main()
