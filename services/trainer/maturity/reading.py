"""Reads from the warehouse what was known of purchases at a moment."""

from __future__ import annotations

import numpy as np

from services.trainer.examples import TrainingRefused
from services.trainer.maturity.known import NONE_YET, Known, Outcomes, known_at
from services.trainer.queries import examples_query
from services.trainer.warehouse import Warehouse
from shared.contracts.identity import from_epoch_micros
from shared.policy.exploration import Propensity
from shared.warehouse import views


def known_purchases(warehouse: Warehouse, as_of_us: int, feature_set: str, propensity: Propensity) -> Known:
    """Every purchase that was made and lent by then, with what was known of it then: with an outcome or without.

    A correction that came later is not known yet: what it corrects is. Raises TrainingRefused where there is no
    purchase, and what `propensity` does.
    """
    seen = views.latest_outcomes(f"observed_at <= TIMESTAMP_MICROS({as_of_us:d})")
    source = views.examples(seen, "LEFT JOIN").replace("{project}", warehouse.project)
    which = f"e.occurred_at <= TIMESTAMP_MICROS({as_of_us:d}) AND e.mature_at IS NOT NULL"
    select = examples_query(warehouse.project, feature_set, f"({source})", which)
    read = warehouse.examples(select, feature_set, propensity)
    if read is None:
        moment = from_epoch_micros(as_of_us)
        raise TrainingRefused(f"no purchase of the feature set {feature_set} was lent by {moment}")
    examples, found = read
    outcomes = Outcomes(
        observed_us=np.array(
            [NONE_YET if at is None else at for at in found["outcome_us"].to_pylist()], dtype=np.int64
        ),
        defaulted=np.array([bool(bad) for bad in found["defaulted"].to_pylist()]),
        missed_days=np.array(found["missed_days"].to_pylist(), dtype=np.float64),  # None becomes NaN
        source=np.array(found["source"].to_pylist(), dtype=object),
    )
    return known_at(as_of_us, examples, outcomes)
