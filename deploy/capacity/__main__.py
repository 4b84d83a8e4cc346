"""`python -m deploy.capacity`: how many partitions and pods, and how much memory and disk, a load needs.

`--page write` writes the measured part of docs/operations/capacity.md from the figures, `--page check` compares.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from deploy.capacity import page
from deploy.capacity.demand import BUSY, CLAIM_DAYS, MEMORY_RESERVE, REPLICAS, Demand
from deploy.capacity.figures import read
from deploy.capacity.plan import DoesNotFit, Plan, plan

NOT_MEASURED = "nothing was measured yet: `make capacity` does it"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.capacity", description=__doc__)
    parser.add_argument("--events", type=float, help="purchases a second on the topic, in the best hour")
    parser.add_argument("--checkouts", type=float, default=0.0, help="and over REST (%(default)s)")
    parser.add_argument("--customers", type=int, default=1_000_000, help="(%(default)s)")
    parser.add_argument("--partitions", type=int, help="where they are given already")
    parser.add_argument("--claim-days", type=float, default=CLAIM_DAYS, help="SCORER__CLAIM_TTL_SECONDS, in days")
    parser.add_argument("--busy", type=float, default=BUSY, help="of a core, that a process may be (%(default)s)")
    parser.add_argument("--json", action="store_true", help="figures in place of tables")
    parser.add_argument("--page", choices=["write", "check"])
    given = parser.parse_args()
    if given.page:
        raise SystemExit(page.main(given.page))
    if given.events is None or given.events + given.checkouts <= 0 or given.customers < 1 or not 0 < given.busy <= 1:
        parser.error("wanted: --events, more than no purchases, at least one customer, and --busy above 0 and up to 1")
    demand = Demand(given.events, given.checkouts, given.customers, given.partitions, given.claim_days, given.busy)
    figures = read()
    if figures is None:
        raise SystemExit(NOT_MEASURED)
    try:
        made = plan(figures, demand)
    except DoesNotFit as error:
        raise SystemExit(str(error)) from None
    if given.json:
        Console().print_json(json.dumps(asdict(made)))
    else:
        _show(made, demand, Console())


def _show(made: Plan, demand: Demand, console: Console) -> None:
    title = f"{demand.events:,.0f} events/s and {demand.checkouts:,.0f} checkouts/s of {demand.customers:,} customers"
    table = Table(title=title, title_justify="left")
    for column in ("service", "pods", "CPU, busiest", "CPU, all", "memory each"):
        table.add_column(column, justify="left" if column == "service" else "right")
    for each in made.pods:
        table.add_row(
            each.service, str(each.count), f"{each.busiest_cpu:.2f}", f"{each.total_cpu:.1f}", f"{each.memory_mb} Mi"
        )
    console.print(table)
    console.print(f"partitions: {made.partitions}; the busiest has {made.busiest_partition:.2f} times an equal share")
    console.print(f"brokers: {made.brokers_cpu:.1f} cores together, every record {REPLICAS} times")
    for topic, size in made.disk_gb.items():
        console.print(f"  {topic}: {size:,.0f} GB on all of them, once its retention is reached")
    console.print(f"Redis: {made.redis_cpu:.1f} cores, {made.redis_gb:,.1f} GB ({MEMORY_RESERVE:g} times its data)")
    console.print(f"warehouse: {made.warehouse_gb_a_day:,.1f} GB a day")


if __name__ == "__main__":
    main()
