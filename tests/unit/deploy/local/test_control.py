"""`make up` and its like, with a background process that only pretends to start something."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from deploy.local import control as commands
from deploy.local.background import run, settings_of_services
from deploy.local.ownership import Ownership, owner
from deploy.local.supervisor import SERVICES, RunningStack

REPOSITORY = Path(__file__).parents[4]
TIMEOUT = 30
PRETENDER = """
import os, signal, sys, time
from pathlib import Path
from deploy.local.supervisor import RunningStack
def leave(number, frame):
    Path("stopped").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
with open("begun", "a") as begun:
    begun.write(f"{os.getpid()}\\n")
while not Path("go").exists():
    time.sleep(0.02)
RunningStack(os.getpid(), {"REDIS__URL": "redis://127.0.0.1:1/0"}, ready=True).write(Path(".local/stack"))
signal.pause()
"""
COMMAND = (
    "import sys; from deploy.local import control\n"
    "control.BACKGROUND = (sys.executable, '-c', sys.argv[1])\n"
    "sys.exit(control.COMMANDS[sys.argv[2]]())"
)

Control = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    """One of the commands, begun in a folder of its own."""
    begun: list[subprocess.Popen[str]] = []

    def begin(command: str, background: str = PRETENDER) -> subprocess.Popen[str]:
        begun.append(
            subprocess.Popen(
                [sys.executable, "-c", COMMAND, background, command],
                cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        )  # fmt: skip
        return begun[-1]

    yield begin
    for each in begun:
        each.kill()
        each.communicate()
    if (pid := owner(tmp_path / ".local/stack")) is not None:
        os.kill(pid, signal.SIGKILL)


def answer(command: subprocess.Popen[str]) -> str:
    """All that it says, on one line."""
    return " ".join(command.communicate(timeout=TIMEOUT)[0].split())


def background(folder: Path) -> psutil.Process:
    """Of the one that was begun, once it is."""
    deadline = time.monotonic() + TIMEOUT
    while not (file := folder / "begun").exists() or not file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (pid,) = file.read_text().split()
    return psutil.Process(int(pid))


def waiting(control: Control) -> tuple[subprocess.Popen[str], str]:
    """A second one beside a start that is under way, and what it was told of that."""
    second = control("up")
    assert second.stdout is not None
    return second, second.stdout.readline()


def test_a_second_start_is_told_of_the_first_and_begins_nothing(tmp_path: Path, control: Control) -> None:
    first = control("up")
    running = background(tmp_path)
    second, told = waiting(control)
    assert f"already starting, as process {running.pid}" in told
    (tmp_path / "go").touch()
    answer(first), answer(second)
    assert (first.returncode, second.returncode) == (0, 0)
    third = control("up")
    assert f"already running, as process {running.pid}" in answer(third)
    assert third.returncode == 0
    assert background(tmp_path) == running


def test_what_starts_is_seen_and_can_be_stopped(tmp_path: Path, control: Control) -> None:
    first = control("up")
    running = background(tmp_path)
    seen = control("status")
    assert f"starting, as process {running.pid}" in answer(seen)
    assert seen.returncode == 1
    too_early = control("env")
    assert f"starting, as process {running.pid}" in answer(too_early)
    assert too_early.returncode == 1
    down = control("down")
    assert "stopped; data stays" in answer(down)
    assert down.returncode == 0
    assert (tmp_path / "stopped").exists()
    assert "stopped before it was ready" in answer(first)
    assert first.returncode == 1
    assert "not running" in answer(control("status"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_stops_what_has_begun(
    tmp_path: Path, control: Control, number: signal.Signals
) -> None:
    first = control("up")
    running = background(tmp_path)
    first.send_signal(number)
    answer(first)
    assert first.returncode == 128 + number
    assert (tmp_path / "stopped").exists()
    assert not running.is_running()


def test_whoever_only_waits_for_it_stops_nothing(tmp_path: Path, control: Control) -> None:
    control("up")
    running = background(tmp_path)
    second, _ = waiting(control)
    second.send_signal(signal.SIGINT)
    assert "it goes on starting" in answer(second)
    assert running.is_running()
    assert owner(tmp_path / ".local/stack") == running.pid


def test_who_waited_for_one_that_was_stopped_starts_anew(tmp_path: Path, control: Control) -> None:
    control("up")
    first = background(tmp_path)
    second, _ = waiting(control)
    answer(control("down"))
    deadline = time.monotonic() + TIMEOUT
    while len((tmp_path / "begun").read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (tmp_path / "go").touch()
    assert "starting anew" in answer(second)
    assert second.returncode == 0
    assert owner(tmp_path / ".local/stack") not in (None, first.pid)


def test_the_background_process_names_itself_where_nobody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever handed the lock over may have been killed before."""
    named: list[int | None] = []
    monkeypatch.setattr("deploy.local.background.DATA_DIR", tmp_path / "stack")
    monkeypatch.setattr("deploy.local.background._own", lambda _: named.append(owner(tmp_path / "stack")))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    taken = Ownership.take(tmp_path / "stack")
    taken.is_of(2**22 - 1)
    assert run(taken.descriptor) == 0
    assert named == [os.getpid()]


def test_a_background_process_that_ends_is_told_with_its_last_words(control: Control) -> None:
    up = control("up", "import sys; sys.exit('no such disk')")
    assert "could not start: no such disk" in answer(up)
    assert up.returncode == 1


def test_a_stranger_with_the_number_of_an_earlier_run_is_left_alone(tmp_path: Path, control: Control) -> None:
    data = tmp_path / ".local/stack"
    data.mkdir(parents=True)
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            RunningStack(stranger.pid, {"REDIS__URL": "redis://127.0.0.1:1/0"}, ready=True).write(data)
            for command in ("down", "status", "env"):
                assert "not running" in answer(control(command))
            assert stranger.poll() is None
            control("up")
            assert background(tmp_path).pid != stranger.pid
        finally:
            stranger.kill()


PORTS = {service.metrics_port: service.name for service in SERVICES}
CHAMPION = 'flit_model_info{role="champion",version="abc"}'


class Services:
    """What `make status` finds: of each service its metrics at the first and at the second look; {}: it was away."""

    def __init__(self) -> None:
        self.looks = {name: [{'flit_events_total{service="s"}': n} for n in (100.0, 150.0)] for name in PORTS.values()}
        self.looks["scorer"] = [look | {CHAMPION: 1.0} for look in self.looks["scorer"]]

    def metrics_of(self, port: int) -> Mapping[str, float]:
        return self.looks[PORTS[port]].pop(0)

    def status_of(self, port: int, _path: str) -> int | None:
        return 200 if self.ready[PORTS[port]] else None

    @property
    def ready(self) -> dict[str, bool]:
        return {name: self._last[name] != {} for name in self.looks}

    def away(self, name: str, *looks: int) -> None:
        for look in looks:
            self.looks[name][look] = {}

    def begin(self) -> None:
        self._last = {name: looks[-1] for name, looks in self.looks.items()}


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Those of a stack that is up."""
    found = Services()
    data = tmp_path / "stack"
    monkeypatch.setattr(commands, "DATA_DIR", data)
    monkeypatch.setattr(commands, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(commands, "console", Console(width=200))
    monkeypatch.setattr(commands, "metrics_of", found.metrics_of)
    monkeypatch.setattr(commands, "status_of", found.status_of)
    with Ownership.take(data):
        data.mkdir()
        RunningStack(os.getpid(), {"REDIS__URL": "redis://127.0.0.1:1/0"}, ready=True).write(data)
        yield found


def shown(services: Services, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, list[str]], str]:
    """Exit status, the cells of each service, all that was said."""
    services.begin()
    exit_status = commands.status()
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]
    return exit_status, {row[0]: row[1:] for row in rows if row}, said


def test_status_is_nought_where_every_service_is_ready(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    exit_status, rows, said = shown(services, capsys)
    assert exit_status == 0
    assert rows["sink"][2] == "150" and rows["sink"][3] != "–"
    assert 'model in service: {role="champion",version="abc"}' in said


def test_status_tells_by_its_exit_status_that_a_service_is_away(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.away("ingestor", 0, 1)
    exit_status, rows, _ = shown(services, capsys)
    assert exit_status == 1
    assert rows["ingestor"][:4] == ["away", "–", "–", "–"]


def test_of_a_scorer_that_is_away_the_model_is_unknown(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    services.away("scorer", 0, 1)
    _, _, said = shown(services, capsys)
    assert "model in service: unknown: the scorer is away" in said


def test_a_scorer_without_a_model_has_none_yet(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    services.looks["scorer"] = services.looks["sink"][:]
    _, _, said = shown(services, capsys)
    assert "model in service: none yet" in said


@pytest.mark.parametrize("look", [0, 1])
def test_events_a_second_are_unknown_where_one_look_failed(
    services: Services, capsys: pytest.CaptureFixture[str], look: int
) -> None:
    services.away("sink", look)
    _, rows, _ = shown(services, capsys)
    assert rows["sink"][3] == "–"
    assert rows["features"][3] != "–"


class Ledger:
    """Ends with this status, and leaves this report, if any, where it is told to."""

    def __init__(self, exit_status: int, report: str | None) -> None:
        self._exit_status, self._report = exit_status, report

    def __call__(self, command: Sequence[str], env: Mapping[str, str]) -> int:
        assert command[-1] == "services.ledger"
        if self._report is not None:
            place = Path(env.get("LEDGER__REPORT", "out/ledger.json"))
            place.parent.mkdir(exist_ok=True)
            place.write_text(self._report)
        return self._exit_status


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `make ledger` is typed; a demo has left its report there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEDGER__REPORT", raising=False)
    monkeypatch.setattr(commands, "_settings", dict)
    (tmp_path / ".local/stack").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/ledger.json").write_text("the demo's")
    return tmp_path


@pytest.mark.parametrize("exit_status", [0, 1, 3])
def test_an_audit_leaves_its_report_in_out_and_for_the_stacks_own_console(
    audited: Path, monkeypatch: pytest.MonkeyPatch, exit_status: int
) -> None:
    monkeypatch.setattr("subprocess.call", Ledger(exit_status, "the stack's"))
    assert commands.ledger() == exit_status
    assert (audited / "out/ledger.json").read_text() == "the stack's"
    assert Path(settings_of_services()["CONSOLE__LEDGER_REPORT"]).read_text() == "the stack's"


def test_an_audit_that_could_not_look_passes_nobody_elses_report_for_its_own(
    audited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.call", Ledger(4, None))
    assert commands.ledger() == 4
    assert (audited / "out/ledger.json").read_text() == "the demo's"
    assert not Path(settings_of_services()["CONSOLE__LEDGER_REPORT"]).exists()


def test_a_report_is_left_where_it_is_asked_for(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER__REPORT", "reports/today.json")
    monkeypatch.setattr("subprocess.call", Ledger(0, "the stack's"))
    assert commands.ledger() == 0
    assert (audited / "reports/today.json").read_text() == "the stack's"
    assert (audited / "out/ledger.json").read_text() == "the demo's"
