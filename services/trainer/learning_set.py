"""The point-in-time set: which examples a training learns from, and with which labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from services.trainer.examples import Examples
from services.trainer.families import ModelFamily
from services.trainer.maturity.known import Known
from services.trainer.maturity.labels import hazard_split
from services.trainer.split import Split, temporal_split
from shared.contracts.identity import epoch_micros, from_epoch_micros
from shared.model_artifact.manifest import DataWindow


@dataclass(frozen=True)
class LearningSet:
    split: Split
    window: DataWindow
    labels: dict[str, object] = field(default_factory=lambda: {"kind": "matured"})
    """For the model card: where the labels come from."""


def matured_set(examples: Examples, as_of_us: int, validate_share: float, test_share: float) -> LearningSet:
    """What has matured at that moment, with its final labels. Raises TrainingRefused where that is too little."""
    matured = examples.ordered().matured(as_of_us)
    split = temporal_split(matured, validate_share, test_share)
    return LearningSet(split, _window(split, as_of_us, matured.digest()))


def hazard_set(
    known: Known, candidates: Sequence[ModelFamily], validate_share: float, test_share: float
) -> LearningSet:
    """All that is known, with expected labels where a loan still runs. Raises TrainingRefused where that is too
    little."""
    wanted = dict.fromkeys(name for candidate in candidates for name in candidate.inputs.features)
    labelled = hazard_split(known, tuple(wanted), candidates[0].conditions.direction, validate_share, test_share)
    split = labelled.split
    digest = hashlib.sha256("".join(part.digest() for part in (split.train, split.validate, split.test)).encode())
    return LearningSet(
        split,
        _window(split, known.as_of_us, digest.hexdigest()),
        {
            "kind": "hazard",
            "with_an_expected_label": labelled.expected,
            "left_out": labelled.left_out,
            "hazard_by_instalments_and_period": {
                f"{n}, {k}": round(base, 6) for (n, k), base in sorted(labelled.hazard.periods.items())
            },
            "level_by_fortnight_youngest_first": [round(level, 6) for level in labelled.hazard.levels.tolist()],
            "test_part": "exact labels, never learnt from; later purchases were, with what is known of them",
        },
    )


def learnt_until_us(window: DataWindow) -> int:
    """The model of this window has learnt from no later purchase."""
    # A validation part after the test part: whatever was bought up to the training's own moment may be learnt from.
    return epoch_micros(window.as_of if window.validate_from > window.test_to else window.test_to)


ENOUGH_DEFAULTS = 50
"""Of what is judged by: with fewer, tests that look for a fault find none for want of power."""


def unseen(window: DataWindow, examples: Examples) -> Examples:
    """Of matured examples, those that the model of this window has not learnt from and that are later than it; where
    too few of them have defaulted to judge anything, its own test part as well."""
    times = examples.occurred_us
    later = times > learnt_until_us(window)
    if examples.label[later].sum() >= ENOUGH_DEFAULTS:
        return examples.take(later)
    own = (times >= epoch_micros(window.test_from)) & (times <= epoch_micros(window.test_to))
    own &= examples.mature_us <= epoch_micros(window.as_of)  # those of its time that matured since were learnt from
    return examples.take(own | later)


def _window(split: Split, as_of_us: int, data_sha256: str) -> DataWindow:
    def since(part: Examples) -> str:
        return from_epoch_micros(int(part.occurred_us[0]))

    return DataWindow(
        as_of=from_epoch_micros(as_of_us),
        train_from=since(split.train),
        validate_from=since(split.validate),
        test_from=since(split.test),
        test_to=from_epoch_micros(int(split.test.occurred_us[-1])),
        train_rows=_purchases(split.train),
        validate_rows=_purchases(split.validate),
        test_rows=_purchases(split.test),
        data_sha256=data_sha256,
    )


def _purchases(part: Examples) -> int:
    """What still runs has two rows."""
    return len(np.unique(part.event_id.astype(str)))
