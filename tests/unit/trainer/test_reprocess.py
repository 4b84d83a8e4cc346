"""Which past purchases get features anew. Over a log that lies in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from services.trainer.past import Seen
from services.trainer.reprocess import UNDECIDED, Reprocessed, Wanted, reprocess
from shared.contracts.events import Outcome
from shared.feature_definitions.replay import Features, LoggedOutcome, LoggedPurchase, replay
from tests import factories

NOW = datetime(2026, 6, 2, tzinfo=UTC)


def bought(offset: int, customer: str = "cust_000001", seen: int | None = None) -> LoggedPurchase:
    accepted = factories.accepted(offset, customer_id=customer)
    return LoggedPurchase(offset, accepted, outcomes_seen=-1, transactions_seen=offset - 1 if seen is None else seen)


class Log:
    def __init__(self, *purchases: LoggedPurchase) -> None:
        self._purchases = purchases
        self.rows: dict[str, Features] = {}

    def purchases(self, partition: int) -> Iterator[LoggedPurchase]:
        return iter(self._purchases)

    def outcomes(self, partition: int) -> list[LoggedOutcome]:
        return []

    def present(self, feature_set: str, partition: int) -> set[str]:
        return set(self.rows)

    def append(
        self, made: list[tuple[LoggedPurchase, Features]], feature_set: str, load_id: str, now: datetime
    ) -> None:
        self.rows.update({purchase.accepted.transaction.event_id: features for purchase, features in made})


def run(log: Log, since_us: int = 0, until_us: int = 2**62) -> Reprocessed:
    return reprocess(log, 0, Wanted("2-later", since_us, until_us, "a"), lambda: NOW)


def test_an_interrupted_run_is_simply_repeated() -> None:
    log = Log(bought(0), bought(1), bought(2))
    run(log)
    del log.rows["event-1"]
    assert run(log) == Reprocessed(written=1, present=2, inexact=0)
    assert log.rows["event-1"]["purchases_24h"] == 1


def test_a_purchase_decided_before_the_customers_last_one_was_counted_is_left_out() -> None:
    log = Log(bought(0), bought(1, "cust_000002"), bought(2, seen=0), bought(3, seen=1))
    assert run(log) == Reprocessed(written=3, present=0, inexact=1)
    assert log.rows.keys() == {"event-0", "event-1", "event-2"}


def test_a_purchase_that_was_never_decided_counts_in_its_customers_state_and_gets_no_features() -> None:
    """Another customer's came under its event id first. The state that decided since has it."""
    undecided = LoggedPurchase(1, factories.accepted(1), outcomes_seen=UNDECIDED)
    log = Log(bought(0), undecided, bought(2))
    assert run(log) == Reprocessed(written=2)
    assert log.rows.keys() == {"event-0", "event-2"}
    assert log.rows["event-2"]["purchases_24h"] == 2


def test_what_lies_before_the_range_is_counted_but_not_written() -> None:
    log = Log(bought(0), bought(1))
    assert run(log, since_us=bought(1).accepted.occurred_us) == Reprocessed(written=1)
    assert log.rows["event-1"]["purchases_24h"] == 1


def test_what_was_loaded_lies_before_the_log_and_is_answered_from_all_that_was_loaded_before_it() -> None:
    loaded = [
        LoggedPurchase(number - 2, factories.accepted(number), outcomes_seen=-1, load_id="day") for number in (0, 1)
    ]
    log = Log(*loaded, LoggedPurchase(0, factories.accepted(2), outcomes_seen=-1, transactions_seen=-1))
    assert run(log) == Reprocessed(written=3)
    assert [log.rows[f"event-{number}"]["purchases_24h"] for number in range(3)] == [0, 1, 2]


def test_what_was_believed_then_is_not_what_a_correction_made_of_it() -> None:
    """Loaded: a default that is told on day 14 and taken back on day 56, and purchases on days 0, 30 and 60."""
    days = (0, 30, 60)
    bought = [factories.accepted(day, t_us=factories.START_US + day * factories.DAY_US) for day in days]
    told_us = [factories.START_US + day * factories.DAY_US for day in (14, 56)]
    outcomes = [
        LoggedOutcome(offset, Outcome(**factories.outcome(0, defaulted=defaulted, observed_us=at_us)), at_us)
        for offset, defaulted, at_us in ((-2, True, told_us[0]), (-1, False, told_us[1]))
    ]
    seen = Seen(np.array(told_us))
    loaded = [
        LoggedPurchase(day - 90, one, seen.by(one.occurred_us), load_id="day")
        for day, one in zip(days, bought, strict=True)
    ]
    assert [purchase.outcomes_seen for purchase in loaded] == [-3, -2, -1]
    made = [features for _, features in replay(loaded, outcomes)]
    assert [features and features["defaults_known"] for features in made] == [0, 1, 0]


def test_what_one_knows_does_not_become_less() -> None:
    seen = Seen(np.array([10, 20]))
    assert [seen.by(moment) for moment in (25, 15, 5)] == [-1, -1, -1]


def test_the_parts_of_a_run_add_up() -> None:
    assert Reprocessed.total([Reprocessed(1, 2, 3), Reprocessed(10, 20, 30)]) == Reprocessed(11, 22, 33)
