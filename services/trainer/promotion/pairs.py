"""What two models said of the same purchases: of one that decided and one in shadow, whichever is the candidate.
Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import log_losses
from services.trainer.experiments.exposures import Exposures
from shared.contracts.events import ShadowScore
from shared.feature_definitions.windows import MICROS_PER_DAY

_shadow = msgspec.json.Decoder(list[ShadowScore])


@dataclass(frozen=True)
class Side:
    """Of each pair."""

    probability: NDArray[np.float64]
    verdict: NDArray[np.object_]
    """What policy and model alone would decide."""


@dataclass(frozen=True)
class Pairs:
    """Parallel columns, in the order of the decisions."""

    customer_id: NDArray[np.object_]
    occurred_us: NDArray[np.int64]
    deciding: Side
    beside: Side
    age_bracket: NDArray[np.object_]
    state: NDArray[np.object_]
    defaulted: NDArray[np.float64]
    """1, 0, or NaN where it wasn't lent or hasn't matured."""

    def __len__(self) -> int:
        return len(self.customer_id)

    @property
    def days(self) -> float:
        return days_of(self.occurred_us)

    def take(self, which: NDArray[Any]) -> Pairs:
        def some(value: Any) -> Any:
            return Side(value.probability[which], value.verdict[which]) if isinstance(value, Side) else value[which]

        return Pairs(**{field.name: some(getattr(self, field.name)) for field in fields(self)})

    def first_of_customers(self) -> Pairs:
        """A customer's purchases resemble each other: evidence counts the first."""
        return self.take(np.sort(np.unique(self.customer_id.astype(str), return_index=True)[1]))

    @property
    def matured(self) -> Pairs:
        return self.take(~np.isnan(self.defaulted))

    def log_loss_gained(self, *, candidate_decides: bool) -> NDArray[np.float64]:
        """Of matured pairs: the other's log-loss less the candidate's, in nats."""
        mine, other = (self.deciding, self.beside) if candidate_decides else (self.beside, self.deciding)
        label = self.defaulted.astype(np.int8)
        return log_losses(label, other.probability) - log_losses(label, mine.probability)


def days_of(occurred_us: NDArray[np.int64]) -> float:
    """How long these purchases went on, in event time: what lies between the first twentieth of them and the last, as
    long as that of a steady stream would say. From the first to the last would be days where one came late."""
    if len(occurred_us) == 0:
        return 0.0
    early, late = np.quantile(occurred_us, [0.05, 0.95])
    return float(late - early) / 0.9 / MICROS_PER_DAY


def pairs(exposures: Exposures, deciding: str, beside: str) -> Pairs:
    """Of all purchases that the one version decided, and that the other had a say on in shadow."""
    mine = exposures.take(exposures.model_version == deciding)
    said = [_of(text, beside) for text in mine.shadow]
    both = np.array([each is not None for each in said], dtype=bool)
    rows, heard = mine.take(both), [each for each in said if each is not None]
    return Pairs(
        customer_id=rows.customer_id,
        occurred_us=rows.occurred_us,
        deciding=Side(rows.probability, rows.own),
        beside=Side(
            np.array([each.probability_of_default for each in heard], dtype=np.float64),
            np.array([each.decision.value for each in heard], dtype=object),
        ),
        age_bracket=rows.age_bracket,
        state=rows.state,
        defaulted=np.where(rows.lent, rows.defaulted, np.nan),
    )


def _of(text: str, version: str) -> ShadowScore | None:
    if version not in text:  # most of the time, and much cheaper than to decode it
        return None
    return next((each for each in _shadow.decode(text) if each.model_version == version), None)
