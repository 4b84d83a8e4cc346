"""Whether as many default as the model says: of all, by how risky it says they are, and by segment.

The limit is a tolerance in log-odds: a segment is at fault where even probabilities moved by it leave more (or fewer)
defaults than chance would. All segments, both directions, share one chance of a false alarm (Holm).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.trainer.gates.dossier import Dossier, parts
from services.trainer.gates.limits import GateLimits
from services.trainer.gates.statistics import fewer_than_said_p, more_than_said_p, rejected
from services.trainer.gates.verdict import CALIBRATION, GateVerdict, of_faults
from shared.model_artifact.manifest import logit, sigmoid

BANDS = 5
"""Of equal counts, from what it says is safest to riskiest: a slope that is off shows in the outer ones."""


def calibration(dossier: Dossier, limits: GateLimits) -> GateVerdict:
    label, weight, customers = dossier.holdout.label, dossier.holdout.weight, dossier.customers
    shown = {sign: sigmoid(logit(dossier.probability) + sign * limits.miscalibration) for sign in (1, -1)}
    segments = [("all", np.ones(len(label), dtype=bool)), *bands(dossier.probability), *parts(dossier.groups.segments)]
    tests: list[tuple[float, str]] = []
    for name, rows in segments:
        said = float(dossier.probability[rows] @ weight[rows])
        found = float(label[rows] @ weight[rows])
        figures = f"{name}: {found:.0f} defaults of {int(rows.sum())}, {said:.1f} expected"
        for tail, sign in ((more_than_said_p, 1), (fewer_than_said_p, -1)):
            tests.append((tail(label[rows], shown[sign][rows], weight[rows], customers[rows]), figures))
    faults = [tests[place] for place in rejected([p for p, _ in tests], limits.false_alarms)]
    sound = f"{tests[0][1]}, and within {limits.miscalibration:g} in log-odds in each of {len(segments) - 1} segments"
    return of_faults(
        CALIBRATION,
        [f"{figures}, beyond {limits.miscalibration:g} in log-odds (p = {p:.2g})" for p, figures in faults],
        sound,
    )


def bands(probability: NDArray[np.float64]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Rows by how risky they are said to be."""
    place = np.empty(len(probability), dtype=int)
    place[np.argsort(probability, kind="stable")] = np.arange(len(probability))
    fifth = place * BANDS // max(len(probability), 1)
    return [(f"risk band {band + 1} of {BANDS}", fifth == band) for band in range(BANDS) if (fifth == band).any()]
