"""The part of docs/operations/capacity.md that the measured figures are written into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deploy.capacity.demand import Demand
from deploy.capacity.figures import Figures, read
from deploy.capacity.plan import DoesNotFit, plan

PAGE = Path(__file__).parents[2] / "docs/operations/capacity.md"
BEGIN, END = "<!-- measured: written by `python -m deploy.capacity --page write` -->", "<!-- end of measured -->"

NOT_YET = "Not measured yet: `make capacity`, on a machine left alone."

SHOWN = (
    Demand(300, 50, 200_000),
    Demand(2000, 300, 5_000_000),
    Demand(10_000, 1500, 20_000_000, partitions=64),
)
"""A busy day of a shop; several of them; and the plan of 64 partitions."""


def main(command: str) -> int:
    """Exit status: 1 where `check` finds another page than the figures make."""
    text = PAGE.read_text()
    wanted = filled(text, read())
    if command == "write":
        PAGE.write_text(wanted)
    elif text != wanted:
        print(f"differs: {PAGE.name}: run `python -m deploy.capacity --page write`")  # noqa: T201
        return 1
    return 0


def filled(text: str, figures: Figures | None) -> str:
    """The page with its measured part made anew. Raises ValueError where the marks are missing."""
    head, _, rest = text.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE} has no {BEGIN!r} … {END!r}")
    return f"{head}{BEGIN}\n\n" + "\n".join([NOT_YET] if figures is None else _measured(figures)) + f"\n\n{END}{tail}"


def _measured(figures: Figures) -> Iterator[str]:
    yield f"Measured {figures.measured_at} on {figures.machine}, {figures.partitions} partitions, one process of each."
    yield ""
    yield (
        "| | idle | CPU of a purchase at a rate | in full batches | of a checkout at a rate | with sixteen asking "
        "| of an outcome | memory |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name, each in figures.processes.items():
        paced = ", ".join(f"{rate:.0f}/s: {cpu / rate * 1000:.2f} ms" for rate, cpu in each.stream)
        door = ", ".join(f"{rate:.0f}/s: {cpu / rate * 1000:.2f} ms" for rate, cpu in each.door)
        full = " | ".join(
            (f"{each.stream_full_s * 1000:.3f} ms", door, f"{each.door_full_s * 1000:.2f} ms",
             f"{each.outcome_full_s * 1000:.3f} ms")
        )  # fmt: skip
        yield f"| {name} | {each.idle_cpu * 100:.1f}% | {paced} | {full} | {each.resident_mb:.0f} MB |"
    yield ""
    yield "| bytes | |"
    yield "|---|---|"
    for topic, size in figures.record_bytes.items():
        yield f"| a record of `{topic}` in the log | {size:,.0f} |"
    for purchases, size in figures.state_bytes:
        yield f"| Redis for a customer with {purchases:.0f} purchases in four weeks | {size:,.0f} |"
    yield f"| Redis for a decision (the claim) | {figures.claim_bytes:,.0f} |"
    yield f"| Redis for an `Idempotency-Key` | {figures.idempotency_bytes:,.0f} |"
    for table, size in figures.row_bytes.items():
        yield f"| a row of `{table}` | {size:,.0f} |"
    yield ""
    yield (
        "| events/s + checkouts/s at the peak, customers | partitions | features | scorer | sink | brokers | Redis "
        "| log | warehouse |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for demand in SHOWN:
        yield _row(figures, demand)


def _row(figures: Figures, demand: Demand) -> str:
    asked = f"{demand.events:,.0f} + {demand.checkouts:,.0f}, {demand.customers:,}"
    try:
        made = plan(figures, demand)
    except DoesNotFit as error:
        return f"| {asked} | {demand.partitions or ''} | {error} | | | | | | |"
    pods = " | ".join(f"{each.count} pods, {each.total_cpu:.1f} cores" for each in made.pods)
    return (
        f"| {asked} | {made.partitions} | {pods} | {made.brokers_cpu:.1f} cores | {made.redis_gb:,.0f} GB, "
        f"{made.redis_cpu:.1f} cores | {sum(made.disk_gb.values()) / 1000:,.1f} TB "
        f"| {made.warehouse_gb_a_day:,.0f} GB a day |"
    )
