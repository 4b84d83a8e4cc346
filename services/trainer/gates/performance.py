"""Better than the champion and than the incumbent rule, in log-loss and in profit, beyond noise.

All differences are paired, row by row, and weighted. A candidate has to win each of the four comparisons at the stated
chance of error; since it needs all of them, the chance that one that fails any passes isn't raised by their number
(Berger, "Multiparameter hypothesis testing and acceptance sampling", 1982).

Profit against the champion is that of both over a range of losses given default, each with its own break-even (the idea
of Verbraken, Bravo, Weber and Baesens, "Development and application of consumer credit scoring models using
profit-based classification measures", 2014). At one loss alone only purchases count that one model approves and the
other doesn't, and two good models differ in few of them: it would take a year of defaults to see what log-loss sees in
weeks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import BASIS_POINTS, log_losses, weighted_mean, weighted_mean_error
from services.trainer.examples import Examples
from services.trainer.gates.dossier import Dossier
from services.trainer.gates.limits import GateLimits
from services.trainer.gates.statistics import Floats, above_zero_p
from services.trainer.gates.verdict import PERFORMANCE, GateVerdict
from shared.policy.economics import Economics

Approved = NDArray[np.bool_]
LOSSES = 31
"""Of a range, evenly spread."""


def performance(dossier: Dossier, limits: GateLimits) -> GateVerdict:
    """A champion of another feature set, which can't be compared, isn't beaten; one that can't be read, or none, leaves
    the rule to beat."""
    champion = dossier.champion
    comparisons = list(_compared(dossier, limits))
    passed = all(better for better, _ in comparisons)
    said = "; ".join(text for _, text in comparisons)
    if champion.probability is None:
        passed = passed and champion.absent
        said = f"no champion to beat: {champion.trouble or 'no model is in service'}; {said}"
    return GateVerdict(PERFORMANCE, passed, said)


def _compared(dossier: Dossier, limits: GateLimits) -> Iterator[tuple[bool, str]]:
    seen, mine, economics = dossier.holdout, dossier.probability, dossier.economics
    rule = seen.rule_approves != 0
    others: list[tuple[str, Floats, Floats]] = [
        ("the incumbent rule", _as_model(seen, rule), _earned(seen, dossier.approve, rule, economics))
    ]
    if dossier.champion.probability is not None:
        theirs = dossier.champion.probability
        earned = _earned_over_losses(seen, mine, theirs, economics, limits.loss_spread)
        others.insert(0, (f"champion {dossier.champion.version}", theirs, earned))
    for name, probability, earned in others:
        gained = log_losses(seen.label, probability) - log_losses(seen.label, mine)
        yield _said(name, "log-loss lower by", gained, seen.weight, limits.noise, 1.0, "")
        # In basis points of the volume asked for, as everywhere.
        volume = weighted_mean(seen.amount, seen.weight)
        yield _said(name, "profit higher by", earned, seen.weight, limits.profit_noise, BASIS_POINTS / volume, " bp")


def _earned(seen: Examples, approve: Approved, approved: Approved, economics: Economics) -> Floats:
    """[n] what each purchase earns more if one approves rather than the other, in the currency of its amount."""
    rate = np.where(seen.label == 1, -economics.loss_on_default, economics.margin_on_good)
    earned: Floats = (approve.astype(np.float64) - approved) * rate * seen.amount
    return earned


def _earned_over_losses(seen: Examples, mine: Floats, theirs: Floats, economics: Economics, spread: float) -> Floats:
    """[n] the same of two models, the mean over all losses; each approves what pays at that loss by its own word."""
    loss = economics.loss_on_default
    total = np.zeros(len(seen))
    for each in np.linspace((1 - spread) * loss, (1 + spread) * loss, LOSSES if spread else 1):
        assumed = replace(economics, loss_on_default=float(each))
        total += _earned(seen, mine < assumed.break_even, theirs < assumed.break_even, assumed)
    return total / (LOSSES if spread else 1)


def _said(
    name: str, what: str, difference: Floats, weight: Floats, noise: float, unit: float, unit_name: str
) -> tuple[bool, str]:
    mean, error = unit * weighted_mean(difference, weight), unit * weighted_mean_error(difference, weight)
    p = above_zero_p(difference, weight)
    better = p <= noise
    verb = "beats" if better else "does not beat"
    figures = f"{what} {mean:.4g}{unit_name} (standard error {error:.2g}, p = {p:.3g}, at most {noise:g} allowed)"
    return better, f"{verb} {name}: {figures}"


def _as_model(seen: Examples, approved: Approved) -> Floats:
    """The rule as if it gave probabilities: to what it approves and to what it doesn't, the rate at which these
    purchases did default. It is told the answers of this very hold-out, which favours the rule."""
    said = np.empty(len(seen))
    for which in (approved, ~approved):
        if which.any():
            said[which] = weighted_mean(seen.label[which], seen.weight[which])
    return said
