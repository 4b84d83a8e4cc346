"""Named points in the services at which a process dies by kill -9, stands still, or hangs, when it is told to.

What tells it is a file in the folder of CHAOS_POINTS, named like the service, with a point, a number and a deed:
`after-send 3 die` is the third time that the point is passed from now on. The file is gone before the deed, so that it
is done once.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point lies: before or after a method's work."""

    point: str
    owner: str
    """Module and class."""
    method: str
    before: bool = False


SEND = "shared.kafka.producer:ReliableProducer"
COMMIT = Place("before-commit", "aiokafka:AIOKafkaConsumer", "commit", before=True)
REGISTRY = "shared.model_artifact.registry:ModelRegistry"

PLACES: dict[str, tuple[Place, ...]] = {
    "ingestor": (
        Place("after-send", SEND, "send_all"),
        Place("after-cursor", "services.ingestor.cursor:CursorStore", "save"),
    ),
    "features": (
        Place("after-send", SEND, "send_all"),
        Place("before-state-write", "shared.feature_state.store:FeatureStateStore", "commit", before=True),
        Place("after-state-write", "shared.feature_state.store:FeatureStateStore", "commit"),
        COMMIT,
    ),
    "scorer": (
        Place("after-claim", "services.scorer.claims:ClaimStore", "claim"),
        Place("after-send", SEND, "send_all"),
        Place("after-mark", "services.scorer.claims:ClaimStore", "mark_published"),
        COMMIT,
    ),
    "sink": (
        Place("after-stream-stored", "services.sink.streams:RedisStreamNames", "replace"),
        Place("after-append", "services.sink.append:AppendConnection", "append"),
        COMMIT,
    ),
    "registering": (
        Place("before-rename", REGISTRY, "_put", before=True),
        Place("before-promote", REGISTRY, "promote", before=True),
        Place("between-pointers", REGISTRY, "_write_pointer"),
    ),
}
"""`registering`: what the trainer does at its end (tests.chaos.registering)."""


class Deed(StrEnum):
    DIE = "die"
    STAND_STILL = "stand-still"
    """Until somebody lets it go on (SIGCONT)."""
    HANG = "hang"
    """That step never ends; the rest of the process goes on."""


SIGNALS = {Deed.DIE: signal.SIGKILL, Deed.STAND_STILL: signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class Order:
    """What to do when the point is passed for the `passes`-th time."""

    point: str
    passes: int
    deed: Deed = Deed.DIE

    def __str__(self) -> str:
        return f"{self.point} {self.passes} {self.deed}"

    @staticmethod
    def parse(text: str) -> Order:
        """Raises ValueError for anything but a point, a number from 1 on, and a deed."""
        point, number, deed = text.split()
        if int(number) < 1:
            raise ValueError(f"no order: {text!r}")
        return Order(point, int(number), Deed(deed))


def place_of(service: str, point: str) -> Place:
    """Raises KeyError for a point that the service doesn't have."""
    for place in PLACES[service]:
        if place.point == point:
            return place
    raise KeyError(f"{service} has no point {point}")


def give(folder: Path, service: str, order: Order) -> Path:
    """Tell the service. Gives the file, which is gone once it was carried out."""
    place_of(service, order.point)
    aside, file = folder / f".{service}", folder / service
    aside.write_text(str(order))
    aside.rename(file)
    return file


class Points:
    """In the service: counts passes while there is an order, and carries it out."""

    def __init__(self, file: Path, do: Callable[[Deed], None]) -> None:
        self._file = file
        self._do = do
        self._passes = 0

    def passed(self, point: str) -> bool:
        """Whether whoever passes it is to hang there."""
        try:
            order = Order.parse(self._file.read_text())
        except FileNotFoundError:
            self._passes = 0
            return False
        if point != order.point:
            return False
        self._passes += 1
        if self._passes >= order.passes:
            try:
                self._file.unlink()
            except FileNotFoundError:
                return False  # another thread is at it
            if order.deed is Deed.HANG:
                return True
            self._do(order.deed)
        return False


def arm(service: str, folder: Path) -> None:
    """Wrap the methods of the service's points, in this process."""
    points = Points(folder / service, lambda deed: os.kill(os.getpid(), SIGNALS[deed]))
    for place in PLACES[service]:
        module, _, name = place.owner.partition(":")
        owner = getattr(importlib.import_module(module), name)
        setattr(owner, place.method, watched_method(getattr(owner, place.method), place, points))


def watched_method(method: Callable[..., Any], place: Place, points: Points) -> Callable[..., Any]:
    """The method, with the place's point before or after it."""

    @functools.wraps(method)
    def plain(*arguments: Any, **options: Any) -> Any:
        if place.before and points.passed(place.point):
            threading.Event().wait()
        answer = method(*arguments, **options)
        if not place.before and points.passed(place.point):
            threading.Event().wait()
        return answer

    @functools.wraps(method)
    async def awaited(*arguments: Any, **options: Any) -> Any:
        if place.before and points.passed(place.point):
            await asyncio.Event().wait()
        answer = await method(*arguments, **options)
        if not place.before and points.passed(place.point):
            await asyncio.Event().wait()
        return answer

    return awaited if inspect.iscoroutinefunction(method) else plain
