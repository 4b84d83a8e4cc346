"""The story of the year: what was noticed, what was trained, who decided, and how well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from services.trainer.monitoring.look import NEARLY_ALL
from services.trainer.warehouse import Warehouse
from shared.contracts.identity import epoch_micros
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.warehouse import tables, views
from tests.e2e.system import System
from tests.year.course import Decided, Window, measured, windows
from tests.year.plan import YearPlan

WINDOW_DAYS = 28
LAST_DAYS = 56
"""At the end of the year, over which the models must be back near the ceiling."""
RECOVERED = 0.005
ESTIMATED_WITHIN = 0.01
"""Of the realized AUC, over the stable months together: of each alone, the luck of its own defaults is as large."""
MONTH_DAYS = 30.4
NOTICED_WITHIN = {"attributes": 15_000, "law": 150_000}
"""Purchases. A week, for what people buy; for who defaults, which shows only as loans run out, seventy-five days."""
ALARMED_DAYS = 7
"""Of the stable ones, at most: an alarm that never ends is one, and says nothing."""
IN_SERVICE = "probation"
CLIMBED = ("shadow", "canary", IN_SERVICE)
TRAINED = {"training_done": "model", "training_too_early": "too early", "training_in_vain": "in vain"}
LOOKED = b'"event": "looked"'
"""In the log of the loop."""

_DECISIONS = f"""
SELECT event_id, transaction_id, customer_id, UNIX_MICROS(occurred_at) AS occurred_us,
  probability_of_default AS probability, model_version
FROM `{{project}}.{views.DECISIONS_CURRENT.id}`
WHERE prediction_timestamp >= TIMESTAMP '1970-01-02' AND model_version IS NOT NULL AND degraded IS NULL
"""

_ESTIMATES = f"""
SELECT model_version, UNIX_MICROS(window_from) AS from_us, UNIX_MICROS(window_to) AS to_us, `rows`, defaults, auc,
  estimated_auc, estimated_auc_error
FROM `{{project}}.{tables.MODEL_PERFORMANCE.id}`
WHERE evaluated_at >= TIMESTAMP '1970-01-02' AND period = 'four weeks' AND auc IS NOT NULL
  AND `rows` >= {NEARLY_ALL} * lent
QUALIFY ROW_NUMBER() OVER (PARTITION BY model_version, window_from ORDER BY evaluated_at DESC) = 1
ORDER BY window_from, model_version
"""


def lines(log: Path) -> Iterator[dict[str, Any]]:
    """A service's log, as far as it is JSON."""
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def looks(log: Path) -> list[dict[str, Any]]:
    """Each look of the loop that looks after the models."""
    return [line for line in lines(log) if line.get("event") == "looked"]


class Looks:
    """The days of the looks in a log that grows: each line is read once."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0
        self._latest: date | None = None

    def latest(self) -> date | None:
        """The stream's day of the latest look."""
        if not self._log.exists():
            return None
        with self._log.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # being written
                self._read += len(line)
                if LOOKED in line:
                    self._latest = date.fromisoformat(json.loads(line)["as_of"][:10])
        return self._latest


def told(plan: YearPlan, system: System, log: Path, hidden: Path) -> dict[str, Any]:
    """The whole story, as out/year.json holds it."""
    first_us = epoch_micros(f"{plan.first}T00:00:00Z")
    decided = _decided(system, hidden)
    courses = [asdict(window) for window in windows(decided, first_us, plan.days, WINDOW_DAYS)]
    last = decided.take(decided.occurred_us >= first_us + (plan.days - LAST_DAYS) * MICROS_PER_DAY)
    seen = looks(log)
    return {
        "plan": {
            "first": str(plan.first), "days": plan.days, "daily": plan.daily, "seed": plan.seed,
            "attributes_day": plan.attributes_day, "law_day": plan.law_day,
        },
        "decided_by_models": len(decided),
        "windows": courses,
        "last": asdict(measured(last, plan.days - LAST_DAYS, plan.days, seed=1)) if len(last) else None,
        "versions": _reigns(decided, first_us),
        "alarms": _alarms(seen, plan, decided, first_us),
        "estimates": _estimates(system, plan, first_us),
        "looks": len(seen),
        "trainings": trainings(log, first_us),
        "steps": steps(log, first_us),
    }  # fmt: skip


def broken_promises(found: dict[str, Any]) -> list[str]:
    """What didn't go as it should; empty: all did."""
    broken = []
    if not found["ledger_balanced"]:
        broken.append("the ledger does not balance")
    unnoticed = [kind for kind in ("attributes", "law") if found["alarms"][kind]["day"] is None]
    broken += [f"the change of the {kind} was never noticed" for kind in unnoticed]
    broken += [
        f"the change of the {kind} was noticed after {purchases:,} purchases, not within {most:,}"
        for kind, most in NOTICED_WITHIN.items()
        if (purchases := found["alarms"][kind]["after_purchases"]) is not None and purchases > most
    ]
    if not _taken_over(found):
        broken.append(
            "no model that was trained after the law changed came by shadow, canary and probation into service"
        )
    alarms = found["alarms"]["false"]
    if alarms["alarmed_days"] > ALARMED_DAYS:
        broken.append(f"alarms on {alarms['alarmed_days']} stable days")
    if alarms["a_month"] >= 1:
        broken.append(f"{alarms['a_month']:.1f} false alarms a month")
    estimates = [each for each in found["estimates"] if each["stable"]]
    if not estimates:
        broken.append("no stable month has matured: nothing to hold the estimated AUC against")
    elif abs(distance := mean_distance(estimates)) >= ESTIMATED_WITHIN:
        broken.append(f"over the stable months the estimated AUC lies {distance:+.4f} from the realized one")
    last = found["last"]
    if last is None:
        broken.append("at the end no model decides")
    elif last["gap"] > RECOVERED:
        broken.append(f"at the end the models are {last['gap']:.4f} below the ceiling")
    return broken


def _taken_over(found: dict[str, Any]) -> bool:
    """Whether the last model in service learnt the new law, and earned its place. A candidate in its canary decides as
    well, and isn't in service."""
    trained = {each["version"] for each in found["trainings"] if each["day"] >= found["plan"]["law_day"]}
    last = next((step["version"] for step in reversed(found["steps"]) if step["stage"] == IN_SERVICE), None)
    climbed = {step["stage"] for step in found["steps"] if step["version"] == last}
    return last in trained and climbed.issuperset(CLIMBED) and "rolled back" not in climbed


def table(found: dict[str, Any]) -> Table:
    """The year in windows, for a terminal."""
    shown = Table(title="a year of models", box=None, padding=(0, 1, 0, 0))
    for column in ("days", "purchases", "AUC", "ceiling", "below it", "±", "said", "came"):
        shown.add_column(column, justify="right")
    for row in found["windows"]:
        window = Window(**row)
        shown.add_row(
            f"{window.from_day}–{window.to_day}", f"{window.purchases:,}", f"{window.auc:.4f}",
            f"{window.ceiling:.4f}", f"{window.gap:.4f}", f"{window.gap_error:.4f}", f"{window.said:.2%}",
            f"{window.came:.2%}",
        )  # fmt: skip
    return shown


class Truth(msgspec.Struct, frozen=True):
    """A line of the simulator's hidden file."""

    transaction_id: str
    expected_rate: float
    will_default: bool


def _decided(system: System, hidden: Path) -> Decided:
    """Every purchase that a model decided, with what only the simulator knows of it."""
    settings = system.stack.bigquery.settings
    rows = Warehouse(settings).rows(_DECISIONS.format(project=settings.project))
    decoder = msgspec.json.Decoder(Truth)
    with hidden.open("rb") as file:
        # One run: its transactions have each an id of their own.
        truth = {line.transaction_id: line for line in map(decoder.decode, file)}
    known = [truth[transaction] for transaction in rows["transaction_id"].to_pylist()]
    found = Decided(
        occurred_us=rows["occurred_us"].to_numpy(),
        probability=rows["probability"].to_numpy(),
        expected_rate=np.array([each.expected_rate for each in known]),
        label=np.array([each.will_default for each in known], dtype=np.int8),
        version=np.array(rows["model_version"].to_pylist(), dtype=object),
    )
    order = np.argsort(found.occurred_us, kind="stable")
    return found.take(order)


def _alarms(seen: list[dict[str, Any]], plan: YearPlan, decided: Decided, first_us: int) -> dict[str, Any]:
    """When each change was first noticed, and how often nothing was the matter."""

    def first(what: str, since: float) -> dict[str, Any]:
        """The first alarm that begins after the change: one that was on already didn't notice it."""
        begun = [now for before, now in pairwise([{what: False}, *seen]) if now[what] and not before[what]]
        day = next((day for look in begun if (day := _day(look["as_of"], first_us)) >= since), None)
        if day is None:
            return {"day": None, "after_days": None, "after_purchases": None}
        between = (decided.occurred_us >= first_us + since * MICROS_PER_DAY) & (
            decided.occurred_us <= first_us + day * MICROS_PER_DAY
        )
        return {"day": day, "after_days": day - since, "after_purchases": int(between.sum())}

    began = _day_us(int(decided.occurred_us[0]), first_us) if len(decided) else plan.attributes_day
    stable = [look for look in seen if began <= _day(look["as_of"], first_us) < plan.attributes_day]
    alarmed = [look["drift"] or look["performance"] for look in stable]
    # An alarm that goes on is one alarm.
    rises = sum(now and not before for before, now in pairwise([False, *alarmed]))
    months = max((plan.attributes_day - began) / MONTH_DAYS, 1e-9)
    return {
        "attributes": first("drift", plan.attributes_day),
        "law": first("performance", plan.law_day),
        "false": {
            "alarms": rises,
            "alarmed_days": sum(alarmed),
            "stable_days": plan.attributes_day - began,
            "a_month": rises / months,
        },
    }


def _estimates(system: System, plan: YearPlan, first_us: int) -> list[dict[str, Any]]:
    """The monitor's own figures: what it estimated of each model's four weeks before their outcomes were known, beside
    what was realized."""
    settings = system.stack.bigquery.settings
    rows = Warehouse(settings).rows(_ESTIMATES.format(project=settings.project)).to_pylist()
    return [
        {
            "version": row["model_version"],
            "from_day": _day_us(row["from_us"], first_us),
            "to_day": (to_day := _day_us(row["to_us"], first_us)),
            "rows": row["rows"],
            "defaults": row["defaults"],
            "auc": row["auc"],
            "estimated_auc": row["estimated_auc"],
            "error": row["estimated_auc_error"],
            "stable": to_day <= plan.attributes_day,
        }
        for row in rows
    ]


def trainings(log: Path, first_us: int) -> list[dict[str, Any]]:
    """Each training that the loop began: on which day of the year, why, and what it came to."""
    return [
        {"day": day, "trigger": line["trigger"], "came": TRAINED[line["event"]], "version": line.get("version")}
        for day, line in _dated(log, first_us)
        if line.get("event") in TRAINED
    ]


def steps(log: Path, first_us: int) -> list[dict[str, Any]]:
    """Each step of a candidate: on which day, to which stage, and why."""
    return [
        {"day": day, "version": line["version"], "stage": line["stage"], "by": line["by"], "reasons": line["reasons"]}
        for day, line in _dated(log, first_us)
        if line.get("event") == "candidacy_moved"
    ]


def _dated(log: Path, first_us: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Lines with the day of the look before them."""
    day = 0.0
    for line in lines(log):
        if line.get("event") == "looked":
            day = _day(line["as_of"], first_us)
        yield day, line


def mean_distance(estimates: list[dict[str, Any]]) -> float:
    """Estimated less realized AUC, months weighted with their defaults: those are what an AUC is uncertain by."""
    weight = sum(each["defaults"] for each in estimates)
    return float(sum((each["estimated_auc"] - each["auc"]) * each["defaults"] for each in estimates) / weight)


def _reigns(decided: Decided, first_us: int) -> list[dict[str, Any]]:
    """Each version that decided, from its first to its last purchase."""
    found = []
    for version in dict.fromkeys(decided.version.tolist()):
        mine = decided.occurred_us[decided.version == version]
        found.append(
            {
                "version": version,
                "from_day": _day_us(int(mine[0]), first_us),
                "to_day": _day_us(int(mine[-1]), first_us),
                "purchases": len(mine),
            }
        )
    return found


def _day(moment: str, first_us: int) -> float:
    return _day_us(epoch_micros(moment), first_us)


def _day_us(moment_us: int, first_us: int) -> float:
    return (moment_us - first_us) / MICROS_PER_DAY
