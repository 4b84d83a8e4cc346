from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.ports import (
    FREE_RANGE,
    SLICE_PORTS,
    Ports,
    PortTaken,
    check_free,
    free_ports,
    is_free,
    is_listening,
)
from deploy.local.processes import StartFailed
from deploy.local.stack import DEFAULT_PORTS
from shared.settings import BigQuerySettings, KafkaSettings, RedisSettings

LISTENER = (
    "import os, signal, socket; it = socket.socket(); it.bind(('127.0.0.1', 0)); it.listen()\n"
    "print(os.getpid(), it.getsockname()[1], flush=True); signal.pause()"
)
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


def test_free_ports_are_distinct_and_not_those_of_outgoing_connections() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    assert all(port in FREE_RANGE for port in found)


def test_a_port_is_not_given_again_soon() -> None:
    assert set(free_ports(20)).isdisjoint(free_ports(20))


def test_no_two_processes_look_in_the_same_slice() -> None:
    ask = "from deploy.local.ports import *; print(*free_ports(50), flush=True); input()"
    mine, theirs = set(free_ports(SLICE_PORTS // 2)), set[int]()
    others = [
        subprocess.Popen([sys.executable, "-c", ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for other in others:
            assert other.stdout is not None
            found = {int(port) for port in other.stdout.readline().split()}
            assert len(found) == 50
            assert theirs.isdisjoint(found)
            theirs |= found
        assert mine.isdisjoint(theirs)
    finally:
        for other in others:
            other.communicate("\n", timeout=30)


def test_a_port_that_is_listened_on_is_not_free(taken: int) -> None:
    assert is_listening(taken)
    assert not is_free(taken)


def test_a_service_s_taken_port_is_told_before_anything_starts(taken: int) -> None:
    (free,) = free_ports(1)
    check_free({"scorer": [free]})
    with pytest.raises(PortTaken, match=rf"^console can't listen: port {taken} .*: `kill {os.getpid()}` stops it$"):
        check_free({"scorer": [free], "console": [free, taken]})


def test_a_taken_port_is_reported_with_the_setting_to_change(taken: int) -> None:
    with pytest.raises(PortTaken, match=rf"port {taken} .* KAFKA__BOOTSTRAP_SERVERS"):
        Ports(kafka=taken).settle()


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        ((), "in use by process {pid} ({python} -c .*): `kill {pid}` stops it"),
        (("deploy.local.background",), "in use by the stack of {folder}: `make down` there stops it"),
    ],
)
def test_who_holds_a_port_is_named_with_what_stops_it(tmp_path: Path, words: tuple[str, ...], way_out: str) -> None:
    """The listener is a child, as a service is one of its stack."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, LISTENER, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            pid, port = holder.stdout.readline().split()
            wanted = way_out.format(pid=pid, python=re.escape(sys.executable), folder=re.escape(str(tmp_path)))
            with pytest.raises(PortTaken, match=wanted.replace("(", r"\(").replace(")", r"\)")):
                check_free({"scorer": [int(port)]})
            os.kill(int(pid), signal.SIGTERM)
        finally:
            holder.kill()


def test_the_setting_that_is_named_moves_the_port(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (free,) = free_ports(1)
    monkeypatch.setenv("REDIS__URL", f"redis://127.0.0.1:{taken}/0")
    with pytest.raises(PortTaken, match=rf"port {taken} .*, or set REDIS__URL to another port$"):
        Ports.of_environment().settle()
    monkeypatch.setenv("REDIS__URL", f"redis://127.0.0.1:{free}/0")
    moved = Ports.of_environment()
    assert moved == replace(DEFAULT_PORTS, valkey=free)


def test_settled_ports_keep_what_was_asked_for_and_fill_in_the_rest() -> None:
    wanted = free_ports(1)[0]
    settled = Ports(valkey=wanted).settle()
    every = {settled.kafka, settled.kafka_controller, settled.valkey, settled.bigquery_rest, settled.bigquery_grpc}
    assert settled.valkey == wanted
    assert len(every) == 5
    assert 0 not in every


def test_ports_are_read_from_the_services_settings() -> None:
    ports = Ports.of_settings(
        KafkaSettings(bootstrap_servers="localhost:21001"),
        RedisSettings(url="redis://127.0.0.1:21002/0"),
        BigQuerySettings(rest_endpoint="http://127.0.0.1:21003", grpc_endpoint="127.0.0.1:21004"),
    )
    assert ports == Ports(kafka=21001, valkey=21002, bigquery_rest=21003, bigquery_grpc=21004)


def test_several_brokers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1,127.0.0.1:2")
    with pytest.raises(StartFailed, match=r"KAFKA__BOOTSTRAP_SERVERS is '127\.0\.0\.1:1,127\.0\.0\.1:2'"):
        Ports.of_environment()


def test_a_setting_that_points_to_another_machine_is_refused() -> None:
    with pytest.raises(StartFailed, match=r"REDIS__URL is 'redis://cache\.example:6379/0'"):
        Ports.of_settings(KafkaSettings(), RedisSettings(url="redis://cache.example:6379/0"), BigQuerySettings())
