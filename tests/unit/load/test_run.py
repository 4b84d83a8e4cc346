"""When a run of load passes."""

from __future__ import annotations

from dataclasses import replace

from deploy.monitoring.kept import Kept
from tests.load.__main__ import Run
from tests.load.seen import CHECKOUT, PUBLISH, Seen, objective
from tests.load.shapes import Rates

SERVICES = [Kept(objective("RowsLate"), 300, 0), Kept(objective("DecisionsLate"), 2880, 0)]


def good() -> Run:
    seen = [Seen(CHECKOUT, 720, 0, {20.0: 720}), Seen(PUBLISH, 2880, 0, {3.0: 2880})]
    return Run("steady", Rates(12, 48), 60.0, seen, SERVICES, seen[0].kept(), True)


def test_a_run_that_kept_everything_passes() -> None:
    assert good().troubles == []
    assert good().as_json()["passed"] is True


def test_an_objective_that_was_broken_fails_it_and_is_named() -> None:
    (trouble,) = replace(good(), services=[Kept(objective("RowsLate"), 300, 4)]).troubles
    assert trouble == "RowsLate as the services counted: 98.667% good, not 99.00%"


def test_purchases_that_never_got_a_decision_fail_it() -> None:
    lost = replace(good(), services=[SERVICES[0], Kept(objective("DecisionsLate"), 2879, 0)])
    assert lost.undecided and not replace(good(), services=[]).undecided
    assert lost.troubles == ["bnpl-transactions: fewer decisions than the 2,880 records that were published"]


def test_an_unbalanced_ledger_fails_it() -> None:
    assert len(replace(good(), balanced=False).troubles) == 1


def test_a_record_that_nobody_acknowledged_fails_it() -> None:
    seen = [good().seen[0], Seen(PUBLISH, 2880, 1, {3.0: 2880})]
    assert replace(good(), seen=seen).troubles == ["bnpl-transactions: 1 records were not acknowledged"]


def test_records_that_wait_for_longer_than_a_beat_fail_it_though_all_were_acknowledged() -> None:
    """Brokers that stand still: the services see nothing of what can't be published, and lateness counts from there."""
    within = Seen(PUBLISH, 2880, 0, {3.0: 2852, 1001.0: 28})
    assert replace(good(), seen=[good().seen[0], within]).troubles == []
    late = Seen(PUBLISH, 2880, 0, {3.0: 2851, 1001.0: 29})
    assert replace(good(), seen=[good().seen[0], late]).troubles == [
        "bnpl-transactions: 29 of 2,880 records took longer than 1 s from when they were due"
    ]


def test_what_was_due_and_never_sent_is_late_and_none_of_what_was_sent() -> None:
    missed = Seen(PUBLISH, 2700, 0, {3.0: 2700, 9000.0: 180}, missed=180)
    few, late = replace(good(), seen=[good().seen[0], missed]).troubles
    assert few.endswith("only 2,700 of 2,880 planned were sent: 180 were due and held up by others")
    assert late.endswith("180 of 2,880 records took longer than 1 s from when they were due")


def test_a_client_that_sent_too_little_has_shown_nothing() -> None:
    seen = [Seen(CHECKOUT, 600, 0, {20.0: 600}), good().seen[1]]
    (trouble,) = replace(good(), seen=seen).troubles
    assert "only 600 of 720" in trouble
