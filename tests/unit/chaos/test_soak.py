"""When a hundred kills count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from tests.chaos.soak import LEAST_SHARE, NO_AUDIT, RATE, _ready, row_of, told

LOADED_S = 200.0
LEAST = round(LEAST_SHARE * RATE * LOADED_S)
KILLED = Counter({"features": 60, "sink": 40})


def report(decisions: int, **changed: Any) -> dict[str, Any]:
    return {
        "balanced": True,
        "invariants": {f"P{number}": {"checked": decisions, "balanced": True} for number in range(1, 9)},
        "chain": {"risk-decisions-0": {"older_rows": 0, "links": decisions, "beside": 0}},
        "rest_answers_compared": 200,
        **changed,
    }


def row(
    found: dict[str, Any], killed: Counter[str] = KILLED, belied: Sequence[str] = (), trouble: str | None = None
) -> dict[str, Any]:
    return row_of(killed, 100, 240, LOADED_S, found, belied, trouble)


def test_it_passes_where_the_load_was_there_and_the_ledger_balanced() -> None:
    made = row(report(LEAST))
    assert (made["passed"], made["shortcomings"]) == (True, [])
    assert told(made).endswith("balanced")


@pytest.mark.parametrize(
    "made",
    [
        row(report(LEAST - 1)),
        row(report(LEAST, balanced=False)),
        row(report(LEAST, balanced=None)),
        row(report(LEAST, rest_answers_compared=0)),
        row(report(LEAST), killed=Counter({"sink": 99})),
        row(report(LEAST), belied=["2 checkouts were told something else"]),
        row(report(LEAST), trouble="AssertionError: waited"),
        row(NO_AUDIT, trouble="TimeoutExpired"),
    ],
    ids=["load", "unbalanced", "not told", "rest", "kills", "checkouts", "trouble", "no audit"],
)
def test_anything_less_fails_and_says_why(made: dict[str, Any]) -> None:
    assert made["passed"] is False
    assert "FAILED" in told(made)


class Service:
    def __init__(self, ready: list[bool]) -> None:
        self._ready = ready

    def ready(self) -> bool:
        return self._ready.pop(0) if len(self._ready) > 1 else self._ready[0]


class Process:
    running = True


class World:
    """What `_ready` asks of one."""

    def __init__(self, **ready: list[bool]) -> None:
        self._services = {name: Service(answers) for name, answers in ready.items()}
        self.system = self.supervisor = self

    def service(self, name: str) -> Service:
        return self._services[name]

    def process(self, name: str) -> Process:
        return Process()


async def test_the_first_that_is_ready_is_killed() -> None:
    world: Any = World(features=[False], scorer=[True], sink=[True])
    assert await _ready(world, ["features", "scorer", "sink"]) == "scorer"


async def test_where_none_is_ready_it_waits_for_whichever_comes_first() -> None:
    world: Any = World(features=[False], sink=[False, False, True])
    assert await _ready(world, ["features", "sink"]) == "sink"
