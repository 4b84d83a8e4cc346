"""What happens in the year, and on which day."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass
from datetime import date, datetime, timedelta

FIRST = date(2025, 1, 1)
"""All of the year lies in the past of every clock: what comes from the future is refused."""

ATTRIBUTES_STRENGTH = 0.5
"""Half of the purchases become risky ones; half of the new customers have a low credit band."""
LAW_STRENGTH = 1.0
"""What default depends on has moved from the customer to the purchase, and its odds have doubled."""
MATURITY_DAYS = 84
"""Of the longest plan: six instalments, two weeks apart."""


@dataclass(frozen=True)
class YearPlan:
    days: int
    daily: int
    attributes_day: int
    law_day: int
    seed: int
    first: date = FIRST

    @staticmethod
    def of(arguments: Namespace) -> YearPlan:
        return YearPlan(arguments.days, arguments.daily, arguments.attributes, arguments.law, arguments.seed)

    @property
    def regime(self) -> str:
        """As SIMULATOR__REGIME has it."""
        changes = (("attributes", self.attributes_day, ATTRIBUTES_STRENGTH), ("law", self.law_day, LAW_STRENGTH))
        begin = datetime(self.first.year, self.first.month, self.first.day)  # noqa: DTZ001 - event times are naive
        return json.dumps(
            [
                {"at": (begin + timedelta(days=day)).isoformat(), "kind": kind, "strength": strength}
                for kind, day, strength in changes
            ]
        )

    @property
    def last(self) -> date:
        return self.first + timedelta(days=self.days - 1)

    @property
    def backfill(self) -> list[str]:
        """Arguments of the ingestor."""
        return [
            "backfill", "--start", str(self.first), "--end", str(self.last), "--daily", str(self.daily),
            "--seed", str(self.seed),
        ]  # fmt: skip
