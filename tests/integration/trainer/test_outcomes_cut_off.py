"""A source of outcomes that stops: a default shows weeks before a good loan does, so nothing that ran its course since
then may be counted; and nothing that came to light after a moment is known as of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from services.trainer.examples import Examples
from services.trainer.monitoring.reading import MonitorReads
from services.trainer.monitoring.silence import LATE_DAYS
from services.trainer.monitoring.soundness import MOST_LACKING, SOME_LACKING
from services.trainer.warehouse import Warehouse
from shared.contracts.identity import from_epoch_micros
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.schema import ensure_warehouse
from tests.integration.trainer.monitored import DECLINED, LOADED, rows_of, write
from tests.research.simulated import none_by_chance, simulated_history

pytestmark = pytest.mark.integration

PROJECT = "flit-cut-off-test"
DAYS, DAILY, AWAY_DAYS, SHOWS_AFTER_DAYS = 112, 40, 10, 20


@dataclass(frozen=True)
class CutOff:
    settings: BigQuerySettings
    examples: Examples
    as_of_us: int
    cut_us: int

    @property
    def seen(self) -> Examples:
        """What a lender learns of."""
        return lent_of(self.examples)

    def another_source(self, name: str, *, first: int, told: Callable[[float], bool]) -> Examples:
        """The same purchases once more, of a source of that name, written; its event ids begin with the name. `first`:
        offset. `told`: whether it tells of an outcome that shows at a moment (microseconds since 1970)."""
        copied = replace(
            self.examples, event_id=np.array([f"{name}-{each}" for each in self.examples.event_id], object)
        )
        rows = rows_of(copied, [0.05] * len(copied), first=first, model_version=name)
        rows[tables.TRANSACTIONS] = [row | {"source": name} for row in rows[tables.TRANSACTIONS]]
        rows[tables.OUTCOMES] = told_at(rows[tables.OUTCOMES], copied, told)
        write(self.settings, rows)
        return copied


def lent_of(examples: Examples) -> Examples:
    number = np.arange(len(examples))
    return examples.take((number % DECLINED != 0) | (number % LOADED == 0))


def told_at(rows: Sequence[dict[str, Any]], examples: Examples, told: Callable[[float], bool]) -> list[dict[str, Any]]:
    """Rows of the examples' outcomes, each as it shows: a default soon, a good loan at its end; those that are told."""
    soon_us = examples.occurred_us + SHOWS_AFTER_DAYS * MICROS_PER_DAY
    shows_us = np.where(examples.label == 1, soon_us, examples.mature_us)
    return [
        row | {"observed_at": from_epoch_micros(int(at))} for row, at in zip(rows, shows_us, strict=True) if told(at)
    ]


@pytest.fixture(scope="module")
def cut_off(bigquery_endpoints: BigQuerySettings) -> Iterator[CutOff]:
    settings = bigquery_endpoints.model_copy(update={"project": PROJECT})
    ensure_warehouse(settings)
    history = simulated_history("bnpl", DAYS, DAILY, seed=3)
    examples = history.examples
    as_of_us = int(examples.occurred_us.max())
    cut_us = as_of_us - AWAY_DAYS * MICROS_PER_DAY
    rows = rows_of(examples, history.expected_rate.tolist())
    rows[tables.OUTCOMES] = told_at(rows[tables.OUTCOMES], examples, lambda at: at <= cut_us)
    write(settings, rows)
    yield CutOff(settings, examples, as_of_us, cut_us)


def test_nothing_matures_while_no_outcome_comes(cut_off: CutOff) -> None:
    found = Warehouse(cut_off.settings).matured_examples(cut_off.as_of_us, FEATURE_SET_VERSION, none_by_chance)
    assert found.mature_us.max() <= cut_off.cut_us
    matured = cut_off.seen.mature_us <= found.mature_us.max()
    assert len(found) == pytest.approx(matured.sum(), rel=0.01)
    assert found.label.mean() == pytest.approx(cut_off.seen.label[matured].mean(), rel=0.02)


def test_before_there_is_any_outcome_nothing_has_matured(cut_off: CutOff) -> None:
    assert Warehouse(cut_off.settings).watched_until(int(cut_off.examples.occurred_us.min())) == 0


def test_the_monitor_counts_no_default_that_ran_its_course_unwatched(cut_off: CutOff) -> None:
    first, until = (int(us) // MICROS_PER_DAY for us in (cut_off.examples.occurred_us.min(), cut_off.as_of_us))
    found = MonitorReads(Warehouse(cut_off.settings)).lent(first, until, cut_off.as_of_us, none_by_chance)
    known = found.lent.matured
    expected = cut_off.seen.label[cut_off.seen.mature_us <= cut_off.cut_us].mean()
    assert known.defaulted.mean() == pytest.approx(expected, rel=0.1), "as many as there are, not those alone"
    late_us = cut_off.as_of_us - LATE_DAYS * MICROS_PER_DAY
    unwatched = (cut_off.seen.mature_us > cut_off.cut_us) & (cut_off.seen.mature_us <= late_us)
    unwatched &= (cut_off.seen.label == 0) | (cut_off.seen.occurred_us + SHOWS_AFTER_DAYS * MICROS_PER_DAY > late_us)
    [silence] = found.told.silent
    assert (silence.source, found.told.lacking) == ("simtom", 0), "it is told of as silent, and lacks nothing before"
    assert silence.loans == pytest.approx(unwatched.sum(), rel=0.2)
    assert found.told.over > 0


def test_as_of_a_moment_only_what_had_come_to_light_by_then_is_known(cut_off: CutOff) -> None:
    """Corrected since: still what was known then. Bought after the end that is asked for: left out, however short."""
    reads = MonitorReads(Warehouse(cut_off.settings))
    first_us, end_us = int(cut_off.examples.occurred_us.min()), cut_off.cut_us - 28 * MICROS_PER_DAY

    def defaults() -> tuple[int, int]:
        found = reads.outcomes(first_us, end_us, cut_off.cut_us, ("amount",), FEATURE_SET_VERSION, none_by_chance)
        assert found.features.shape == (len(found.label), 1)
        return len(found.label), int(found.label.sum())

    def learnt() -> tuple[int, int]:
        found = Warehouse(cut_off.settings).matured_examples(cut_off.cut_us, FEATURE_SET_VERSION, none_by_chance)
        return len(found), int(found.label.sum())

    def lent() -> tuple[int, int]:
        first_day, end_day = first_us // MICROS_PER_DAY, end_us // MICROS_PER_DAY
        found = reads.lent(first_day, end_day, cut_off.cut_us, none_by_chance).lent.matured
        return len(found), int(found.defaulted.sum())

    learnt_before, lent_before = learnt(), lent()
    rows, before = defaults()
    asked = cut_off.seen.occurred_us < end_us
    asked &= cut_off.seen.mature_us <= cut_off.cut_us
    assert rows == pytest.approx(asked.sum(), rel=0.02)
    good = cut_off.seen.take(np.flatnonzero(asked & (cut_off.seen.label == 0))[:20])
    corrected = replace(good, label=np.ones(len(good), np.int8))
    late = rows_of(corrected, [0.05] * len(good), first=10**6 + 1)[tables.OUTCOMES]
    later = from_epoch_micros(cut_off.cut_us + MICROS_PER_DAY)
    short = cut_off.seen.take(np.flatnonzero(cut_off.seen.occurred_us > end_us + MICROS_PER_DAY)[:20])
    short = replace(
        short,
        event_id=np.array([f"short-{number}" for number in range(len(short))], object),
        mature_us=short.occurred_us + 14 * MICROS_PER_DAY,
        label=np.ones(len(short), np.int8),
    )
    write(
        cut_off.settings,
        {tables.OUTCOMES: [row | {"observed_at": later} for row in late]},
    )
    assert (learnt(), lent()) == (learnt_before, lent_before)
    write(cut_off.settings, rows_of(short, [0.05] * len(short), first=2 * 10**6))
    assert defaults() == (rows, before)


def test_what_was_called_off_lacks_no_outcome(cut_off: CutOff) -> None:
    """Nor does what a reviewer turned away: nobody lent, so nobody will ever tell."""
    first, until = (int(us) // MICROS_PER_DAY for us in (cut_off.examples.occurred_us.min(), cut_off.as_of_us))
    reads = MonitorReads(Warehouse(cut_off.settings))
    before = reads.lent(first, until, cut_off.as_of_us, none_by_chance)
    number = np.arange(len(cut_off.examples))
    decided = cut_off.examples.take((number % DECLINED != 0) & (number % LOADED != 0) & (cut_off.examples.label == 0))
    lacking = decided.take(
        np.flatnonzero(
            (decided.mature_us > cut_off.cut_us) & (decided.mature_us <= cut_off.as_of_us - LATE_DAYS * MICROS_PER_DAY)
        )[:20]
    )
    updates = [
        {
            "update_id": f"update-{place}",
            "event_id": event_id,
            "kind": "cancel" if place % 2 else "verdict",
            "verdict": None if place % 2 else "decline",
            "decided_at": from_epoch_micros(cut_off.as_of_us),
            "kafka_topic": "u",
            "kafka_partition": 0,
            "kafka_offset": place,
            "kafka_timestamp": from_epoch_micros(cut_off.as_of_us),
        }
        for place, event_id in enumerate(lacking.event_id)
    ]
    write(cut_off.settings, {tables.DECISION_UPDATES: updates})
    found = reads.lent(first, until, cut_off.as_of_us, none_by_chance)
    assert len(updates) == 20
    untold = [each.told.lacking + sum(source.loans for source in each.told.silent) for each in (before, found)]
    assert untold[0] - untold[1] == 20


def test_a_source_that_went_silent_beside_others_is_not_learnt_by_its_defaults(cut_off: CutOff) -> None:
    """The others' outcomes keep the clock going; of its own loans only those that went bad in time are known."""
    silent_us = cut_off.cut_us - 20 * MICROS_PER_DAY
    copied = cut_off.another_source("silent", first=4 * 10**6, told=lambda at: at <= silent_us)

    def of_it(event_ids: np.ndarray) -> np.ndarray:
        return np.array([each.startswith("silent-") for each in event_ids])

    found = Warehouse(cut_off.settings).matured_examples(cut_off.as_of_us, FEATURE_SET_VERSION, none_by_chance)
    learnt = found.take(of_it(found.event_id))
    assert 0 < learnt.mature_us.max() <= silent_us
    asked = cut_off.seen.mature_us <= silent_us
    assert learnt.label.mean() == pytest.approx(cut_off.seen.label[asked].mean(), rel=0.05)
    others = found.take(~of_it(found.event_id))
    assert others.mature_us.max() > silent_us

    first, until = (int(us) // MICROS_PER_DAY for us in (copied.occurred_us.min(), cut_off.as_of_us))
    lent = MonitorReads(Warehouse(cut_off.settings)).lent(first, until, cut_off.as_of_us, none_by_chance).lent.matured
    lent = lent.take(np.flatnonzero(lent.model_version == "silent"))
    assert lent.defaulted.mean() == pytest.approx(cut_off.seen.label[asked].mean(), rel=0.1)


def test_of_days_that_a_source_left_out_no_loan_is_learnt_from_and_it_is_said(cut_off: CutOff) -> None:
    """What it told in three days is lost; before and after that it has told of everything. Of the loans that ran their
    course then only the defaults are known, and they would be learnt as if nobody had repaid."""
    gap_us = cut_off.cut_us - 3 * MICROS_PER_DAY, cut_off.cut_us
    copied = cut_off.another_source(
        "gap", first=6 * 10**6, told=lambda at: at <= cut_off.as_of_us and not gap_us[0] <= at < gap_us[1]
    )
    lent = lent_of(copied)
    whole_days = [-(-gap_us[0] // MICROS_PER_DAY), gap_us[1] // MICROS_PER_DAY]
    warehouse = Warehouse(cut_off.settings)
    found = warehouse.matured_examples(cut_off.as_of_us, FEATURE_SET_VERSION, none_by_chance)
    learnt = found.take(np.array([each.startswith("gap-") for each in found.event_id]))
    ended = learnt.mature_us // MICROS_PER_DAY
    assert not ((ended >= whole_days[0]) & (ended < whole_days[1])).any()
    assert (ended > whole_days[1]).any() and (ended < whole_days[0]).any(), "days that it told of count"
    matured = lent.mature_us <= cut_off.as_of_us
    assert learnt.label.mean() == pytest.approx(lent.label[matured].mean(), rel=0.1)

    reads, as_of_us = MonitorReads(warehouse), cut_off.as_of_us
    first, until = (int(us) // MICROS_PER_DAY for us in (copied.occurred_us.min(), as_of_us))
    monitored = reads.lent(first, until, as_of_us, none_by_chance)
    theirs = monitored.lent.matured.of("gap")
    assert theirs.defaulted.mean() == pytest.approx(lent.label[matured].mean(), rel=0.15)
    assert MOST_LACKING * monitored.told.over < monitored.told.lacking <= monitored.told.over
    assert monitored.told.lacking >= SOME_LACKING
    assert "gap" not in {each.source for each in monitored.told.silent}
