"""Whether some group is turned away, or let in wrongly, more than others: by age bracket and by state.

No model may look at these, and no gate asks a model for them: they are read of the hold-out's purchases to count. Each
group is compared with everybody else, three times: its rate of approval, how many of its good customers are turned
away, how many of its defaults are approved. A fault is what lies beyond its limit at every rate that the counts leave
possible: an interval that widens with every comparison that is made (Bonferroni), so that a small group has a wide one
and raises no alarm by chance. What counts is each customer's first purchase of the hold-out, since those of one
customer resemble each other; and each once, since who was approved by chance stands for others in profit, not in whom
he is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.experiments.evidence import Count
from services.trainer.experiments.fixed import difference
from services.trainer.gates.dossier import Dossier, parts
from services.trainer.gates.limits import GateLimits
from services.trainer.gates.verdict import FAIRNESS, GateVerdict, of_faults
from services.trainer.prohibited import prohibited

Rows = NDArray[Any]
"""A mask, or the places of rows."""


def fairness(dossier: Dossier, limits: GateLimits) -> GateVerdict:
    names = dossier.files.manifest.feature_names
    faults = [f"it looks at {name}, made of {base}" for name, base in prohibited(names).items()]
    decided = _Decided.of(dossier)
    groups = [(name, rows[decided.first]) for name, rows in parts(dossier.groups.protected)]
    # Two sides, three comparisons of each group.
    z = NormalDist().inv_cdf(1 - limits.false_alarms / max(3 * len(groups), 1) / 2)
    for name, rows in groups:
        faults += _faults(decided, name, rows, limits, z)
    sound = f"no group beyond its limits, of {len(groups)} (age brackets and states)"
    return of_faults(FAIRNESS, faults, f"{sound}; {_lowest(decided, groups)}" if groups else sound)


@dataclass(frozen=True)
class _Decided:
    """Of each customer's first purchase."""

    first: Rows
    approve: Rows
    bad: Rows

    @staticmethod
    def of(dossier: Dossier) -> _Decided:
        first = np.sort(np.unique(dossier.holdout.customer_id.astype(str), return_index=True)[1])
        return _Decided(first, dossier.approve[first], dossier.holdout.label[first] == 1)


def _faults(decided: _Decided, name: str, rows: Rows, limits: GateLimits, z: float) -> Iterator[str]:
    one, other = (_count(decided.approve, which) for which in (rows, ~rows))
    # Below the least ratio is below that share of the others' rate.
    bounds = difference(one, other, z=z, of_other=limits.impact_ratio)
    if bounds is not None and bounds[1] < 0:
        yield (
            f"{name}: {one.rate:.1%} of {one.trials} approved, {other.rate:.1%} of others, "
            f"a ratio of {one.rate / other.rate:.2f} where {limits.impact_ratio:g} is the least"
        )
    for what, among, hits in (
        ("of good customers turned away", ~decided.bad, ~decided.approve),
        ("of defaults approved", decided.bad, decided.approve),
    ):
        one, other = (_count(hits, which & among) for which in (rows, ~rows))
        bounds = difference(one, other, z=z)
        if bounds is not None and bounds[0] > limits.error_by_group:
            yield (
                f"{name}: {one.rate:.1%} {what} ({one.trials}), {other.rate:.1%} of others, "
                f"{limits.error_by_group:.0%} more allowed"
            )


def _count(hits: Rows, rows: Rows) -> Count:
    return Count(int(hits[rows].sum()), int(rows.sum()))


def _lowest(decided: _Decided, groups: list[tuple[str, Rows]]) -> str:
    """The group with the lowest rate of approval beside the others', with the 95% interval of the difference."""
    found = []
    for name, rows in groups:
        one, other = (_count(decided.approve, which) for which in (rows, ~rows))
        bounds = difference(one, other)
        if bounds is not None:
            found.append((one.rate - other.rate, f"{name} {one.rate:.1%} of {one.trials}", bounds))
    if not found:
        return "there is only one"
    apart, text, (low, high) = min(found)
    return f"lowest approval: {text}, {apart:+.1%} to others (95%: {low:+.1%} to {high:+.1%})"
