"""The review queue as an operator goes through it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from services.console import wording
from services.console.queries.query import Row

LABELLED = 8
"""Characters of an event's id in a label."""


@dataclass(frozen=True, slots=True)
class Waiting:
    event_id: str
    customer_id: str
    decided_at: datetime
    amount: Decimal | None
    currency: str | None
    probability: float | None
    expected_loss: float | None
    reasons: list[str]
    degraded: str

    @property
    def label(self) -> str:
        money = wording.money(self.amount, self.currency)
        # The event too: of two choices with the same words the page takes the last.
        return f"{wording.moment(self.decided_at)} · {money} · {self.customer_id} · {self.event_id[:LABELLED]}"


def queue(rows: Sequence[Row], purchases: Mapping[str, Row], sent: Collection[str]) -> list[Waiting]:
    """Those that wait, each once, less those whose verdict was just sent and isn't in the warehouse yet."""
    found: list[Waiting] = []
    passed = set(sent)
    for row in rows:
        if row["event_id"] in passed:
            continue
        passed.add(row["event_id"])
        purchase = purchases.get(row["event_id"], {})
        found.append(
            Waiting(
                row["event_id"], row["customer_id"], row["prediction_timestamp"], purchase.get("amount"),
                purchase.get("currency"), row["probability_of_default"], row["expected_loss"],
                wording.reasons(row["reasons"]), wording.degraded(row["degraded"]),
            )
        )  # fmt: skip
    return found
