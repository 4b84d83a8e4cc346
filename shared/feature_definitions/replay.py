"""The history runner: the same features, from records that lie in the past."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from shared.contracts.events import Outcome
from shared.contracts.transactions import AcceptedTransaction
from shared.feature_definitions.state import CustomerState, Sighting
from shared.feature_definitions.vector import features_of

Features = dict[str, float | None]

_NEVER = -(2**63)
"""Before every offset."""


@dataclass(frozen=True, slots=True)
class LoggedPurchase:
    """A purchase and where it lay in its partition."""

    offset: int
    accepted: AcceptedTransaction
    outcomes_seen: int
    """The outcome offset that its vector was made as of."""
    transactions_seen: int | None = None
    """Likewise; None: all purchases before it, as for every vector of the stream."""
    load_id: str | None = None
    """The bulk load that brought it, from before the log: its offset is then below zero, and gives its order alone."""


@dataclass(frozen=True, slots=True)
class LoggedOutcome:
    offset: int
    outcome: Outcome
    observed_us: int


def replay(
    purchases: Iterable[LoggedPurchase], outcomes: Sequence[LoggedOutcome]
) -> Iterator[tuple[LoggedPurchase, Features | None]]:
    """Features of every purchase that isn't a repeat, of one partition or of any set of whole customers.

    Both inputs in order of their offsets. Needs memory for the customers' states, not for the history. None: the
    purchase was decided as of a moment that the log's order doesn't give, since a record of the same customer came in
    between (a checkout that asked before an earlier purchase had reached the states).
    """
    states: dict[str, CustomerState] = {}
    latest_purchase: dict[str, int] = {}
    latest_outcome: dict[str, int] = {}
    taken = 0
    for purchase in purchases:
        while taken < len(outcomes) and outcomes[taken].offset <= purchase.outcomes_seen:
            logged = outcomes[taken]
            customer = logged.outcome.customer_id
            states.setdefault(customer, CustomerState()).add_outcome(logged.outcome, logged.observed_us)
            latest_outcome[customer] = logged.offset
            taken += 1
        transaction = purchase.accepted.transaction
        customer = transaction.customer_id
        state = states.setdefault(customer, CustomerState())
        if state.sighting(transaction.event_id, purchase.accepted.fingerprint) is not Sighting.NEW:
            continue
        seen = purchase.offset - 1 if purchase.transactions_seen is None else purchase.transactions_seen
        exact = (
            latest_purchase.get(customer, _NEVER) <= seen
            and latest_outcome.get(customer, _NEVER) <= purchase.outcomes_seen
        )
        yield purchase, features_of(state, purchase.accepted) if exact else None
        state.add_purchase(purchase.accepted)
        latest_purchase[customer] = purchase.offset


def features_as_of(
    accepted: AcceptedTransaction,
    purchases: Sequence[LoggedPurchase],
    outcomes: Sequence[LoggedOutcome],
    *,
    transactions_seen: int,
    outcomes_seen: int,
) -> Features:
    """Features of one purchase from exactly the customer's records at or below the two offsets.

    `purchases` and `outcomes`: all of this customer, in order of their offsets.
    """
    state = CustomerState()
    for logged in outcomes[: bisect_right(outcomes, outcomes_seen, key=lambda item: item.offset)]:
        state.add_outcome(logged.outcome, logged.observed_us)
    for earlier in purchases[: bisect_right(purchases, transactions_seen, key=lambda item: item.offset)]:
        transaction = earlier.accepted.transaction
        if transaction.event_id == accepted.transaction.event_id:
            continue
        if state.sighting(transaction.event_id, earlier.accepted.fingerprint) is Sighting.NEW:
            state.add_purchase(earlier.accepted)
    return features_of(state, accepted)
