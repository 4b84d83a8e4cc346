"""Training rows out of what is known: exact labels where a loan has run its course, expected ones where it still runs.

A purchase that still runs and has missed nothing is neither good nor bad. It stands in the set twice: as a default
with the weight q, its probability of one in the periods to come, and as a good loan with 1 - q. Every loss, figure and
fit that is a weighted sum over rows then has, in expectation over what is still to come, the value that it would have
with the final labels: unbiased wherever q is. (The expectation step of an EM, taken once, from a model of the times of
defaults that needs no final labels.)

Its q looks at the purchase's inputs. One and the same q for all purchases of an age would get the mean right and pull
every young purchase towards it: the slopes would come out too flat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from services.trainer.examples import Examples, TooFewExamples
from services.trainer.maturity.hazard import Hazard, fit_hazard
from services.trainer.maturity.known import Known
from services.trainer.split import MIN_DEFAULTS, Split, temporal_split
from services.trainer.train import informative_features, one_thread

MOST_VALIDATING = 0.5
"""Of the purchases after the test part that the validation part may take: the rest teaches. It is every second one of
the latest, so with this much it reaches back to the test part."""


@dataclass(frozen=True)
class Labelled:
    """A split whose test part has exact labels, and whose others have what is known of purchases to this day."""

    split: Split
    hazard: Hazard
    expected: int
    """Purchases with an expected label."""
    left_out: int
    """Purchases that nothing can be said of: not yet watched, silent, or of a plan whose end nobody has reached."""


def sayable(known: Known, hazard: Hazard) -> Known:
    """Those that something can be said of: left out is what was watched through no period, what is silent, and what
    still runs on a plan whose end the hazard hasn't seen."""
    return known.take((known.watched > 0) & ~known.silent & (hazard.covers(known) | ~known.open))


def expected_labels(known: Known, hazard: Hazard) -> Examples:
    """A row for each purchase whose outcome is settled, two for each that still runs, in the order of the purchases.
    Only for what is `sayable`."""
    running = np.flatnonzero(known.open)
    whole = known.examples.weight[running]
    chance = hazard.still_to_default(known.take(running))
    weight = known.examples.weight.copy()
    weight[running] = whole * (1 - chance)
    twice = np.concatenate([np.arange(len(known)), running])
    order = np.argsort(twice, kind="stable")
    return replace(
        known.examples.take(twice[order]),
        label=np.concatenate([known.examples.label, np.ones(len(running), dtype=np.int8)])[order],
        weight=np.concatenate([weight, whole * chance])[order],
    )


def hazard_split(
    known: Known, wanted: tuple[str, ...], direction: Callable[[str], int], validate_share: float, test_share: float
) -> Labelled:
    """The test part of a matured-window training, and everything else that is known to learn from.

    The test part is the latest matured purchases, with their exact labels, and nothing of them is learnt from. Unlike
    in a matured-window training what is learnt from may be later than it: that is the point of it. So the figures on
    the test part say how well purchases of its time are ranked by one who also knows of those after it.

    The validation part is every second of the latest purchases: the calibration's level is today's, and the others of
    that time teach. `wanted`: what the hazard may look at. Raises TooFewExamples where a part has too few known
    defaults.
    """
    known = known.take(np.lexsort((known.examples.event_id.astype(str), known.examples.occurred_us)))
    test = temporal_split(known.settled(), validate_share, test_share).test
    others = known.take(~np.isin(known.examples.event_id.astype(str), test.event_id.astype(str)))
    with one_thread():
        heard = others.take(~others.silent)  # a plan that ended without a word was not repaid, for all that is known
        hazard = fit_hazard(heard, informative_features(heard.examples.take(heard.watched > 0), wanted), direction)
    learnt = sayable(others, hazard)
    later = np.flatnonzero(learnt.examples.occurred_us > test.occurred_us[-1])
    validating = int(min(validate_share * (len(learnt) + len(test)), MOST_VALIDATING * len(later)))
    chosen = np.zeros(len(learnt), dtype=bool)
    chosen[later[::-1][: 2 * validating : 2]] = True
    train, validate = learnt.take(~chosen), learnt.take(chosen)
    for name, part in (("train", train), ("validation", validate)):
        if (defaults := int(part.defaulted.sum())) < MIN_DEFAULTS:
            raise TooFewExamples(
                f"the {name} part has {len(part)} purchases with {defaults} defaults known so far; "
                f"at least {MIN_DEFAULTS} of them are needed"
            )
    return Labelled(
        split=Split(expected_labels(train, hazard), expected_labels(validate, hazard), test),
        hazard=hazard,
        expected=int(learnt.open.sum()),
        left_out=len(others) - len(learnt),
    )
