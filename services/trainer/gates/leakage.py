"""Whether a model has seen the answer.

By name and lineage: an input has to be declared among the features, since these are made of nothing that came after the
purchase (a test of theirs holds them to it). What isn't declared is of unknown origin, and where its name says that it
is made of a label, a repayment or a decision, that is said. By what it tells: no single input may tell the label as
well as nothing known at a checkout can.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import auc
from services.trainer.gates.dossier import Dossier
from services.trainer.gates.verdict import LEAKAGE, GateVerdict, of_faults
from shared.feature_definitions import MODEL_FEATURES

MOST_TOLD_BY_ONE = 0.8
"""AUC of one feature alone. Nothing that is known at a checkout tells so much of a default; what does has seen it."""

SURE = 3.0
"""Standard errors by which one feature's AUC must exceed that: some sixty are looked at, some known of a few rows."""

AFTER_THE_FACT = {
    "the label": frozenset({"label", "target", "outcome", "defaulted", "default", "will", "charged", "bad"}),
    "a repayment": frozenset({"repaid", "paid", "missed", "late", "delinquent", "dpd", "collected", "recovered"}),
    "a decision": frozenset(
        {"decision", "decided", "verdict", "approved", "declined", "reviewed", "score", "probability"}
    ),
}
"""Words in the names of what is known only after the purchase. They accuse nothing that is declared: a customer's
earlier defaults are known at a checkout."""


def leakage(dossier: Dossier, declared: Collection[str] = MODEL_FEATURES) -> GateVerdict:
    """`declared`: features with a known origin."""
    names = dossier.files.manifest.feature_names
    faults = [*of_lineage(names, declared), *of_single_features(dossier, names)]
    return of_faults(LEAKAGE, faults, f"all {len(names)} inputs are declared, and none alone tells the label")


def of_lineage(names: Sequence[str], declared: Collection[str]) -> Iterator[str]:
    """What is wrong with where each input comes from."""
    for name in names:
        if name in declared:
            continue
        words = set(name.lower().split("_"))
        made_of = next((what for what, marks in AFTER_THE_FACT.items() if marks & words), None)
        said = f"its name says that it is made of {made_of}" if made_of else "nobody declared where it comes from"
        yield f"{name} is no declared feature: {said}"


def of_single_features(dossier: Dossier, names: Sequence[str]) -> Iterator[str]:
    """Inputs that alone tell the label better than `MOST_TOLD_BY_ONE`, where they are known or by whether they are."""
    seen = dossier.holdout
    label, matrix = seen.label, seen.columns(tuple(names))
    for place, name in enumerate(names):
        known = ~np.isnan(matrix[:, place])
        for what, rows, values in (
            (name, known, matrix[:, place]),
            (f"whether {name} is known", np.ones(len(label), dtype=bool), known.astype(np.float32)),
        ):
            told, error = _told(label[rows], values[rows], seen.weight[rows])
            if told - SURE * error > MOST_TOLD_BY_ONE:
                yield f"{what} alone tells the label: AUC {told:.3f}, at most {MOST_TOLD_BY_ONE:g} is plausible"


def _told(label: NDArray[np.int8], values: NDArray[np.float32], weight: NDArray[np.float64]) -> tuple[float, float]:
    """AUC, whichever way the values point, and its standard error (Hanley and McNeil, "The meaning and use of the area
    under a receiver operating characteristic curve", 1982); 0.5 and 0 where there is nothing to tell apart."""
    bad, good = int(label.sum()), int(len(label) - label.sum())
    if bad == 0 or good == 0:
        return 0.5, 0.0
    told = auc(label, values, weight)
    told = max(told, 1 - told)
    one, other = told / (2 - told), 2 * told**2 / (1 + told)
    variance = told * (1 - told) + (bad - 1) * (one - told**2) + (good - 1) * (other - told**2)
    return told, sqrt(variance / (bad * good))
