"""The history runner beside the same features in pandas, group by group; then how its cost grows with the history, and
with a customer's own past.

Both start from purchases that are decoded and lie in memory, in the order of the log.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count

import pandas as pd
from msgspec.structs import replace

from shared.contracts.transactions import AcceptedTransaction
from shared.feature_definitions import FEATURE_NAMES
from shared.feature_definitions.replay import LoggedPurchase, replay
from tests import factories
from tests.bench.pandas_features import features_of_everybody, frame_of
from tests.bench.parts import sized
from tests.bench.report import Finding, at_least, at_most, finding
from tests.bench.rounds import numbered

EVENTS = 450_000
PART = 45_000
"""What a round goes over."""

WHOLE_ROUNDS = 2
"""Of all events: as long as everything else of a round together."""

SAMPLE = 1_000
"""What pandas goes over in a round: it takes milliseconds for each purchase."""

EACH = 30
"""Purchases of a customer, on average."""

DAYS = 90
"""That a customer's purchases are spread over, however many they are: who buys more buys more densely, which is the
harder case, since more of the windows' tiles are filled."""

FEW, SOME, MANY = 10, 1_000, 100_000
START_US = factories.START_US
TEMPLATE = factories.accepted()
CATEGORIES = ("electronics", "clothing", "home", "beauty", "sports")

Step = Callable[[str], None]


def purchases(customers: int, each: int) -> list[LoggedPurchase]:
    """`each` purchases of every customer, who take turns, over DAYS; what they have in common lies in memory once."""
    names, numbers = [f"cust_{number:06d}" for number in range(customers)], count()
    made = []
    for turn in range(each):
        t_us = START_US + turn * DAYS * factories.DAY_US // each
        for place, name in enumerate(names):
            number = next(numbers)
            made.append(LoggedPurchase(number, _accepted(number, name, t_us + place), outcomes_seen=-1))
    return made


def _accepted(number: int, customer: str, t_us: int) -> AcceptedTransaction:
    minor = 500 + number * 7919 % 59_500
    whole = TEMPLATE.transaction
    transaction = replace(
        whole,
        event_id=f"{number:032x}",
        customer_id=customer,
        amount=minor / 100,
        device=_DEVICES[number % len(_DEVICES)],
        payment=_METHODS[number % len(_METHODS)],
        product=_PRODUCTS[number % len(_PRODUCTS)],
    )
    fingerprint = number.to_bytes(16, "big")
    return AcceptedTransaction(transaction, t_us, minor, fingerprint, (), TEMPLATE.document)


def _several(block: object, field: str, values: Iterable[str]) -> list[object]:
    return [replace(block, **{field: value}) for value in values]  # type: ignore[type-var]


_DEVICES = _several(TEMPLATE.transaction.device, "id", [f"device_{k}" for k in range(3)])
_METHODS = _several(TEMPLATE.transaction.payment, "method_id", [f"pm_{k}" for k in range(4)])
_PRODUCTS = _several(TEMPLATE.transaction.product, "category", CATEGORIES)


def history(rounds: int, step: Step) -> list[Finding]:
    events = sized(EVENTS)
    part = purchases(PART // EACH, EACH)
    sample = purchases(SAMPLE // EACH, EACH)
    by_past = {each: purchases(max(1, PART // each), each) for each in (FEW, SOME, MANY)}
    everything = purchases(events // EACH, EACH)
    check_same(sample)
    ours, pandas, whole = [], [], []
    cost: dict[int, list[float]] = {each: [] for each in by_past}
    # A service reads its purchases; here they all lie there, and the collector would go through them again and again.
    gc.collect()
    gc.freeze()
    try:
        for number in numbered(rounds):
            ours.append(_pace(part))
            pandas.append(_pandas_pace(sample))
            for each, of_each in by_past.items():
                cost[each].append(1e6 / _pace(of_each))
            if number < WHOLE_ROUNDS:
                whole.append(_pace(everything))
            step(f"round {number + 1}")
    finally:
        gc.unfreeze()
    return [
        finding(
            "history runner", "events/CPU s", ours, peer=("pandas, group by apply", pandas),
            targets=[at_least("ratio", 5)],
        ),
        finding(
            f"history runner, {events:,} events", "events/CPU s", whole,
            peer=(f"{PART:,} events", ours[:WHOLE_ROUNDS]), targets=[at_least("ratio", 0.9)],
        ),
        finding(
            f"history runner, customers of {MANY:,}", "µs/event", cost[MANY],
            peer=(f"of {SOME:,}", cost[SOME]), targets=[at_most("ratio", 1.2)],
        ),
        finding(
            f"history runner, customers of {MANY:,}", "µs/event", cost[MANY],
            peer=(f"of {FEW}", cost[FEW]), targets=[at_most("ratio", 3)],
        ),
    ]  # fmt: skip


def _pace(of: Sequence[LoggedPurchase]) -> float:
    """Purchases in a second of CPU: one thread does nothing else, and other programs don't count."""
    began = time.process_time()
    made = sum(features is not None for _, features in replay(of, []))
    assert made == len(of)
    return made / (time.process_time() - began)


def _pandas_pace(of: Sequence[LoggedPurchase]) -> float:
    frame = frame_of(of)
    began = time.process_time()
    features_of_everybody(frame)
    return len(of) / (time.process_time() - began)


def check_same(of: Sequence[LoggedPurchase]) -> None:
    """Raises AssertionError where pandas has other features than we have."""
    theirs = features_of_everybody(frame_of(of))
    ours = pd.DataFrame.from_dict(
        {purchase.accepted.transaction.event_id: features for purchase, features in replay(of, [])},
        orient="index", columns=list(FEATURE_NAMES), dtype=float,
    )  # fmt: skip
    pd.testing.assert_frame_equal(ours, theirs, check_names=False, rtol=1e-9)
