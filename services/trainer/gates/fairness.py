"""Whether some group is turned away, or let in wrongly, more than others: by age bracket and by state.

No model may look at these, and no gate asks a model for them: they are read of the hold-out's time to count. Each group
is compared with everybody else, three times.

* Its rate of **approval**, of all purchases of that time, lent or not: it needs no outcome, and among those that were
  lent a candidate like an unfair champion turns nobody away.
* How many of its **good customers** are turned away, and how many of its **defaults** are approved. Both need the
  outcome, so they are of what was lent, where what was approved by chance stands for its kind (`weight`). Of those whom
  nobody lends to, nothing is known.

A fault is what lies beyond its limit at every rate that the counts leave possible: an interval that widens with every
comparison that is made (Bonferroni), so that a small group has a wide one and raises no alarm by chance. What counts is
each customer's first purchase, since those of one customer resemble each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Customers, Floats, effective_rows, numbered, weighted_mean
from services.trainer.experiments.evidence import Count
from services.trainer.experiments.fixed import difference
from services.trainer.gates.dossier import Dossier, Values, parts
from services.trainer.gates.limits import GateLimits
from services.trainer.gates.verdict import FAIRNESS, GateVerdict, of_faults
from services.trainer.prohibited import prohibited

Rows = NDArray[np.bool_]


def fairness(dossier: Dossier, limits: GateLimits) -> GateVerdict:
    names = dossier.files.manifest.feature_names
    faults = [f"it looks at {name}, made of {base}" for name, base in prohibited(names).items()]
    approvals, turned_away, let_in = _approvals(dossier), *_errors(dossier)
    # Two sides of each comparison.
    z = NormalDist().inv_cdf(1 - limits.false_alarms / max(len(approvals) + len(turned_away) + len(let_in), 1) / 2)
    for each in approvals:
        faults += _too_few_approved(each, limits, z)
    for what, compared in (("of good customers turned away", turned_away), ("of defaults approved", let_in)):
        for each in compared:
            faults += _too_many(each, what, limits, z)
    sound = f"no group beyond its limits, of {len(approvals)} (age brackets and states; errors are of what was lent)"
    return of_faults(FAIRNESS, faults, f"{sound}; {_lowest(approvals)}" if approvals else sound)


@dataclass(frozen=True)
class _Compared:
    """How many of a group, and of all others."""

    name: str
    group: Count
    others: Count


def _approvals(dossier: Dossier) -> list[_Compared]:
    """Of all applications."""
    applications = dossier.groups.applications
    first = _first(numbered(applications.customer_id))
    return _by_group(applications.protected, first, dossier.approve_applied[first], np.ones(len(first)))


def _errors(dossier: Dossier) -> tuple[list[_Compared], list[_Compared]]:
    """Of what was lent: good customers turned away, and defaults approved."""
    lent, approve, protected = dossier.holdout, dossier.approve, dossier.groups.protected
    first = _first(dossier.customers)
    good, bad = (first[lent.label[first] == label] for label in (0, 1))
    return (
        _by_group(protected, good, ~approve[good], lent.weight[good]),
        _by_group(protected, bad, approve[bad], lent.weight[bad]),
    )


def _first(customers: Customers) -> NDArray[np.intp]:
    """The place of each customer's first row."""
    return np.unique(customers, return_index=True)[1]


def _by_group(protected: Mapping[str, Values], places: NDArray[np.intp], hits: Rows, weight: Floats) -> list[_Compared]:
    """Of the rows at those places, which have these hits and weights."""
    found = []
    for name, rows in parts(protected):
        mine = rows[places]
        found.append(_Compared(name, *(_count(hits[which], weight[which]) for which in (mine, ~mine))))
    return found


def _count(hits: Rows, weight: Floats) -> Count:
    """At their weighted rate, as many as would tell as much with equal weights, to the next whole one."""
    if not len(hits):
        return Count(0, 0)
    trials = round(effective_rows(weight))
    return Count(round(weighted_mean(hits, weight) * trials), trials)


def _too_few_approved(each: _Compared, limits: GateLimits, z: float) -> Iterator[str]:
    # Below the least ratio is below that share of the others' rate.
    bounds = difference(each.group, each.others, z=z, of_other=limits.impact_ratio)
    if bounds is not None and bounds[1] < 0:
        yield (
            f"{each.name}: {each.group.rate:.1%} of {each.group.trials} approved, {each.others.rate:.1%} of others, "
            f"a ratio of {each.group.rate / each.others.rate:.2f} where {limits.impact_ratio:g} is the least"
        )


def _too_many(each: _Compared, what: str, limits: GateLimits, z: float) -> Iterator[str]:
    bounds = difference(each.group, each.others, z=z)
    if bounds is not None and bounds[0] > limits.error_by_group:
        yield (
            f"{each.name}: of what was lent, {each.group.rate:.1%} {what} ({each.group.trials}), "
            f"{each.others.rate:.1%} of others, {limits.error_by_group:.0%} more allowed"
        )


def _lowest(approvals: list[_Compared]) -> str:
    """The group with the lowest rate of approval beside the others', with the 95% interval of the difference."""
    found = []
    for each in approvals:
        bounds = difference(each.group, each.others)
        if bounds is not None:
            text = f"{each.name} {each.group.rate:.1%} of {each.group.trials}"
            found.append((each.group.rate - each.others.rate, text, bounds))
    if not found:
        return "there is only one"
    apart, text, (low, high) = min(found)
    return f"lowest approval: {text}, {apart:+.1%} to others (95%: {low:+.1%} to {high:+.1%})"
