"""How well anybody could rank these purchases: for evaluation only, and only where a simulator made them.

The simulator can write the probabilities that it tossed with to a file of its own, apart from the stream. The AUC of
its expected rate on the same purchases is the most that a model of the event can reach; the rest is luck. Nothing here
is called by what trains or chooses a model.

The file has one JSON object a line with at least `transaction_id`, `customer_id`, `timestamp` and `expected_rate`, ids
and time as they stood in the source's event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import auc
from services.trainer.examples import Examples, TrainingRefused
from shared.contracts.identity import EPOCH

_MICROSECOND = EPOCH.resolution
_SCOPE_SEPARATOR = "-"
"""Before it a customer's id is the source's own; what follows tells people apart that the source gave one id."""


class HiddenEvent(msgspec.Struct, frozen=True):
    transaction_id: str
    customer_id: str
    timestamp: str
    expected_rate: float


Key = tuple[str, str, int]


@dataclass(frozen=True)
class Ceiling:
    auc: float
    """Of the expected rate."""
    model_auc: float
    """Of the model, on the very same events."""
    events: int
    unknown: int
    """Events of the hold-out that the file doesn't have: from another source."""


def read_hidden(path: Path) -> dict[Key, float]:
    """Expected rate by transaction, the source's customer id and time. Raises TrainingRefused for a file that can't be
    read as such. Two streams may use the same ids at the same moment: such keys are left out, for they name no one."""
    decoder = msgspec.json.Decoder(HiddenEvent)
    rates: dict[Key, float] = {}
    try:
        with path.open("rb") as lines:
            for line in lines:
                if line.strip():
                    event = decoder.decode(line)
                    key = (event.transaction_id, event.customer_id, _micros(event.timestamp))
                    known = rates.get(key)
                    rates[key] = event.expected_rate if known in (None, event.expected_rate) else math.nan
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise TrainingRefused(f"the hidden file {path.name} can't be read: {error}") from None
    return {key: rate for key, rate in rates.items() if not math.isnan(rate)}


def ceiling(holdout: Examples, probability: NDArray[np.float64], hidden: dict[Key, float]) -> Ceiling:
    """The best possible and the model's AUC, paired: on the events of the hold-out that the file knows.

    Raises TrainingRefused if it knows none.
    """
    rates = np.array(
        [
            hidden.get((transaction, customer.split(_SCOPE_SEPARATOR)[0], int(occurred)), math.nan)
            for transaction, customer, occurred in zip(
                holdout.transaction_id, holdout.customer_id, holdout.occurred_us, strict=True
            )
        ]
    )
    known = ~np.isnan(rates)
    if not known.any():
        raise TrainingRefused("the hidden file knows none of the hold-out's events: is it of another run?")
    label, weight = holdout.label[known], holdout.weight[known]
    return Ceiling(
        auc=auc(label, rates[known], weight),
        model_auc=auc(label, probability[known], weight),
        events=int(known.sum()),
        unknown=int((~known).sum()),
    )


def _micros(timestamp: str) -> int:
    """Microseconds since 1970; the source's times are naive and mean UTC."""
    moment = datetime.fromisoformat(timestamp)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // _MICROSECOND
