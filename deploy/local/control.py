"""The embedded stack with all services, kept running: `make up`, `down`, `stop`, `start`, `status`, `env`, `logs`,
`ledger`."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.ownership import Owned, Ownership, owner
from deploy.local.processes import log_tail
from deploy.local.proxies import around_proxies
from deploy.local.services import READY_TIMEOUT_SECONDS, lag_by_topic, metrics_of, status_of
from deploy.local.stack import sigterm_raises
from deploy.local.supervisor import SERVICES, RunningStack, held
from shared.durable import replace_synced

DATA_DIR = Path(".local/stack")
OUTPUT = DATA_DIR.parent / "up.log"
BACKGROUND = (sys.executable, "-m", "deploy.local.background")
UP_SECONDS = 180
"""Without a sign of the background process, which gives one a second: what takes too long it ends itself."""

DOWN_SECONDS = 60
POLL_SECONDS = 0.2
LOOK_SECONDS = 2.0
"""Over which `make status` counts events."""
STARTING = DATA_DIR / "starting"
"""What the background process does, in words, until everything is ready; renewed meanwhile."""
REPORT = DATA_DIR / "ledger.json"
"""Of the stack's last audit, for its console: in `out/` others leave theirs as well."""
AUDIT = Path("out/ledger.json")
UNKNOWN = "–"
NOT_RUNNING = "not running: `make up` starts it"
SCORER_PORT = 8000
CONSOLE_PORT = 8501
SIMULATOR_PORT = 18000

console = Console()


def up() -> int:
    """Start in the background; return once everything was ready. Ctrl-C or SIGTERM before that stops what has begun."""
    try:
        ownership = Ownership.take(DATA_DIR)
    except Owned:
        return _join()
    with sigterm_raises():
        process = _in_background(ownership)
        try:
            if _ready(lambda: process.poll() is None):
                status()
                return 0
            if process.poll() in (0, -signal.SIGTERM):
                console.print("stopped before it was ready")
            else:
                console.print("could not start:\n" + "\n".join(log_tail(OUTPUT)), markup=False)
            return 1
        except KeyboardInterrupt:
            console.print("interrupted")
            return 128 + signal.SIGINT
        finally:
            if not RunningStack.is_ready(DATA_DIR):
                _end(process)


def _in_background(ownership: Ownership) -> subprocess.Popen[bytes]:
    """The process that starts everything, with the lock that we have taken for it."""
    with ownership:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        for left_over in (RunningStack.file(DATA_DIR), STARTING):
            left_over.unlink(missing_ok=True)
        with OUTPUT.open("ab") as log:
            process = subprocess.Popen(
                [*BACKGROUND, "--lock", str(ownership.descriptor)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, pass_fds=[ownership.descriptor],
            )  # fmt: skip
        ownership.is_of(process.pid)
    return process


def _join() -> int:
    """Somebody else has started it: wait with them."""
    pid = owner(DATA_DIR)
    if RunningStack.is_ready(DATA_DIR):
        console.print(f"already running, as process {pid}: `make status` shows it, `make down` stops it")
        return 0
    try:
        console.print(f"already starting, as process {pid}: `make down` stops it. Waiting until it is ready")
        if _ready(lambda: owner(DATA_DIR) is not None):
            status()
            return 0
    except KeyboardInterrupt:
        console.print("it goes on starting")
        return 128 + signal.SIGINT
    if owner(DATA_DIR) is None:  # it was being stopped, or failed
        console.print("that one has ended: starting anew")
        return up()
    console.print(f"it didn't become ready: see {OUTPUT}")
    return 1


def _ready(there: Callable[[], bool]) -> bool:
    """Whether everything came up; not, if the background process has ended or gave no sign for too long."""
    renewed, deadline = 0, time.monotonic() + UP_SECONDS
    with console.status("starting Kafka, Valkey, BigQuery and the services") as spinner:
        while there() and time.monotonic() < deadline:
            if RunningStack.is_ready(DATA_DIR):
                return True
            if (now := _renewed()) != renewed:
                renewed, deadline = now, time.monotonic() + UP_SECONDS
                if doing := _doing():
                    spinner.update(doing)
            time.sleep(POLL_SECONDS)
    return False


def _doing() -> str:
    try:
        return STARTING.read_text()
    except FileNotFoundError:
        return ""


def _renewed() -> int:
    """When the background process last gave a sign, ns since 1970; 0: not yet."""
    try:
        return STARTING.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(KeyboardInterrupt):  # a second one: it ends by itself, too
        _until(lambda: process.poll() is not None, "stopping what has begun", DOWN_SECONDS)


def down() -> int:
    """Stop what runs, or what starts."""
    pid = owner(DATA_DIR)
    if pid is None:
        console.print("not running")
        return 0
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended by itself
    except PermissionError:
        console.print(f"process {pid} is another user's: stop it as that user")
        return 1
    if not _until(lambda: owner(DATA_DIR) != pid, "finishing what is in hand", DOWN_SECONDS):
        console.print(f"process {pid} still runs: see {OUTPUT}")
        return 1
    if (other := owner(DATA_DIR)) is not None:
        console.print(f"process {other} has taken its place: `make down` once more stops that one")
        return 1
    console.print(f"stopped; data stays in {DATA_DIR}")
    return 0


@dataclass(frozen=True, slots=True)
class _Look:
    """At a service's metrics; without samples: it was away."""

    at: float
    samples: Mapping[str, float]

    @classmethod
    def take(cls, port: int) -> _Look:
        return cls(time.monotonic(), metrics_of(port))

    @property
    def events(self) -> float:
        return sum(value for name, value in self.samples.items() if name.startswith("flit_events_total{"))


def status() -> int:
    """Health, lag, throughput, model in service, addresses. 0 where each service is ready, 1 where one isn't: while it
    starts, or where it was stopped on purpose, too."""
    running = RunningStack.read(DATA_DIR)
    if running is None:
        console.print(NOT_RUNNING)
        return 1
    if not running.ready:
        console.print(f"starting, as process {running.pid}; `make down` stops it")
        if doing := _doing():
            console.print(doing)
    if not running.environment:
        return 1
    table = Table(title="services", title_justify="left")
    for column in ("service", "health", "lag", "events so far", "a second", "metrics"):
        table.add_column(column)
    before = {service.name: _Look.take(service.metrics_port) for service in SERVICES}
    with console.status("counting events for two seconds"):
        time.sleep(LOOK_SECONDS)
    now = {service.name: _Look.take(service.metrics_port) for service in SERVICES}
    answers = {service.name: status_of(service.metrics_port, "/ready") for service in SERVICES}
    for service in SERVICES:
        look = now[service.name]
        lag = lag_by_topic(look.samples)
        table.add_row(
            service.name,
            {200: "[green]ready[/]", None: "[red]away[/]"}.get(answers[service.name], "[yellow]not ready[/]"),
            f"{sum(lag.values()):.0f}" if lag else UNKNOWN,
            f"{look.events:,.0f}" if look.samples else UNKNOWN,
            _a_second(before[service.name], look),
            f"http://127.0.0.1:{service.metrics_port}/metrics",
        )
    console.print(table)
    console.print(f"model in service: {_model(now['scorer'].samples)}", markup=False)
    console.print(f"checkout: http://127.0.0.1:{SCORER_PORT}/docs")
    console.print(f"console: http://127.0.0.1:{CONSOLE_PORT}")
    console.print('for commands of your own: eval "$(make --silent env)"', markup=False)
    return 0 if all(answer == 200 for answer in answers.values()) else 1


def _a_second(before: _Look, now: _Look) -> str:
    if not (before.samples and now.samples):
        return UNKNOWN
    return f"{max(0.0, now.events - before.events) / (now.at - before.at):,.1f}"


def _model(samples: Mapping[str, float]) -> str:
    """In service, by what the scorer says."""
    if not samples:
        return "unknown: the scorer is away"
    for name, value in samples.items():
        if name.startswith("flit_model_info{") and 'role="champion"' in name and value == 1:
            return name.removeprefix("flit_model_info")
    return "none yet: the trainer makes one, once outcomes have matured"


def env() -> int:
    """The settings of the running services, for a shell: what is typed there is about them."""
    for name, value in {**_settings(), **around_proxies(os.environ)}.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def logs() -> int:
    files = [str(DATA_DIR / "logs" / f"{service.name}.log") for service in SERVICES]
    return subprocess.call(["tail", "-n", "5", "-F", *files])


def ledger() -> int:
    """The ledger's exit status. Its report lies where it leaves one anywhere else, and with the stack."""
    environment = {**os.environ, **_settings(), "LEDGER__SCORER_URL": f"http://127.0.0.1:{SCORER_PORT}"}
    left = Path(environment.get("LEDGER__REPORT") or AUDIT)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "ledger.json"
        command = [sys.executable, "-m", "services.ledger"]
        exit_status = subprocess.call(command, env={**environment, "LEDGER__REPORT": str(made)})
        if made.exists():  # not where nothing could be told: what lies there then is of an earlier audit
            report = made.read_bytes()
            left.parent.mkdir(parents=True, exist_ok=True)
            left.write_bytes(report)
            replace_synced(REPORT, report)
    return exit_status


def _settings() -> dict[str, str]:
    """Of the running services. Where there are none yet, the command ends, and says why."""
    running = RunningStack.read(DATA_DIR)
    if running is None:
        raise SystemExit(NOT_RUNNING)
    if not running.environment:
        raise SystemExit(f"starting, as process {running.pid}: `make status` shows how far it is")
    return running.environment


def stop_or_start(command: str, name: str) -> int:
    """One service: stopped until it is started."""
    _settings()
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


COMMANDS = {"up": up, "down": down, "status": status, "env": env, "logs": logs, "ledger": ledger}
OF_ONE = ("stop", "start")


def main() -> None:
    os.environ.update(around_proxies(os.environ))
    parser = argparse.ArgumentParser(prog="python -m deploy.local.control", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        commands.add_parser(name)
    for name in OF_ONE:
        commands.add_parser(name).add_argument("service", choices=[service.name for service in SERVICES])
    given = parser.parse_args()
    if given.command in OF_ONE:
        raise SystemExit(stop_or_start(given.command, given.service))
    try:
        raise SystemExit(COMMANDS[given.command]())
    except KeyboardInterrupt:  # of `logs`, say
        raise SystemExit(128 + signal.SIGINT) from None


if __name__ == "__main__":
    main()
