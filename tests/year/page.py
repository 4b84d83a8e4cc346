"""The year as a page of the documentation: `python -m tests.year.page`, after `make year`."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from deploy.documentation.markdown import table
from tests.year.story import ESTIMATED_WITHIN, LAST_DAYS, NOTICED_WITHIN, RECOVERED, broken_promises, mean_distance

FOUND = Path("out/year.json")
PICTURE = Path("out/year.png")
PAGE = Path("docs/explanation/year.md")

OPENING = """
`make year` streams a year of purchases ({days} days, {daily:,} each) through the running system, as fast as they are
decided and its models looked after, and nobody interferes. Labels mature in the stream's own time. On day
{attributes_day} other people buy other things; on day {law_day} the law changes by which they default. The simulator
knows that law, so there is a ceiling that no model can pass, and each four weeks are held against it. How it works:
[monitoring](../operations/monitoring.md), [promotion](../operations/promotion.md).
"""
OF_WINDOWS = """
*Below it* has the standard error of a paired bootstrap beside it: the luck of these purchases falls out of the
difference. *Said* is the mean probability of default, *came* the share that did default, declined purchases too.
"""
OF_ESTIMATES = """
The monitor's own figures of the purchases that each model approved, and what was realized once their labels had
matured. Stable months are those before the first change.
"""


def main() -> None:
    PAGE.write_text(page(json.loads(FOUND.read_text())))
    shutil.copy(PICTURE, PAGE.with_suffix(".png"))


def page(found: dict[str, Any]) -> str:
    """Markdown. The picture lies beside it."""
    plan, false = found["plan"], found["alarms"]["false"]
    broken = broken_promises(found)
    return "\n\n".join(
        [
            "# A year of models that look after themselves",
            wrapped(OPENING.format(**plan)),
            "![The year](year.png)",
            "## What was asked for, and what came",
            table(
                ("", "asked for", "came"),
                [
                    ("drift of the attributes", _within("attributes"), _noticed(found["alarms"]["attributes"])),
                    ("another law", _within("law"), _noticed(found["alarms"]["law"])),
                    (
                        "false alarms",
                        "less than 1 a month",
                        f"{false['alarms']} in {false['stable_days']:.0f} stable days",
                    ),
                    (
                        "estimated less realized AUC, stable months",
                        f"within {ESTIMATED_WITHIN}",
                        _distance(found["estimates"]),
                    ),
                    (f"below the ceiling, last {LAST_DAYS} days", f"{RECOVERED} at most", _last(found["last"])),
                    ("the ledger", "balances", "balances" if found["ledger_balanced"] else "does not"),
                ],
            ),
            wrapped(f"Not as asked for: {'; '.join(broken)}.") if broken else "All as asked for.",
            "## What happened",
            table(("day", "what"), ((f"{day:.0f}", what) for day, what in happened(found))),
            "## Four weeks each",
            wrapped(OF_WINDOWS),
            table(
                ("days", "purchases", "AUC", "ceiling", "below it", "±", "said", "came"),
                (
                    (
                        f"{row['from_day']}–{row['to_day']}", f"{row['purchases']:,}", f"{row['auc']:.4f}",
                        f"{row['ceiling']:.4f}", f"{row['gap']:.4f}", f"{row['gap_error']:.4f}", f"{row['said']:.1%}",
                        f"{row['came']:.1%}",
                    )
                    for row in found["windows"]
                ),
            ),
            "## Estimated before the outcomes were known",
            wrapped(OF_ESTIMATES),
            table(
                ("model", "days", "purchases", "defaults", "estimated", "realized", "difference", "stable"),
                (
                    (
                        each["version"][:6], f"{each['from_day']:.0f}–{each['to_day']:.0f}", f"{each['rows']:,}",
                        f"{each['defaults']:,}", f"{each['estimated_auc']:.4f} ± {each['error']:.4f}",
                        f"{each['auc']:.4f}", f"{each['estimated_auc'] - each['auc']:+.4f}",
                        "yes" if each["stable"] else "",
                    )
                    for each in found["estimates"]
                ),
            ),
            "Anew, into this page: `make year`, then `PYTHONPATH=. .venv/bin/python -m tests.year.page`.\n",
        ]
    )  # fmt: skip


def wrapped(text: str) -> str:
    return textwrap.fill(text.strip(), 120, break_long_words=False, break_on_hyphens=False)


def happened(found: dict[str, Any]) -> list[tuple[float, str]]:
    """What happened on which day, in its order."""
    plan = found["plan"]
    events = [
        (float(plan["attributes_day"]), "**the attributes change**"),
        (float(plan["law_day"]), "**the law changes**"),
    ]
    for kind, name in (("attributes", "drift is noticed"), ("law", "the loss of performance is noticed")):
        if (day := found["alarms"][kind]["day"]) is not None:
            events.append((day, name))
    events += _trainings(found["trainings"])
    events += [(step["day"], f"`{step['version'][:6]}`: {step['stage']}") for step in found["steps"]]
    return sorted(events, key=lambda each: each[0])


def _trainings(all_of_them: list[dict[str, Any]]) -> Iterator[tuple[float, str]]:
    """Those that came to nothing one after another in one line."""
    for (trigger, came), each in groupby(all_of_them, lambda one: (one["trigger"], one["came"])):
        some = list(each)
        if came == "model":
            for one in some:
                yield one["day"], f"training ({trigger}): `{one['version'][:6]}`"
        elif len(some) == 1:
            yield some[0]["day"], f"training ({trigger}): {came}"
        else:
            yield some[0]["day"], f"{len(some)} trainings ({trigger}) up to day {some[-1]['day']:.0f}: {came}"


def _within(kind: str) -> str:
    return f"noticed within {NOTICED_WITHIN[kind]:,} purchases"


def _noticed(alarm: dict[str, Any]) -> str:
    if alarm["day"] is None:
        return "never"
    return f"after {alarm['after_days']:.1f} days, {alarm['after_purchases']:,} purchases"


def _distance(estimates: list[dict[str, Any]]) -> str:
    stable = [each for each in estimates if each["stable"]]
    return f"{mean_distance(stable):+.4f}" if stable else "none has matured"


def _last(last: dict[str, Any] | None) -> str:
    return "no model" if last is None else f"{last['gap']:.4f} ± {last['gap_error']:.4f}"


if __name__ == "__main__":
    main()
