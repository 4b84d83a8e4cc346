"""Whether what it gains on the whole it loses somewhere: against the champion, in each segment and each part of the
time, paired and beyond noise (Holm over all of them)."""

from __future__ import annotations

import numpy as np

from services.trainer.evaluate import log_losses, weighted_mean
from services.trainer.gates.dossier import Dossier, parts
from services.trainer.gates.limits import GateLimits
from services.trainer.gates.statistics import above_zero_p, rejected
from services.trainer.gates.verdict import STABILITY, GateVerdict, of_faults

SPANS = 3
"""Parts of the hold-out's time, of equal counts."""

MIN_DEFAULTS = 10
"""In a segment: with fewer, a mean of log-losses is not yet nearly normal. Smaller segments are left to calibration,
whose test is exact."""


def stability(dossier: Dossier, limits: GateLimits) -> GateVerdict:
    theirs, seen = dossier.champion.probability, dossier.holdout
    if theirs is None:
        return GateVerdict(STABILITY, True, "there is no champion to compare with by segment")
    lost = log_losses(seen.label, dossier.probability) - log_losses(seen.label, theirs)
    third = np.arange(len(seen)) * SPANS // len(seen)
    spans = {"part_of_the_time": np.array([f"{span + 1} of {SPANS}" for span in third], dtype=object)}
    segments = [
        (name, rows)
        for name, rows in parts({**dossier.groups.segments, **spans})
        if seen.label[rows].sum() >= MIN_DEFAULTS
    ]
    tests = [above_zero_p(lost[rows], seen.weight[rows], dossier.customers[rows]) for _, rows in segments]
    faults = [
        f"worse than champion {dossier.champion.version} for {name}: log-loss higher by "
        f"{weighted_mean(lost[rows], seen.weight[rows]):.4g} on {int(rows.sum())} rows (p = {tests[place]:.2g})"
        for place in rejected(tests, limits.false_alarms)
        for name, rows in [segments[place]]
    ]
    return of_faults(STABILITY, faults, f"nowhere worse than the champion beyond noise, in {len(segments)} segments")
