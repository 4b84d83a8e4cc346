"""What is kept of one customer: enough to give every rolling feature exactly, and never more than a few kilobytes.

The latest purchases (by event time) are kept one by one, so that a late event can be answered as of its own moment.
Older ones are folded into tiles, one set of tiles for each window. The cost of an event is bounded by the tiles of a
window, and doesn't grow with the customer's history.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterator
from enum import Enum, auto

from shared.contracts import enumerations
from shared.contracts.events import Outcome, Transaction
from shared.contracts.transactions import AcceptedTransaction
from shared.feature_definitions import stored
from shared.feature_definitions.tiles import Tiles
from shared.feature_definitions.totals import Purchase
from shared.feature_definitions.windows import MICROS_PER_DAY, WINDOWS, day_of

KEPT_PURCHASES = 48
"""Purchases kept one by one. A purchase later in the log than 48 others that lie after it in event time is too late to
be answered exactly: its own rolling features are null, while it still counts for all that come after it."""

REMEMBERED_EVENTS = 128
"""De-duplication horizon: a repeat is known for one among the customer's latest 128 purchases (outcomes likewise)."""

DEFAULT_INSTALMENTS = 4
DEFAULT_PERIOD_DAYS = 14
"""The product's standard terms, for a purchase that states none: leaving it out would understate the exposure."""

PERIOD_DAYS = {"weekly": 7, "bi_weekly": 14, "monthly": 30}
_CATEGORY_NUMBER = {name: i + 1 for i, name in enumerate(enumerations.VALUES["product", "category"])} | {
    enumerations.UNKNOWN: len(enumerations.VALUES["product", "category"]) + 1
}


class Sighting(Enum):
    """Whether an event was seen before, within the de-duplication horizon."""

    NEW = auto()
    DUPLICATE = auto()
    CONFLICT = auto()
    """Same event id, other body."""


class CustomerState:
    """One customer's past. Mutable; not safe for concurrent use; belongs to the owner of the customer's partition."""

    def __init__(self) -> None:
        self.purchases: list[Purchase] = []
        """Latest by event time, oldest first; ties in log order."""
        self.folded_until_us: int | None = None
        """Event time of the latest purchase that was folded away."""
        self.tiles: list[Tiles] = [Tiles() for _ in WINDOWS]
        """For each window: tile number → totals of the folded purchases in it."""
        self.due: dict[tuple[str, int], int] = {}
        """Of folded purchases: (currency, UTC day) → minor units of instalments due on that day."""
        self.seen: dict[int, int] = {}
        """Event id hash → fingerprint hash, in log order."""
        self.outcomes: dict[int, tuple[int, bool]] = {}
        """Event id hash → (UTC day of `observed_at`, defaulted), in log order."""
        self.known: dict[int, tuple[int, int]] = {}
        """UTC day → (defaults, on-time loans) that become known on it."""
        self.settled: tuple[int, int] = (0, 0)
        """(defaults, on-time loans) of days that were folded away."""
        self._owed: tuple[str, int, int] | None = None
        """(currency, UTC day, minor units open on it) of all purchases, as last asked for: a purchase adds its part,
        and neither folding one nor forgetting what was due changes the sum."""
        self._forgotten_day: int | None = None
        """UTC day up to which `due` and `known` hold nothing out of reach, as far as is known."""

    @staticmethod
    def decode(data: bytes | None) -> CustomerState:
        """The state from its bytes; an empty one from None. Raises `stored.LayoutMismatch` for another layout."""
        state = CustomerState()
        if data is not None:
            stored.load(state, data)
        return state

    def encode(self) -> bytes:
        """The state as bytes: the same state has the same bytes."""
        return stored.dump(self)

    @property
    def latest_us(self) -> int | None:
        """Event time of the latest purchase known, for judging lateness."""
        return self.purchases[-1].t_us if self.purchases else None

    def sighting(self, event_id: str, fingerprint: bytes) -> Sighting:
        known = self.seen.get(hash64(event_id))
        if known is None:
            return Sighting.NEW
        return Sighting.DUPLICATE if known == _hash32_of(fingerprint) else Sighting.CONFLICT

    def can_answer(self, t_us: int) -> bool:
        """Whether the rolling features at `t_us` can be given exactly."""
        return self.folded_until_us is None or t_us >= self.folded_until_us

    def add_purchase(self, accepted: AcceptedTransaction) -> None:
        """Count a purchase for all that come after it in the log."""
        event_id = hash64(accepted.transaction.event_id)
        self.seen[event_id] = _hash32_of(accepted.fingerprint)
        if len(self.seen) > REMEMBERED_EVENTS:
            del self.seen[next(iter(self.seen))]
        purchase = _purchase_of(accepted)
        if self._owed is not None:
            currency, day, minor = self._owed
            if purchase.currency == currency:
                self._owed = currency, day, minor + open_part(purchase, day)
        if not self.can_answer(purchase.t_us):
            self._fold(purchase)
            self._forgotten_day = None
            return
        if not self.purchases or self.purchases[-1].t_us <= purchase.t_us:
            self.purchases.append(purchase)
        else:
            insort(self.purchases, purchase, key=lambda kept: kept.t_us)
        if len(self.purchases) > KEPT_PURCHASES:
            oldest = self.purchases.pop(0)
            self.folded_until_us = oldest.t_us
            self._fold(oldest)
            self._forget_out_of_reach(oldest.t_us)

    def add_outcome(self, outcome: Outcome, observed_us: int) -> bool:
        """Take in an outcome, to be used from the day after `observed_at`. False where it is known already.

        A later outcome of the same purchase takes the place of the earlier one.
        """
        event_id = hash64(outcome.event_id)
        fresh = (day_of(observed_us), outcome.defaulted)
        stale = self.outcomes.pop(event_id, None)
        self.outcomes[event_id] = fresh
        if stale == fresh:
            return False
        if stale is not None:
            self._count_outcome(*stale, -1)
        self._count_outcome(*fresh, +1)
        if len(self.outcomes) > REMEMBERED_EVENTS:
            del self.outcomes[next(iter(self.outcomes))]
        return True

    def known_outcomes(self, t_us: int) -> tuple[int, int]:
        """(defaults, on-time loans) whose `observed_at` lies on an earlier UTC day than `t_us`."""
        today = day_of(t_us)
        defaults, on_time = self.settled
        for day, (bad, good) in self.known.items():
            if day < today:
                defaults += bad
                on_time += good
        return defaults, on_time

    def open_exposure(self, t_us: int, currency: str) -> int:
        """Minor units of instalments that fall due on a later UTC day than `t_us`, of purchases up to `t_us`."""
        today = day_of(t_us)
        of_all = not self.purchases or self.purchases[-1].t_us <= t_us
        if of_all and self._owed is not None and self._owed[:2] == (currency, today):
            return self._owed[2]
        exposure = 0
        for (owed, day), minor in self.due.items():
            if day > today and owed == currency:
                exposure += minor
        for bought_us, minor, bought_in, _, _, _, instalments, period_days in self.purchases:
            if bought_us > t_us:
                break
            if bought_in == currency:
                # `open_part`, without a call for each.
                due = (today - bought_us // MICROS_PER_DAY) // period_days
                if due < instalments:
                    exposure += minor - minor // instalments * due
        if of_all:
            self._owed = currency, today, exposure
        return exposure

    def _fold(self, purchase: Purchase) -> None:
        for window, tiles in zip(WINDOWS, self.tiles, strict=True):
            tiles.add(purchase.t_us // window.hop_us, purchase)
        for day, minor in schedule(purchase):
            slot = (purchase.currency, day)
            self.due[slot] = self.due.get(slot, 0) + minor

    def _forget_out_of_reach(self, floor_us: int) -> None:
        """Drop what no answerable moment (at or after `floor_us`) can see any more."""
        for window, tiles in zip(WINDOWS, self.tiles, strict=True):
            tiles.drop_before(window.first_tile(floor_us))
        today = day_of(floor_us)
        if today == self._forgotten_day:
            return
        self._forgotten_day = today
        for slot in [slot for slot in self.due if slot[1] <= today]:
            del self.due[slot]
        for day in [day for day in self.known if day < today]:
            bad, good = self.known.pop(day)
            self.settled = (self.settled[0] + bad, self.settled[1] + good)

    def _count_outcome(self, day: int, defaulted: bool, sign: int) -> None:
        floor = self.folded_until_us
        if floor is not None and day < day_of(floor):
            bad, good = self.settled
            self.settled = (bad + sign * defaulted, good + sign * (not defaulted))
            return
        bad, good = self.known.get(day, (0, 0))
        counts = (bad + sign * defaulted, good + sign * (not defaulted))
        if counts == (0, 0):
            self.known.pop(day, None)
        else:
            self.known[day] = counts


def open_part(purchase: Purchase, day: int) -> int:
    """Minor units of a purchase that fall due on a later UTC day than `day`, which may lie before the purchase: what of
    `schedule` does, without going through it."""
    _, minor, _, _, _, _, instalments, period_days = purchase
    due = (day - purchase.t_us // MICROS_PER_DAY) // period_days
    if due <= 0:
        return minor
    return minor - minor // instalments * due if due < instalments else 0


def schedule(purchase: Purchase) -> Iterator[tuple[int, int]]:
    """(UTC day, minor units) of each instalment: equal parts, one period apart, the last one takes the remainder."""
    part = purchase.minor // purchase.instalments
    first_day = day_of(purchase.t_us)
    for k in range(1, purchase.instalments):
        yield first_day + k * purchase.period_days, part
    last = purchase.minor - part * (purchase.instalments - 1)
    yield first_day + purchase.instalments * purchase.period_days, last


def hash64(text: str) -> int:
    """64-bit hash of an id, the same in every process and for ever."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def hash32(text: str | None) -> int:
    """32-bit hash of an id, never 0; 0 where there is none."""
    if text is None:
        return 0
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") or 1


def _hash32_of(fingerprint: bytes) -> int:
    return int.from_bytes(fingerprint[:4], "big")


def terms_of(transaction: Transaction) -> tuple[int, int]:
    """(instalments, days between them) of a purchase; the standard terms where it states none."""
    terms = transaction.installments
    count = terms.count if terms is not None else None
    frequency = terms.frequency if terms is not None else None
    return count or DEFAULT_INSTALMENTS, PERIOD_DAYS.get(frequency or "", DEFAULT_PERIOD_DAYS)


def _purchase_of(accepted: AcceptedTransaction) -> Purchase:
    transaction = accepted.transaction
    product, device, payment = transaction.product, transaction.device, transaction.payment
    instalments, period_days = terms_of(transaction)
    return Purchase(
        t_us=accepted.occurred_us,
        minor=accepted.amount_minor,
        currency=transaction.currency,
        device=hash32(device.id) if device is not None else 0,
        category=_CATEGORY_NUMBER.get(product.category or "", 0) if product is not None else 0,
        method=hash32(payment.method_id) if payment is not None else 0,
        instalments=instalments,
        period_days=period_days,
    )
