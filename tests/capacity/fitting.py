"""From what was used up under known loads to what one purchase costs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.capacity.cost import along, until_full
from deploy.capacity.figures import Point, Process
from tests.capacity.watching import Span


@dataclass(frozen=True, slots=True)
class Spans:
    """One for each load."""

    idle: Span
    stream: Sequence[Span]
    """Paced, over the topic."""
    door: Sequence[Span]
    """Paced, over both doors."""
    full: Span
    """A backlog."""
    asked: Span
    """The door at its limit."""
    outcomes: Span
    outcome_count: int


def process_of(name: str, spans: Spans) -> Process:
    """What idling costs is taken off everything else first, then what purchases cost on the stream off the door."""
    idle_cpu = spans.idle.cpu(name)

    def work(span: Span) -> float:
        return max(0.0, span.cpu_s[name] - idle_cpu * span.seconds)

    stream = rising((span.purchase_rate, work(span) / span.seconds) for span in spans.stream)
    stream_full_s = work(spans.full) / spans.full.purchases
    curve = until_full(stream, stream_full_s)

    def beyond(span: Span) -> float:
        return max(0.0, work(span) / span.seconds - along(curve, span.purchase_rate, stream_full_s))

    every = [spans.idle, *spans.stream, *spans.door, spans.full, spans.asked, spans.outcomes]
    return Process(
        idle_cpu=idle_cpu,
        stream=stream,
        door=rising((span.checkout_rate, beyond(span)) for span in spans.door),
        stream_full_s=stream_full_s,
        door_full_s=beyond(spans.asked) / spans.asked.checkout_rate,
        outcome_full_s=work(spans.outcomes) / spans.outcome_count,
        resident_mb=max(span.resident_mb[name] for span in every),
    )


def rising(points: Iterable[Point]) -> tuple[Point, ...]:
    """In the order of the load, which never costs less where it is more: noise that says so is lifted."""
    found: list[Point] = []
    for load, cost in sorted(points):
        found.append((load, max(cost, found[-1][1]) if found else cost))
    return tuple(found)
