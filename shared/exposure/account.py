"""One purchase's part in the account. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import IntEnum

from shared.contracts.events import Transaction
from shared.contracts.identity import epoch_micros
from shared.contracts.money import minor_units
from shared.feature_definitions.state import terms_of
from shared.feature_definitions.windows import day_of
from shared.policy import Policy

_WHOLE = Decimal(1)


class Standing(IntEnum):
    """Whether a purchase counts."""

    COUNTS = 0
    RELEASED = -1
    """Declined, or in review beyond the limit: kept, since a reviewer's verdict may let it through yet."""
    CANCELLED = -2
    """Called off: no verdict makes it count again."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a purchase adds, and when it falls due: equal parts, one period apart, the last one takes the remainder."""

    event_id: str
    cents: int
    """Of the size of US dollars (`units_per_usd` of the policy): limits compare sizes."""
    day: int
    """UTC day of the purchase, counted from 1970."""
    period_days: int
    instalments: int

    @property
    def last_due(self) -> int:
        return self.day + self.period_days * self.instalments

    def open_on(self, day: int) -> int:
        """Cents that fall due on a later day."""
        due = min(max(0, (day - self.day) // self.period_days), self.instalments)
        return 0 if due == self.instalments else self.cents - self.cents // self.instalments * due

    def text(self) -> str:
        """Everything but the event, as the header of the decision carries it."""
        return f"{self.cents} {self.day} {self.period_days} {self.instalments}"

    @staticmethod
    def parse(event_id: str, text: str) -> Reservation:
        """Raises ValueError."""
        cents, day, period, instalments = (int(part) for part in text.split(" "))
        # Far beyond any purchase, and within what Redis takes for a time to keep something.
        sound = 0 <= cents <= 10**15 and abs(day) <= 10**6 and 1 <= period <= 10**3 and 1 <= instalments <= 10**3
        if not sound:
            raise ValueError(f"no reservation: {text!r}")
        return Reservation(event_id, cents, day, period, instalments)


def reservation_of(transaction: Transaction, policy: Policy) -> Reservation:
    amount, _ = minor_units(transaction.amount, transaction.currency)
    usd = policy.usd_of_minor_units(amount, transaction.currency)
    instalments, period_days = terms_of(transaction)
    return Reservation(
        transaction.event_id,
        int((usd * 100).quantize(_WHOLE, rounding=ROUND_HALF_EVEN)),
        day_of(epoch_micros(transaction.occurred_at)),
        period_days,
        instalments,
    )
