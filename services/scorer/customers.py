"""The rolling features of a customer, as a purchase of this moment would find them."""

from __future__ import annotations

from typing import Protocol

import msgspec

from services.scorer.checkout import Unavailable
from services.scorer.decider import Clock, utc_now
from services.scorer.ports import States
from shared.contracts.events import AsOf
from shared.contracts.identity import canonical_time, epoch_micros, partition_of
from shared.contracts.pseudonyms import OFF, Kind, Pseudonyms
from shared.feature_definitions import FEATURE_SET_VERSION, CustomerState
from shared.feature_definitions.stored import LayoutMismatch
from shared.feature_definitions.vector import customer_features
from shared.feature_state import PartitionCountMismatch
from shared.kafka.errors import TransientError


class CustomerFeatures(msgspec.Struct, frozen=True):
    customer_id: str
    computed_at: str
    as_of: AsOf
    """Offsets of the customer's partition up to which records are in it."""
    currency: str
    """Of the amounts: that of the customer's latest purchase."""
    feature_set_version: str
    features: dict[str, float | None]


class Guard(Protocol):
    async def __call__(self) -> None: ...


class Customers:
    def __init__(
        self, states: States, confirm: Guard, *, partitions: int, pseudonyms: Pseudonyms = OFF, clock: Clock = utc_now
    ) -> None:
        """`confirm`: raises where the states in Redis must not be used."""
        self._states = states
        self._confirm = confirm
        self._partitions = partitions
        self._pseudonyms = pseudonyms
        self._clock = clock

    async def features(self, customer_id: str) -> bytes | None:
        """None for a customer of whom no purchase is known. Raises Unavailable."""
        partition = partition_of(customer_id.encode(), self._partitions)
        name = self._pseudonyms.of(Kind.CUSTOMER, customer_id)
        try:
            await self._confirm()
            ((stored, position),) = await self._states.read_for_requests([(partition, name)])
            state = CustomerState.decode(stored)
        except (TransientError, PartitionCountMismatch, LayoutMismatch) as error:
            raise Unavailable("state-unavailable", "customers can't be looked up right now") from error
        if position is None:
            raise Unavailable("rebuilding", "what is known of the customer is being made anew")
        if state.latest_us is None:
            return None
        now = canonical_time(self._clock())
        currency = state.purchases[-1].currency
        return msgspec.json.encode(
            CustomerFeatures(
                customer_id=name,
                computed_at=now,
                as_of=AsOf(transactions=position.transactions, outcomes=position.outcomes),
                currency=currency,
                feature_set_version=FEATURE_SET_VERSION,
                features=customer_features(state, epoch_micros(now), currency),
            )
        )
