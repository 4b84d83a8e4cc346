"""Dying or standing still at a named point: what is asked for, and that it happens there, once."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.controls.fault_points import PLACES, Deed, Order, Place, Points, give, place_of, watched_method

PROGRAM = """
import pathlib, sys
from shared.feature_state import Position
from tests.chaos.controls import fault_points
folder = pathlib.Path(sys.argv[1])
place = fault_points.Place("after-text", "shared.feature_state.position:Position", "__str__")
fault_points.PLACES["features"] = (place,)
fault_points.arm("features", folder)
for number in range(5):
    print(Position(number), flush=True)
"""


class Died(Exception):
    pass


def die(deed: Deed) -> None:
    assert deed is Deed.DIE
    raise Died


def test_an_order_survives_being_written() -> None:
    for order in (Order("after-send", 3), Order("after-send", 1, Deed.STAND_STILL), Order("after-send", 2, Deed.HANG)):
        assert Order.parse(str(order)) == order


@pytest.mark.parametrize(
    "text",
    ["", "after-send die", "after-send 0 die", "after-send -1 die", "after-send x die", " 3 die", "after-send 1 sleep"],
)
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Order.parse(text)


def test_a_point_that_the_service_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="ingestor has no point after-append"):
        give(tmp_path, "ingestor", Order("after-append", 1))
    assert list(tmp_path.iterdir()) == []


def test_it_dies_at_the_pass_that_was_asked_for_and_only_once(tmp_path: Path) -> None:
    points = Points(tmp_path / "sink", die)
    points.passed("after-append")  # before the order: not counted
    order = give(tmp_path, "sink", Order("after-append", 2))
    points.passed("after-append")
    points.passed("before-commit")
    with pytest.raises(Died):
        points.passed("after-append")
    assert not order.exists()
    points.passed("after-append")


def test_a_new_order_counts_anew(tmp_path: Path) -> None:
    points = Points(tmp_path / "sink", die)
    for _ in range(2):
        give(tmp_path, "sink", Order("after-append", 2))
        points.passed("after-append")
        with pytest.raises(Died):
            points.passed("after-append")
        points.passed("after-append")


@pytest.mark.parametrize(
    ("service", "point"), [(service, place.point) for service, places in PLACES.items() for place in places]
)
def test_every_point_lies_at_a_method_that_exists(service: str, point: str) -> None:
    place = place_of(service, point)
    module, _, name = place.owner.partition(":")
    assert callable(getattr(getattr(importlib.import_module(module), name), place.method))


def test_a_process_is_killed_after_the_work_of_the_step_was_done(tmp_path: Path) -> None:
    (tmp_path / "features").write_text(str(Order("after-text", 3)))
    ended = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.split()) == (-signal.SIGKILL, ["0,-1", "1,-1"]), ended.stderr
    again = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (again.returncode, len(again.stdout.split())) == (0, 5)


def test_a_process_that_stands_still_goes_on_where_it_was(tmp_path: Path) -> None:
    order = tmp_path / "features"
    order.write_text(str(Order("after-text", 2, Deed.STAND_STILL)))
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert (os.WIFSTOPPED(status), order.exists()) == (True, False)
        process.send_signal(signal.SIGCONT)
        printed, _ = process.communicate()
    assert (process.returncode, printed.split()) == (0, [f"{number},-1" for number in range(5)])


async def test_a_step_that_hangs_never_ends_and_the_next_one_is_as_ever(tmp_path: Path) -> None:
    async def step() -> str:
        return "done"

    points = Points(tmp_path / "sink", die)
    watched = watched_method(step, Place("after-step", "anything:Anything", "step"), points)
    assert await watched() == "done"
    give(tmp_path, "sink", Order("after-append", 1, Deed.HANG))
    assert points.passed("after-append")
    assert not points.passed("after-append")
    (tmp_path / "sink").write_text(str(Order("after-step", 1, Deed.HANG)))
    hung = asyncio.create_task(watched())
    await asyncio.sleep(0)  # it has come to the point
    assert await watched() == "done"
    assert not hung.done()
    hung.cancel()
