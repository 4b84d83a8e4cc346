"""Better than the champion and than the incumbent rule, in log-loss and in profit, beyond noise.

All differences are paired, row by row, and weighted; noise is that of the draw of customers, since one's purchases
resemble each other. A candidate has to win each of the four comparisons at the stated chance of error; since it needs
all of them, the chance that one that fails any passes isn't raised by their number (Berger, "Multiparameter hypothesis
testing and acceptance sampling", 1982).

Profit against the champion is that of both over a range of losses given default, each with its own break-even (the idea
of Verbraken, Bravo, Weber and Baesens, "Development and application of consumer credit scoring models using
profit-based classification measures", 2014). At one loss alone only purchases count that one model approves and the
other doesn't, and two good models differ in few of them: it would take a year of defaults to see what log-loss sees in
weeks. At the stated loss, by which decisions are made, the candidate must not earn less beyond noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import BASIS_POINTS, earnings, log_losses, weighted_mean, weighted_mean_error
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
    """A champion that serves and can't be compared (of another feature set, or signed by a key that isn't trusted here)
    isn't beaten; one that can't be read, or none, leaves the rule to beat."""
    champion = dossier.champion
    comparisons = list(_compared(dossier, limits))
    passed = all(better for better, _ in comparisons)
    said = "; ".join(text for _, text in comparisons)
    if champion.probability is None:
        passed = passed and champion.absent
        said = f"{champion.unasked}; {said}"
    return GateVerdict(PERFORMANCE, passed, said)


def _compared(dossier: Dossier, limits: GateLimits) -> Iterator[tuple[bool, str]]:
    seen, mine, economics = dossier.holdout, dossier.probability, dossier.economics
    rule = seen.rule_approves != 0
    # In basis points of the volume asked for, as everywhere.
    bp = BASIS_POINTS / weighted_mean(seen.amount, seen.weight)
    if dossier.champion.probability is not None:
        name, theirs = f"champion {dossier.champion.version}", dossier.champion.probability
        yield _gained(name, dossier, theirs, limits)
        losses = _losses(economics.loss_on_default, limits.loss_spread)
        earned = np.mean([_earned_at(seen, mine, theirs, economics, loss) for loss in losses], axis=0)
        over = "profit" if len(losses) == 1 else f"profit over losses of {losses[0]:.0%} to {losses[-1]:.0%}"
        yield _said(name, f"{over} higher by", earned, dossier, limits.profit_noise, bp, " bp")
        at_stated = _earned_at(seen, mine, theirs, economics, economics.loss_on_default)
        yield _no_less(name, at_stated, dossier, limits.profit_noise, bp)
    name = "the incumbent rule"
    yield _gained(name, dossier, _as_model(seen, rule), limits)
    earned = _earned(seen, dossier.approve, rule, economics)
    yield _said(name, "profit higher by", earned, dossier, limits.profit_noise, bp, " bp")


def _gained(name: str, dossier: Dossier, theirs: Floats, limits: GateLimits) -> tuple[bool, str]:
    label = dossier.holdout.label
    gained = log_losses(label, theirs) - log_losses(label, dossier.probability)
    return _said(name, "log-loss lower by", gained, dossier, limits.noise, 1.0, "")


def _earned(seen: Examples, approve: Approved, approved: Approved, economics: Economics) -> Floats:
    """[n] what each purchase earns more if one approves rather than the other, in the size of US dollars."""
    earned: Floats = (approve.astype(np.float64) - approved) * earnings(seen.label, economics) * seen.amount
    return earned


def _earned_at(seen: Examples, mine: Floats, theirs: Floats, economics: Economics, loss: float) -> Floats:
    """[n] the same of two models, each of which approves what pays at that loss by its own word."""
    assumed = replace(economics, loss_on_default=loss)
    return _earned(seen, mine < assumed.break_even, theirs < assumed.break_even, assumed)


def _losses(stated: float, spread: float) -> list[float]:
    """Evenly from so much below the stated loss to so much above it, as a share of it; none beyond the whole amount,
    unless the stated one is."""
    if spread == 0:
        return [stated]
    highest = min((1 + spread) * stated, max(stated, 1.0))
    return [float(loss) for loss in np.linspace((1 - spread) * stated, highest, LOSSES)]


def _said(
    name: str, what: str, difference: Floats, dossier: Dossier, noise: float, unit: float, unit_name: str
) -> tuple[bool, str]:
    weight, customers = dossier.holdout.weight, dossier.customers
    mean, error = unit * weighted_mean(difference, weight), unit * weighted_mean_error(difference, weight, customers)
    p = above_zero_p(difference, weight, customers)
    better = p <= noise
    verb = "beats" if better else "does not beat"
    figures = f"{what} {mean:.4g}{unit_name} (standard error {error:.2g}, p = {p:.3g}, at most {noise:g} allowed)"
    return better, f"{verb} {name}: {figures}"


def _no_less(name: str, earned: Floats, dossier: Dossier, noise: float, bp: float) -> tuple[bool, str]:
    weight, customers = dossier.holdout.weight, dossier.customers
    mean, error = bp * weighted_mean(earned, weight), bp * weighted_mean_error(earned, weight, customers)
    p = above_zero_p(-earned, weight, customers)
    fine = p > noise
    verb = "no less than" if fine else "less than"
    return fine, f"{verb} {name} at the stated loss: {mean:+.4g} bp (standard error {error:.2g}, p of less = {p:.3g})"


def _as_model(seen: Examples, approved: Approved) -> Floats:
    """The rule as if it gave probabilities: to what it approves and to what it doesn't, the rate at which these
    purchases did default. It is told the answers of this very hold-out, which favours the rule."""
    said = np.empty(len(seen))
    for which in (approved, ~approved):
        if which.any():
            said[which] = weighted_mean(seen.label[which], seen.weight[which])
    return said
