"""`python -m services.ledger`: audit the running system; exit status 0 where everything balances.

1 where something doesn't; 3 where nothing is wrong as far as can be told, and not everything can be told any more; 4
where what it reads is away.
With `--every` it audits again and again until it is told to stop, and serves what it finds as metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from services.ledger import chain, checks, metrics
from services.ledger.audit import Audit, audit
from services.ledger.check import AWAY, check
from services.ledger.settings import LedgerSettings
from shared.settings import load_settings
from shared.telemetry import logging, process
from shared.telemetry.operations import OperationsServer

EXIT_STATUS = {True: 0, False: 1, None: 3}
EXIT_NOTHING_KNOWN = 4
VERDICT = {True: "balanced", False: "NOT BALANCED", None: "balanced as far as can be told"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.ledger", description=__doc__)
    parser.add_argument("--check", action="store_true", help="try settings and connections, then exit")
    parser.add_argument("--json", action="store_true", help="print the report itself, in place of a table")
    parser.add_argument("--every", type=_seconds, metavar="SECONDS", help="again and again, so long after each other")
    arguments = parser.parse_args()
    settings = load_settings(LedgerSettings)
    # An audit's report says it all, where nobody asked for more.
    level = settings.log.level if "level" in settings.log.model_fields_set else "WARNING"
    logging.configure("ledger", level, settings.log.format)
    if arguments.check:
        answers = asyncio.run(check(settings))
        for name, answer in answers.items():
            print(f"{name}: {answer}")
        raise SystemExit(0 if all(answer == "ok" for answer in answers.values()) else process.EXIT_FAILED)
    if arguments.every is not None:
        process.run(functools.partial(repeat, settings, arguments.every))
        return
    console = Console()
    try:
        with console.status("ledger") as status:
            result = asyncio.run(audit(settings, lambda text: status.update(f"ledger: {text}")))
    except AWAY as error:
        console.print(f"ledger: nothing is known, since what it reads is away: {error!r}", markup=False)
        raise SystemExit(EXIT_NOTHING_KNOWN) from None
    report = write(result, settings)
    if arguments.json:
        print(report, end="")
    else:
        console.print(table_of(result))
    raise SystemExit(EXIT_STATUS[result.balanced])


async def repeat(settings: LedgerSettings, every_s: float, stop: asyncio.Event) -> None:
    """Audit until `stop` is set. What an audit can't go on without ends the process; the metrics then end with it."""
    with OperationsServer(settings.metrics.port, lambda: None, settings.metrics.host):
        while not stop.is_set():
            auditing = asyncio.ensure_future(audit(settings, lambda _: None))
            await process.first_of(stop.wait(), auditing)
            if stop.is_set():
                return
            result = auditing.result()
            write(result, settings)
            metrics.show(result)
            await process.sleep_unless(stop, every_s)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(text)
    return seconds


def write(result: Audit, settings: LedgerSettings) -> str:
    """Leave the report as JSON; give its text."""
    report = settings.ledger.report
    report.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "balanced": result.balanced,
        "checked_at": datetime.now(UTC).isoformat(),
        "lag": result.lag,
        "records": result.records,
        "expired": result.expired,
        "rest_answers_compared": result.answers_compared,
        "rest_answers_gone": result.answers_gone,
        "chain": chain.shown(result.chains),
        "invariants": checks.shown(result.findings),
    }
    text = json.dumps(content, indent=2) + "\n"
    report.write_text(text)
    return text


def table_of(result: Audit) -> Table:
    """The findings for people, violations by name."""
    table = Table(title=f"ledger: {VERDICT[result.balanced]}", title_justify="left")
    for column in ("", "what must hold", "checked", "violations"):
        table.add_column(column, justify="right" if column in ("checked", "violations") else "left")
    for finding in result.findings:
        table.add_row(finding.name, finding.about, f"{finding.checked:,}", f"{len(finding.violations):,}")
        for violation in finding.violations[: checks.SHOWN]:
            table.add_row("", f"  {violation}", "", "")
        if finding.not_checkable:
            table.add_row("", f"  {len(finding.not_checkable):,} not checkable: {finding.not_checkable[0]}", "", "")
        if finding.violations:
            table.add_row("", f"  repair: {checks.REPAIRS[finding.name]}", "", "")
    gone = f", {result.answers_gone:,} are gone" if result.answers_gone else ""
    table.add_row("", f"  {result.answers_compared:,} answers of REST compared{gone}", "", "")
    for topic, count in result.expired.items():
        table.add_row("", f"  {topic}: {count:,} records expired, known by their rows only", "", "")
    for group, count in result.lag.items():
        table.add_row("", f"  {group} still lacks {count:,} records", "", "")
    return table


if __name__ == "__main__":
    main()
