"""Train, validate, test: three spans of time, one after the other.

What this guarantees: no row of an earlier part is as late as any row of a later one, and rows of one moment stay
together. A customer may well appear in all three parts, as they do in service; that leaks nothing, because each row's
features were made from what lay before that row (they were logged with the decision), and a label is used in the part
where its purchase lies and nowhere else.

What it doesn't: labels of the train part may have matured after the validation part began. A model trained today on
matured outcomes always lags like that; the test part tells how it ranks purchases made after those it learnt from, not
how it ages over the months in between (drift watches those).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.trainer.examples import Examples, TooFewExamples

MIN_DEFAULTS = 10
"""In each part. With fewer, neither early stopping nor a hold-out says anything."""


@dataclass(frozen=True)
class Split:
    train: Examples
    validate: Examples
    test: Examples


def temporal_split(examples: Examples, validate_share: float, test_share: float) -> Split:
    """Cuts ordered examples by time so that the last parts have about these shares of the rows.

    Raises TooFewExamples where a part would have fewer than `MIN_DEFAULTS` defaults.
    """
    times, count = examples.occurred_us, len(examples)
    if count == 0:
        raise TooFewExamples("there is no matured example yet")
    validate_from, test_from = (
        # The first row of the moment at that place: rows of one moment never straddle a cut.
        int(np.searchsorted(times, times[min(int(count * share), count - 1)], side="left"))
        for share in (1 - validate_share - test_share, 1 - test_share)
    )
    split = Split(
        examples.take(slice(0, validate_from)),
        examples.take(slice(validate_from, test_from)),
        examples.take(slice(test_from, count)),
    )
    for name, part in (("train", split.train), ("validation", split.validate), ("test", split.test)):
        defaults = int(part.label.sum())
        if defaults < MIN_DEFAULTS or defaults == len(part):
            raise TooFewExamples(
                f"the {name} part has {len(part)} matured examples with {defaults} defaults; "
                f"at least {MIN_DEFAULTS} of them, and one good loan, are needed"
            )
    return split
