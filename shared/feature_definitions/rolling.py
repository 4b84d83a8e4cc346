"""Features of the customer's past, as of the purchase's own moment.

`Past` is made once for each event: the totals of every window in one pass. An aggregate turns totals into a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import mul

from shared.contracts.money import MINOR_PER_MAJOR, major_units
from shared.contracts.transactions import AcceptedTransaction
from shared.feature_definitions.state import CustomerState
from shared.feature_definitions.totals import DISTINCT_CAP, Money, Purchase, Totals
from shared.feature_definitions.windows import MICROS_PER_HOUR, MICROS_PER_SECOND, NIGHT_HOURS, WINDOWS

Value = float | None
Aggregate = Callable[[Totals, str], Value]
"""Totals of a window and the event's currency, to a number."""

_NO_MONEY = Money(0, 0, 0, 0)
_NONE = frozenset({0})
_LONGEST = len(WINDOWS) - 1


class Past:
    """What a customer did before one moment. Only for moments that the state can answer (`state.can_answer`)."""

    __slots__ = ("outcomes", "state", "t_us", "windows")

    def __init__(self, state: CustomerState, t_us: int) -> None:
        self.state = state
        self.t_us = t_us
        self.windows: list[Totals] = _totals_by_window(state, t_us)
        self.outcomes = state.known_outcomes(t_us)
        """(defaults, on-time loans)"""


def _totals_by_window(state: CustomerState, t_us: int) -> list[Totals]:
    """Totals of each window at `t_us`, shortest first: one walk back in time over the purchases kept one by one, then
    the tiles of those that were folded."""
    kept = _totals_of_kept(state.purchases, t_us, [window.left_edge(t_us) for window in WINDOWS])
    if state.folded_until_us is None:
        return kept
    found = []
    for window, tiles, of_kept in zip(WINDOWS, state.tiles, kept, strict=True):
        totals = tiles.sum_from(window.first_tile(t_us))
        if totals is None:
            found.append(of_kept)
        else:
            totals.merge(of_kept)
            found.append(totals)
    return found


def _totals_of_kept(purchases: Sequence[Purchase], t_us: int, edges: Sequence[int]) -> list[Totals]:
    """`edges`: where each window begins, shortest first. What `Totals.add` does is done in place here: for most
    customers this walk is most of the cost of a vector. Windows with the same purchases share their totals."""
    n = nights = categories = 0
    devices: set[int] = set()
    methods: set[int] = set()
    amounts: dict[str, list[int]] = {}
    latest, in_latest = "", [0]  # a customer's purchases are nearly always in the same currency
    found: list[Totals] = []
    edge = edges[0]
    hour_us, night = t_us + 1, False  # who buys often does so within the hour
    for bought_us, minor, currency, device, category, method, _, _ in reversed(purchases):
        if bought_us > t_us:
            continue  # logged earlier, but later in event time
        if bought_us < edge:
            totals = _totals(n, nights, categories, devices, methods, amounts)
            while bought_us < edge:
                found.append(totals)
                if len(found) == len(edges):
                    return found
                edge = edges[len(found)]
        n += 1
        if bought_us < hour_us:
            hour_us = bought_us - bought_us % MICROS_PER_HOUR
            night = hour_us // MICROS_PER_HOUR % 24 in NIGHT_HOURS
        nights += night
        if category:
            categories |= 1 << category
        devices.add(device)
        methods.add(method)
        if currency != latest:
            latest, in_latest = currency, amounts.setdefault(currency, [])
        in_latest.append(minor)
    totals = _totals(n, nights, categories, devices, methods, amounts)
    return found + [totals] * (len(edges) - len(found))


def _totals(
    n: int, nights: int, categories: int, devices: set[int], methods: set[int], amounts: dict[str, list[int]]
) -> Totals:
    """0 among devices and methods stands for none."""
    totals = Totals.__new__(Totals)
    totals.n, totals.nights, totals.categories = n, nights, categories
    totals.devices, totals.methods = devices - _NONE, methods - _NONE
    totals.money = {
        currency: Money(len(minor), sum(minor), sum(map(mul, minor, minor)), max(minor))
        for currency, minor in amounts.items()
    }
    return totals


def over(window: int, aggregate: Aggregate) -> Callable[[AcceptedTransaction, Past], Value]:
    """The aggregate over one window, by its place in `WINDOWS`."""
    return lambda accepted, past: aggregate(past.windows[window], accepted.transaction.currency)


def count(totals: Totals, _: str) -> Value:
    return float(totals.n)


def devices(totals: Totals, _: str) -> Value:
    return float(min(len(totals.devices), DISTINCT_CAP))


def payment_methods(totals: Totals, _: str) -> Value:
    return float(min(len(totals.methods), DISTINCT_CAP))


def categories(totals: Totals, _: str) -> Value:
    return float(totals.categories.bit_count())


def amount_sum(totals: Totals, currency: str) -> Value:
    return major_units(totals.money.get(currency, _NO_MONEY).total, currency)


def amount_max(totals: Totals, currency: str) -> Value:
    money = totals.money.get(currency)
    return None if money is None else major_units(money.largest, currency)


def amount_mean(totals: Totals, currency: str) -> Value:
    money = totals.money.get(currency)
    return None if money is None else money.total / (money.n * MINOR_PER_MAJOR[currency])


def amount_std(totals: Totals, currency: str) -> Value:
    """Population standard deviation: sqrt(n·Σx² - (Σx)²) / n, in whole numbers up to the root."""
    money = totals.money.get(currency)
    if money is None:
        return None
    return math.sqrt(money.n * money.squares - money.total * money.total) / (money.n * MINOR_PER_MAJOR[currency])


def night_share_30d(_: AcceptedTransaction, past: Past) -> Value:
    totals = past.windows[_LONGEST]
    return totals.nights / totals.n if totals.n else None


def seconds_since_last(_: AcceptedTransaction, past: Past) -> Value:
    for purchase in reversed(past.state.purchases):
        if purchase.t_us <= past.t_us:
            return (past.t_us - purchase.t_us) / MICROS_PER_SECOND
    folded = past.state.folded_until_us
    return None if folded is None else (past.t_us - folded) / MICROS_PER_SECOND


def amount_to_mean_30d(accepted: AcceptedTransaction, past: Past) -> Value:
    mean = amount_mean(past.windows[_LONGEST], accepted.transaction.currency)
    return accepted.transaction.amount / mean if mean else None


def open_exposure(accepted: AcceptedTransaction, past: Past) -> Value:
    currency = accepted.transaction.currency
    return major_units(past.state.open_exposure(past.t_us, currency), currency)


def defaults_known(_: AcceptedTransaction, past: Past) -> Value:
    return float(past.outcomes[0])


def on_time_known(_: AcceptedTransaction, past: Past) -> Value:
    return float(past.outcomes[1])


def default_share_known(_: AcceptedTransaction, past: Past) -> Value:
    defaults, on_time = past.outcomes
    return defaults / (defaults + on_time) if defaults + on_time else None
