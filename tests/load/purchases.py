"""Purchases that a load is made of: each new, of customers who come again."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.contracts.identity import canonical_time
from tests.factories import transaction

CUSTOMERS = 2000
AGE = timedelta(seconds=1)
"""Of a purchase when it is asked about."""


@dataclass(frozen=True, slots=True)
class Purchase:
    id: str
    customer: str
    body: bytes


class Purchases(Iterator[Purchase]):
    """Without end. Two of these share customers and no purchase."""

    def __init__(self, customers: int = CUSTOMERS, prefix: str = "shopper") -> None:
        """`prefix`: of the customers' ids."""
        self._customers, self._prefix = customers, prefix
        self._run, self._dice, self._number = secrets.token_hex(4), random.Random(), 0

    def __next__(self) -> Purchase:
        return self.make(self._dice.randrange(self._customers), AGE)

    def make(self, customer: int, age: timedelta) -> Purchase:
        """The next one, of this customer, so long ago."""
        self._number += 1
        own, customer_id = f"{self._run}-{self._number}", f"{self._prefix}-{customer}"
        body = transaction(
            self._number,
            event_id=own,
            transaction_id=own,
            customer_id=customer_id,
            source="load",
            occurred_at=canonical_time(datetime.now(UTC) - age),
            amount=round(self._dice.lognormvariate(4.0, 0.8) + 5.0, 2),
        )
        return Purchase(own, customer_id, json.dumps(body).encode())
