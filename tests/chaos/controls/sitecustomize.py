"""What can only be changed from inside a process: its clock, the point at which it dies; and a safeguard, for the
negative controls.

Python imports this module at its start where its folder is on the path. Nothing of it is in the services themselves.
"""

import dataclasses
import datetime
import os
import sys
import time
import types
from pathlib import Path

CONTROL = os.environ.get("CHAOS_CONTROL", "")
POINTS = os.environ.get("CHAOS_POINTS", "")


def _without_deduplication() -> None:
    from shared.feature_definitions.state import CustomerState, Sighting

    CustomerState.sighting = lambda self, event_id, fingerprint: Sighting.NEW  # type: ignore[method-assign]


GATHERED_MS = 2000
"""So long a producer that nobody waits for may gather records: what a kill takes with it then is there for certain."""


def _without_acknowledgements() -> None:
    from shared.kafka.producer import ReliableProducer

    make = ReliableProducer.__init__

    def made(self, settings, *, linger_ms=0, deadline_s=60.0):  # type: ignore[no-untyped-def]
        make(self, settings, linger_ms=GATHERED_MS, deadline_s=deadline_s)

    async def attempt(self, producer, records):  # type: ignore[no-untyped-def]
        for record in records:
            await producer.send(
                record.topic, record.value, key=record.key, partition=record.partition, headers=record.headers
            )
        return []

    ReliableProducer.__init__ = made  # type: ignore[method-assign]
    ReliableProducer._attempt = attempt  # type: ignore[method-assign]


def _without_admission() -> None:
    """Decisions that don't say that no model made them."""
    from msgspec.structs import replace

    from services.scorer.decider import Decider

    decide = Decider.decide

    def decided(self, *arguments, **options):  # type: ignore[no-untyped-def]
        return [replace(decision, degraded=None) for decision in decide(self, *arguments, **options)]

    Decider.decide = decided  # type: ignore[method-assign]


def _without_fencing() -> None:
    from shared.feature_state import store

    run = store.FeatureStateStore._run

    async def run_from_wherever_it_is(self, moves):  # type: ignore[no-untyped-def]
        found = []
        for move in moves:
            held = (await self.standing(move.partition)).position
            # The position itself must not go back: that is noticed, and mended, whoever wrote it.
            found.append(
                dataclasses.replace(move, expected=held, new=move.new if held is None else held.or_later(move.new))
            )
            for name, state in move.states.items():
                await self._redis.set(store._state_key(move.partition, name), state)
        return await run(self, found)

    read = store.FeatureStateStore.read_states

    async def read_from_wherever_it_is(self, asked, at):  # type: ignore[no-untyped-def]
        return await read(self, asked, {partition: (await self.standing(partition)).position for partition in asked})

    store.FeatureStateStore._run = run_from_wherever_it_is  # type: ignore[method-assign]
    store.FeatureStateStore.read_states = read_from_wherever_it_is  # type: ignore[method-assign]


def _without_claims() -> None:
    from services.scorer.claims import ClaimStore

    async def whoever_asks_is_first(self, wanted):  # type: ignore[no-untyped-def]
        return list(wanted)

    ClaimStore.claim = whoever_asks_is_first  # type: ignore[method-assign]


def _without_last_row() -> None:
    from services.sink.bigquery import PartitionWriter

    PartitionWriter._last_row = lambda self: (-1, None, None)  # type: ignore[method-assign]


def _asked_by(ours: tuple[str, ...]) -> bool:
    """Whether who asks our caller for the time is the program itself, or a module of these packages."""
    asking = str(sys._getframe(2).f_globals.get("__name__", ""))
    return asking == "__main__" or asking.startswith(ours)


def _move_clock(seconds: float) -> None:
    """For our own modules; a TLS library's or a client's idea of the time is not what is tried: gRPC, half of which
    asks the kernel itself, would give up each call before it is made. What one of ours is told, and the true time, in
    seconds since 1970, are left in a file of CHAOS_CLOCKS that is named like the process.
    """
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + (seconds if _asked_by(("services.", "shared.")) else 0)
    time.time_ns = lambda: real_ns() + (int(seconds * 1e9) if _asked_by(("services.", "shared.")) else 0)
    whole = datetime.datetime

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz=None):  # type: ignore[no-untyped-def]
            return whole.fromtimestamp(real() + seconds, tz)

    class Clocked(types.ModuleType):
        def __getattribute__(self, name: str) -> object:
            return Moved if name == "datetime" and _asked_by(("services.",)) else super().__getattribute__(name)

    datetime.__class__ = Clocked
    told: dict[str, object] = {"__name__": "services.clock"}
    exec("import datetime; now = datetime.datetime.now(datetime.UTC).timestamp()", told)
    Path(os.environ["CHAOS_CLOCKS"], str(os.getpid())).write_text(f"{told['now']} {real()}")


CONTROLS = {
    "no-deduplication": ("features", _without_deduplication),
    "no-acknowledgements": ("features", _without_acknowledgements),
    "no-acknowledgements-of-events": ("ingestor", _without_acknowledgements),
    "no-fencing": ("features", _without_fencing),
    "no-claims": ("scorer", _without_claims),
    "no-admission": ("scorer", _without_admission),
    "no-last-row": ("sink", _without_last_row),
}
"""Name → whose safeguard it is, and what takes it away."""

if os.environ.get("CHAOS_CLOCK_S"):
    _move_clock(float(os.environ["CHAOS_CLOCK_S"]))
if CONTROL:
    whose, take_away = CONTROLS[CONTROL]
    if f"services.{whose}" in sys.orig_argv:
        take_away()
if POINTS:
    from tests.chaos.controls import fault_points

    for service in fault_points.PLACES:
        if {f"services.{service}", f"tests.chaos.{service}"} & set(sys.orig_argv):
            fault_points.arm(service, Path(POINTS))
