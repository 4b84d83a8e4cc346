"""What counts as known at a moment, and what never does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.trainer.maturity.known import NONE_YET, PERIOD_US, Known, Outcomes, known_at
from services.trainer.maturity.proxy import early_rates
from services.trainer.maturity.vintages import vintages, whole
from shared.feature_definitions.windows import MICROS_PER_DAY
from tests.unit.trainer.maturity.known_law import day, world
from tests.unit.trainer.synthetic import START_US, synthetic_examples

PLAN = 4


def known(
    age_days: float, *, defaulted: bool, missed: float | None, observed_day: float | None, rows: int = 2
) -> Known:
    """Purchases of the first day, all alike; and one that is seen to have been repaid at the very moment, so that
    everybody is watched up to it."""
    examples = synthetic_examples(rows + 1)
    ages = PLAN * PERIOD_US
    occurred = np.append(np.full(rows, START_US), START_US + int(age_days * MICROS_PER_DAY) - ages)
    examples = replace(examples, occurred_us=occurred, mature_us=occurred + ages)
    at = NONE_YET if observed_day is None else START_US + int(observed_day * MICROS_PER_DAY)
    outcomes = Outcomes(
        observed_us=np.append(np.full(rows, at), occurred[-1] + ages),
        defaulted=np.append(np.full(rows, defaulted), False),
        missed_days=np.append(np.full(rows, np.nan if missed is None else missed), np.nan),
    )
    return known_at(START_US + int(age_days * MICROS_PER_DAY), examples, outcomes).take(np.arange(rows))


def test_an_outcome_is_not_used_before_it_can_be_known() -> None:
    before = known(27.9, defaulted=True, missed=28, observed_day=28)
    after = known(28, defaulted=True, missed=28, observed_day=28)
    assert not before.defaulted.any()
    assert after.defaulted.all()
    assert before.open.all()
    assert after.missed_in.tolist() == [2, 2]


def test_a_default_that_shows_within_a_period_counts_at_its_end_when_those_who_paid_are_told_from_it() -> None:
    assert known(20, defaulted=True, missed=17, observed_day=17).open.all()
    assert known(28, defaulted=True, missed=17, observed_day=17).missed_in.tolist() == [2, 2]


def test_not_yet_known_is_neither_good_nor_bad() -> None:
    young = known(40, defaulted=False, missed=None, observed_day=None)
    assert young.counts() == {"defaulted": 0, "repaid": 0, "open": 2, "silent": 0}
    assert len(young.settled()) == 0


def test_a_loan_that_ended_without_an_outcome_is_never_good() -> None:
    ended = known(60, defaulted=False, missed=None, observed_day=None)
    assert ended.counts() == {"defaulted": 0, "repaid": 0, "open": 0, "silent": 2}
    assert len(ended.settled()) == 0
    assert whole(ended)[0].points == ()


def test_a_good_outcome_before_the_last_instalment_does_not_count_yet() -> None:
    assert known(40, defaulted=False, missed=None, observed_day=30).counts()["repaid"] == 0
    assert known(56, defaulted=False, missed=None, observed_day=30).counts()["repaid"] == 2


def test_nobody_grows_older_once_outcomes_stop_coming_in() -> None:
    everything = world(2000, 100, seed=1)
    stopped = replace(
        everything.outcomes,
        observed_us=np.where(everything.outcomes.observed_us > day(70), NONE_YET, everything.outcomes.observed_us),
    )
    late = known_at(day(150), everything.examples, stopped)
    assert (late.watched <= (day(70) - late.examples.occurred_us).clip(min=0) // PERIOD_US).all()
    assert late.counts()["silent"] == 0


def test_of_a_source_that_went_silent_nobody_grows_older_though_others_go_on_telling() -> None:
    """Its defaults show weeks before its good loans would: with the others' clock it would be learnt by them alone."""
    everything = world(4000, 100, seed=1)
    silent = np.arange(4000) % 2 == 0
    stopped = replace(
        everything.outcomes,
        observed_us=np.where(
            silent & (everything.outcomes.observed_us > day(70)), NONE_YET, everything.outcomes.observed_us
        ),
        source=np.where(silent, "silent", "telling").astype(object),
    )
    late = known_at(day(150), everything.examples, stopped)
    assert late.counts()["silent"] == 0
    assert late.take(silent).settled().mature_us.max() <= day(70)
    assert late.take(~silent).settled().mature_us.max() > day(100)
    by_one_clock = known_at(day(150), everything.examples, replace(stopped, source=None))
    assert by_one_clock.counts()["silent"] > 0


def test_of_days_that_a_source_left_out_nothing_is_known_neither_good_nor_bad() -> None:
    """What was told in three days is lost. Of the loans that ran their course then the defaults were known before."""
    everything = world(8000, 100, seed=1)
    lost = (everything.outcomes.observed_us >= day(70)) & (everything.outcomes.observed_us < day(73))
    gap = replace(everything.outcomes, observed_us=np.where(lost, NONE_YET, everything.outcomes.observed_us))
    ended = (everything.examples.mature_us >= day(70)) & (everything.examples.mature_us < day(73))
    assert everything.examples.label[ended & ~lost].mean() > 0.9, "what is told of them is nearly all bad"
    late = known_at(day(150), everything.examples, gap)
    assert not np.isin(late.settled().event_id, everything.examples.event_id[ended]).any()
    assert late.take(ended).counts()["silent"] == ended.sum()
    whole_days = known_at(day(150), everything.examples, everything.outcomes)
    others = whole_days.take(~ended).settled()
    assert abs(late.settled().label.mean() - others.label.mean()) < 0.005
    assert len(late.settled()) > 0.9 * len(others), "and the days whose loans lost their defaults in the gap"


def test_an_outcome_that_got_lost_takes_no_other_loan_with_it() -> None:
    everything = world(2000, 100, seed=1)
    lost = np.arange(2000) == 1000
    one = replace(everything.outcomes, observed_us=np.where(lost, NONE_YET, everything.outcomes.observed_us))
    before, after = (known_at(day(250), everything.examples, each) for each in (everything.outcomes, one))
    assert len(after.settled()) == len(before.settled()) - 1


def test_a_source_that_has_told_of_few_is_held_against_the_clock_of_all() -> None:
    everything = world(2000, 100, seed=1)
    source = np.array(["one of many" if number else "alone" for number in range(2000)], object)
    as_of_one = known_at(day(90), everything.examples, everything.outcomes)
    as_of_two = known_at(day(90), everything.examples, replace(everything.outcomes, source=source))
    assert (as_of_one.watched == as_of_two.watched).all()


def test_a_default_without_its_day_counts_from_when_it_was_seen() -> None:
    assert known(56, defaulted=True, missed=None, observed_day=30).missed_in.tolist() == [3, 3]


def test_a_vintage_ends_where_nobody_has_come_so_far_and_reaches_the_final_share_where_all_have() -> None:
    made = world(8000, 120, seed=2)
    at_day = made.known(day(120))
    for vintage in vintages(at_day, "month"):
        assert vintage.purchases == vintage.defaulted + vintage.repaid + vintage.open + vintage.silent
        shares = [point.share for point in vintage.points]
        assert shares == sorted(shares)
    youngest = vintages(at_day, "week")[-1]
    assert (youngest.points, youngest.final) == ((), None)
    later = whole(made.known(day(300)))
    for vintage in later:
        final = made.examples.label[
            made.examples.mature_us - made.examples.occurred_us == vintage.instalments * PERIOD_US
        ]
        assert vintage.final is not None
        assert abs(vintage.final - final.mean()) < 1e-9


def test_the_first_payments_say_early_that_the_law_has_changed() -> None:
    steady, altered = (early_rates(world(20_000, 150, seed=3, altered_from=at).known(day(150))) for at in (np.inf, 100))
    for before, after in zip(steady, altered, strict=True):
        assert before.standard_errors is not None
        assert after.standard_errors is not None
        assert abs(before.standard_errors) < 3.5
        assert after.settled_rate == before.settled_rate, "what had settled was bought before the change"
    assert max(each.standard_errors or 0 for each in altered) > 3.5
    by_age = {(each.instalments, each.age_days): each.share_seen or 0 for each in steady}
    # The simulator's own shares: of four instalments 0.20 and 0.60 of the defaults, of six 0.04 and 0.22.
    for place, share in {(4, 14): 0.20, (4, 28): 0.60, (6, 14): 0.04, (6, 28): 0.22}.items():
        assert abs(by_age[place] - share) < 0.06
