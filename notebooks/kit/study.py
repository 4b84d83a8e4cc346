"""The purchases that the notebooks study, with the rates that the simulator tossed around.

A backfill has put them into the warehouse; `make research` writes them once into a file, so that no notebook waits for
the query again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from services.trainer.ceiling import read_hidden
from services.trainer.evaluate import auc
from services.trainer.examples import Examples
from services.trainer.split import Split
from shared.feature_definitions import FEATURES

DAY_US = 86_400_000_000
TRAIN_DAYS, VALIDATE_DAYS, TEST_DAYS = 60, 15, 15

PURCHASE = tuple(feature.name for feature in FEATURES if not feature.rolling)
PAST = tuple(feature.name for feature in FEATURES if feature.rolling)
EVERYTHING = (*PURCHASE, *PAST)


@dataclass(frozen=True)
class Study:
    """All purchases of one source, in order of time, every outcome known: as only hindsight, or a simulator, has it."""

    examples: Examples
    rate: NDArray[np.float64]
    """[n] the expected rate that each label was tossed around: the best that anybody could know of the event."""

    @cached_property
    def day(self) -> NDArray[np.int64]:
        """[n] whole days since the first purchase's day."""
        days = self.examples.occurred_us // DAY_US
        return np.asarray(days - days[0])

    def days(self, first: int, after: int) -> NDArray[np.bool_]:
        """[n] whether each purchase lies in the days from `first` on, before `after`."""
        return np.asarray((self.day >= first) & (self.day < after))

    @cached_property
    def split(self) -> Split:
        """60 days to learn from, 15 to choose on, 15 to judge by."""
        ends = np.cumsum([0, TRAIN_DAYS, VALIDATE_DAYS, TEST_DAYS])
        parts = (self.examples.take(self.days(int(a), int(b))) for a, b in pairwise(ends))
        return Split(*parts)

    @cached_property
    def test_rate(self) -> NDArray[np.float64]:
        first = TRAIN_DAYS + VALIDATE_DAYS
        return self.rate[self.days(first, first + TEST_DAYS)]

    @cached_property
    def ceiling(self) -> float:
        """AUC of the expected rate on the test part."""
        return auc(self.split.test.label, self.test_rate)


def study(generator: str = "bnpl") -> Study:
    """The study's purchases of a generator: `bnpl` or `bnpl_history`. Where they lie: `RESEARCH_DATA`."""
    folder = Path(os.environ.get("RESEARCH_DATA", ".local/research")) / generator
    table = pyarrow.parquet.read_table(folder / "examples.parquet")
    examples = Examples.of_arrow(table).ordered()
    hidden = read_hidden(folder / "hidden.jsonl")
    keys = zip(examples.transaction_id, examples.customer_id, examples.occurred_us, strict=True)
    rate = np.array([hidden[transaction, customer, int(occurred)] for transaction, customer, occurred in keys])
    return Study(examples, rate)
