"""Histories straight from the simulator's generators, taken through the ingestor's mapping, the shared decoder and the
history runner of the features, into training examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import orjson
from numpy.typing import NDArray

from services.ingestor import simtom
from services.simulator import arrivals, wire
from services.simulator.request import RegimeChange, StreamRequest
from services.simulator.worlds import GENERATORS, Worlds
from services.trainer.examples import Examples
from shared.contracts.events import Outcome
from shared.contracts.identity import epoch_micros
from shared.contracts.transactions import Door, Limits, decode_transaction
from shared.feature_definitions import FEATURE_NAMES, FEATURE_SET_VERSION
from shared.feature_definitions.replay import LoggedOutcome, LoggedPurchase, replay

FIRST_DAY = date(2026, 1, 1)
PERIOD_US = 14 * 86_400_000_000
LONG_AFTER_US = epoch_micros("2027-01-01T00:00:00Z")


@dataclass(frozen=True)
class SimulatedHistory:
    examples: Examples
    expected_rate: NDArray[np.float64]
    """[n] what the simulator tossed around: the best that anybody could know."""
    purchases: list[LoggedPurchase]
    outcomes: list[LoggedOutcome]


def none_by_chance(policy: str) -> float:
    """The propensity of what a policy approved by chance, where none did."""
    raise AssertionError(f"{policy} approved nothing by chance")


def simulated_history(
    generator: str,
    days: int,
    daily: int,
    seed: int,
    changes: Sequence[RegimeChange] = (),
    *,
    first_day: date = FIRST_DAY,
) -> SimulatedHistory:
    """All purchases of the days, in order, as if every outcome had matured since. `changes`: of the world."""
    purchases: list[LoggedPurchase] = []
    outcomes: list[LoggedOutcome] = []
    rates: list[float] = []
    received_us = max(LONG_AFTER_US, epoch_micros(f"{first_day + timedelta(days=days)}T00:00:00Z"))
    for flat, rate in _events(generator, first_day, days, daily, seed, changes):
        document, labels = simtom.transaction_document(
            flat, run=simtom.Run(generator, f"{first_day}.{seed}"), scope="source", server_day=first_day
        )
        accepted = decode_transaction(orjson.dumps(document), door=Door.TOPIC, received_us=received_us, limits=Limits())
        outcome = simtom.outcome_of(accepted.transaction, accepted.occurred_us, labels)
        assert outcome is not None
        # Its own outcome is logged right behind each purchase, as the ingestor sends them; it counts from observed_at.
        number = len(purchases)
        purchases.append(LoggedPurchase(number, accepted, outcomes_seen=number - 1))
        outcomes.append(LoggedOutcome(number, outcome, epoch_micros(outcome.observed_at)))
        rates.append(rate)
    rows = np.full((len(purchases), len(FEATURE_NAMES)), np.nan, dtype=np.float32)
    for purchase, features in replay(purchases, outcomes):
        assert features is not None  # every one is as of the log's own order
        rows[purchase.offset] = [np.nan if value is None else value for value in features.values()]
    examples = _examples(purchases, [logged.outcome for logged in outcomes], rows)
    return SimulatedHistory(examples, np.array(rates), purchases, outcomes)


def _events(
    generator: str, first_day: date, days: int, daily: int, seed: int, changes: Sequence[RegimeChange]
) -> Iterator[tuple[wire.Event, float]]:
    kind = GENERATORS[generator]
    request = StreamRequest(
        start_date=first_day,
        end_date=first_day + timedelta(days=days - 1),
        base_daily_volume=daily,
        seed=seed,
        regime=list(changes),
    )
    seeds = np.random.SeedSequence(seed).spawn(3)
    drawn = Worlds("continued").generator(kind, request, seeds[:2])
    when = np.random.default_rng(seeds[2])
    profile, sent, today = arrivals.hour_profile(None), 0, first_day.toordinal()
    for day in (first_day + timedelta(days=k) for k in range(days)):
        times = arrivals.times_of_day(day, arrivals.day_volume(request, day, when), profile, when)
        draw = drawn.draw(times, today)
        events = wire.events(draw, drawn.world, label=drawn.label, first_record=sent, today=today)
        yield from zip(events, draw.expected.tolist(), strict=True)
        sent += len(times)


def _examples(purchases: list[LoggedPurchase], outcomes: list[Outcome], rows: NDArray[np.float32]) -> Examples:
    transactions = [purchase.accepted.transaction for purchase in purchases]
    occurred = np.array([purchase.accepted.occurred_us for purchase in purchases], dtype=np.int64)
    counts = np.array([t.installments.count if t.installments else None for t in transactions], dtype=np.int64)
    levels = [t.source_scores.risk_level if t.source_scores else None for t in transactions]
    return Examples(
        event_id=np.array([t.event_id for t in transactions], dtype=object),
        transaction_id=np.array([t.transaction_id for t in transactions], dtype=object),
        customer_id=np.array([t.customer_id for t in transactions], dtype=object),
        occurred_us=occurred,
        mature_us=occurred + PERIOD_US * counts,
        amount=np.array([t.amount for t in transactions], dtype=np.float64),
        weight=np.ones(len(transactions)),
        label=np.array([outcome.defaulted for outcome in outcomes], dtype=np.int8),
        rule_approves=np.array([-1 if level is None else int(level == "low") for level in levels], dtype=np.int8),
        features=rows,
        feature_names=FEATURE_NAMES,
        feature_set_version=FEATURE_SET_VERSION,
    )
