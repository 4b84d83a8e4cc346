"""How far apart rounds begin: by how long a process has had to wait for the processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared import pace as module
from shared.pace import TIMES_WAITED, Pace, waited_for_processor_s

SHORTEST_S, LONGEST_S = 0.004, 0.03


class Machine:
    """Its clock, and how long a process has waited in all."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waited_s = 7.0
        """While it started."""
        self.pace = Pace(SHORTEST_S, LONGEST_S, clock=lambda: self.now_s, waited_s=lambda: self.waited_s)

    def round(self, waits_s: float) -> float:
        """Begin one as soon as may be, in which it waits so long; how long it rests afterwards."""
        self.now_s += max(0.0, self.pace.rest_s())
        self.pace.begin()
        self.waited_s += waits_s
        return self.pace.rest_s()

    def after(self, rounds: int, waits_s: float) -> float:
        return [self.round(waits_s) for _ in range(rounds)][-1]


def test_the_first_round_begins_at_once() -> None:
    assert Machine().pace.rest_s() <= 0


def test_with_room_rounds_are_as_close_as_they_may_be_whatever_starting_took() -> None:
    assert Machine().after(50, 0.0) == pytest.approx(SHORTEST_S)
    assert Machine().after(50, SHORTEST_S / TIMES_WAITED / 2) == pytest.approx(SHORTEST_S)


def test_time_that_a_round_took_counts() -> None:
    machine = Machine()
    machine.round(0.0)
    machine.now_s += 0.003
    assert machine.pace.rest_s() == pytest.approx(0.001)
    machine.now_s += 1.0
    assert machine.pace.rest_s() < 0


def test_who_waits_for_the_processor_begins_later_and_sooner_again_when_it_is_free() -> None:
    machine = Machine()
    assert machine.after(50, 0.002) == pytest.approx(TIMES_WAITED * 0.002, rel=0.01)
    assert machine.after(50, 0.0) == pytest.approx(SHORTEST_S)


def test_nobody_rests_longer_than_the_longest() -> None:
    assert Machine().after(50, 1.0) == pytest.approx(LONGEST_S)


def test_a_machine_that_stood_still_once_is_forgotten_soon() -> None:
    machine = Machine()
    machine.round(10.0)
    assert machine.after(20, 0.0) == pytest.approx(SHORTEST_S)


def test_waiting_is_counted_where_the_kernel_counts_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert waited_for_processor_s() >= 0
    counts = tmp_path / "schedstat"
    monkeypatch.setattr(module, "SCHEDSTAT", counts)
    counts.write_text("12000000000 2500000000 42\n")
    assert waited_for_processor_s() == 2.5


@pytest.mark.parametrize("text", [None, "", "0", "no numbers here"], ids=str)
def test_where_it_does_not_nobody_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    counts = tmp_path / "schedstat"
    monkeypatch.setattr(module, "SCHEDSTAT", counts)
    if text is not None:
        counts.write_text(text)
    assert waited_for_processor_s() == 0.0
