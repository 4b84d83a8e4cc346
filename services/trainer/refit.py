"""A chosen model whose fit takes nothing from the validation part learns from that part too, before it is exported.

The validation part is there to stop a fit and to choose; a model that needs it for the choice alone would otherwise
never see its newest fifth, and be calibrated on that fifth alone. Instead it is fitted again on both parts, and its
slope found by cross-fitting: each span of time is scored by a model that learnt from the other spans, so that no score
is of a row that its model has seen (Stone, 1974; for calibration, Platt, 1999). The level is that of the
validation part alone, which lies last: an older one is not today's. The test part is not touched.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import structlog
from numpy.typing import NDArray

from services.trainer.calibration import fit_level, fit_platt
from services.trainer.families import Sample
from services.trainer.split import MIN_DEFAULTS, Split
from services.trainer.train import Trained, one_thread, sample_of

log = structlog.get_logger()

SPANS = 5
"""Each model of the cross-fit then learns from four fifths, nearly what the last one learns from."""


def refitted(chosen: Trained, split: Split) -> Trained:
    """Fitted on the train and validation part, where the candidate allows it, both have enough to cut and nothing
    fails; else as it was. The validation losses stay those of the choice, on rows that the model had not seen then."""
    if not chosen.candidate.learns_from_validation:
        return chosen
    names, candidate = chosen.feature_names, copy.deepcopy(chosen.candidate)
    train, validate = (sample_of(part, names) for part in (split.train, split.validate))
    both = Sample(
        np.concatenate([train.matrix, validate.matrix]),
        np.concatenate([train.label, validate.label]),
        np.concatenate([train.weight, validate.weight]),
    )
    spans = _spans(np.concatenate([split.train.occurred_us, split.validate.occurred_us]))
    if any(both.label[spans != span].sum() < MIN_DEFAULTS for span in range(SPANS)):
        return chosen
    unseen = np.empty(len(both.label))
    try:
        with one_thread():
            for span in range(SPANS):
                out = spans == span
                if out.any():
                    candidate.fit(names, _of(both, ~out), _of(both, out))
                    unseen[out] = candidate.raw_probability(both.matrix[out])
            candidate.fit(names, both, both)
    except Exception as error:  # of a plug-in, maybe, that didn't fail before
        log.error("family_failed", model=candidate.name, exc_info=error)
        return chosen
    slope = fit_platt(unseen, both.label, both.weight).slope
    # Of the model that is kept: those of the cross-fit never saw what is newest. One number on so many rows that were
    # seen flatters nobody, unlike a slope.
    calibration = fit_level(slope, candidate.raw_probability(validate.matrix), validate.label, validate.weight)
    return replace(chosen, candidate=candidate, calibration=calibration, fitted_on="the train and validation part")


def _spans(occurred_us: NDArray[np.int64]) -> NDArray[np.intp]:
    """[n] which of the spans, of about as many rows each; rows of one moment are in the same."""
    ordered = np.sort(occurred_us)
    begins = ordered[[len(ordered) * span // SPANS for span in range(1, SPANS)]]
    return np.searchsorted(begins, occurred_us, side="right")


def _of(sample: Sample, which: NDArray[np.bool_]) -> Sample:
    return Sample(sample.matrix[which], sample.label[which], sample.weight[which])
