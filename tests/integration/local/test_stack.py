from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from deploy.local.ports import Ports, PortTaken, is_listening
from deploy.local.processes import ManagedProcess, Stopped
from deploy.local.stack import EmbeddedStack

REPOSITORY = Path(__file__).parents[3]
GONE_TIMEOUT_SECONDS = 60
SETTINGS = (
    *("BIGQUERY__GRPC_ENDPOINT", "BIGQUERY__PROJECT", "BIGQUERY__REST_ENDPOINT"),
    *("KAFKA__BOOTSTRAP_SERVERS", "KAFKA__REPLICATION_FACTOR", "REDIS__URL"),
)
"""What points a service to the parts, as the program prints it."""


def as_from_a_terminal() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all that the tests start there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def stack_program(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str], list[psutil.Process]]]:
    """`python -m deploy.local.stack`, once it is ready: the process, what it printed, its children."""
    command = [sys.executable, "-m", "deploy.local.stack", "--data-dir", str(data_dir)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, preexec_fn=as_from_a_terminal
    ) as program:
        try:
            assert program.stdout is not None
            lines = [program.stdout.readline().strip() for _ in SETTINGS]
            printed = dict(line.split("=", 1) for line in lines if line)
            yield program, printed, psutil.Process(program.pid).children(recursive=True)
        finally:
            program.kill()


def port_of(address: str) -> int:
    return int(address.removesuffix("/0").rsplit(":", 1)[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with stack_program(tmp_path / "data") as (program, printed, children):
        assert tuple(sorted(printed)) == SETTINGS
        assert len(children) == 3
        ports = [port_of(value) for value in printed.values() if ":" in value]
        assert all(is_listening(port) for port in ports)
        program.send_signal(number)
        program.wait(GONE_TIMEOUT_SECONDS)
        _, alive = psutil.wait_procs(children, GONE_TIMEOUT_SECONDS)
        assert alive == []
        assert not any(is_listening(port) for port in ports)


def test_ctrl_c_during_the_start_leaves_nothing_either(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.local.stack", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_from_a_terminal,
    ) as it:
        try:
            assert it.stderr is not None
            while "valkey: ready" not in (line := it.stderr.readline()):  # the others take seconds longer
                assert line
            children = psutil.Process(it.pid).children(recursive=True)
            it.send_signal(signal.SIGINT)
            it.wait(GONE_TIMEOUT_SECONDS)
            _, alive = psutil.wait_procs(children, GONE_TIMEOUT_SECONDS)
            assert alive == []
        finally:
            it.kill()


def test_a_start_that_is_told_to_stop_leaves_nothing(tmp_path: Path) -> None:
    stopped = threading.Event()

    def stop_at_the_first(part: str, state: str) -> None:
        if state == "ready":
            stopped.set()

    stack = EmbeddedStack(tmp_path / "data", on_progress=stop_at_the_first, stopped=stopped)
    with pytest.raises(Stopped), stack:
        pytest.fail("it started")
    assert not any(part.running for part in stack.parts.values())
    mine = psutil.Process(os.getpid()).children(recursive=True)
    assert not [each for each in mine if str(tmp_path) in " ".join(each.cmdline())]


def test_every_part_listens_on_loopback_only(embedded_stack: EmbeddedStack) -> None:
    processes: list[ManagedProcess] = [
        embedded_stack.kafka.brokers[1],
        embedded_stack.valkey.process,
        embedded_stack.bigquery.process,
    ]
    for process in processes:
        listening = [
            each.laddr.ip
            for each in psutil.Process(process.pid).net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {taken} .* REDIS__URL"):
            EmbeddedStack(tmp_path / "data", ports=Ports(valkey=taken))
    assert not (tmp_path / "data").exists()


def test_the_environment_points_to_the_running_parts(embedded_stack: EmbeddedStack, unique: str) -> None:
    environment = embedded_stack.environment()
    assert redis.Redis.from_url(environment["REDIS__URL"]).ping()
    client = bigquery.Client(
        environment["BIGQUERY__PROJECT"],
        AnonymousCredentials(),
        client_options={"api_endpoint": environment["BIGQUERY__REST_ENDPOINT"]},
    )
    client.create_dataset(unique, timeout=30)
    assert unique in [each.dataset_id for each in client.list_datasets()]
    assert is_listening(port_of(environment["KAFKA__BOOTSTRAP_SERVERS"]))
    assert is_listening(port_of(environment["BIGQUERY__GRPC_ENDPOINT"]))


def test_a_part_that_fails_takes_the_others_with_it(tmp_path: Path) -> None:
    states: list[tuple[str, str]] = []
    stack = EmbeddedStack(tmp_path / "data", on_progress=lambda part, state: states.append((part, state)))
    (tmp_path / "data" / "bigquery").mkdir()
    (tmp_path / "data" / "bigquery" / "data").write_text("in the way")
    with pytest.raises(OSError, match="File exists"), stack:
        pytest.fail("it started")
    assert ("bigquery", "failed") in states
    assert not any(part.running for part in stack.parts.values())
    mine = psutil.Process(os.getpid()).children(recursive=True)
    assert not [each for each in mine if str(tmp_path) in " ".join(each.cmdline())]
