"""Each expectation against the fault that it is there for: a table of faults by suites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from services.trainer.quality.checks import check, declared
from services.trainer.quality.frames import CATEGORIES, Span, example_frames, spread, told_by_one, with_empty_days
from services.trainer.quality.suites import suites
from tests.unit.trainer.synthetic import synthetic_examples

ROWS = 400
DAY = pd.Timedelta(days=1)


def sound() -> dict[str, pd.DataFrame]:
    """Every frame as it should be."""
    when = pd.date_range("2026-06-01", periods=ROWS, freq="h", tz="UTC")
    transactions = pd.DataFrame(
        {
            "event_id": [f"event-{number}" for number in range(ROWS)], "customer_id": "cust_1", "source": "tests",
            "occurred_at": when, "amount": 67.51, "currency": "USD", "status": "completed", "installments_count": 4,
            "customer_tenure_days": 384, "payment_credit_limit": 500.0, "fingerprint": "ab" * 16,
            **{name: values[0] for name, values in CATEGORIES.items()},
        }
    )  # fmt: skip
    for name in ("customer_id", "fingerprint"):  # of whom is erased
        transactions[name] = [None if row % 100 == 7 else kept for row, kept in enumerate(transactions[name])]
    outcomes = pd.DataFrame(
        {
            "event_id": transactions["event_id"], "home": 0,
            "defaulted": [number % 20 == 0 for number in range(ROWS)],
            "days_to_first_missed_payment": [14.0 if number % 20 == 0 else None for number in range(ROWS)],
            "observed_at": when + 56 * DAY, "occurred_at": when, "days_after": 56, "has_purchase": True,
        }
    )  # fmt: skip
    names = declared().feature_names
    features = pd.DataFrame(
        {
            "event_id": transactions["event_id"], "occurred_at": when, "feature_set_version": "1-test",
            "feature_hash": "0a" * 32, "state": "fresh", **dict.fromkeys(names, 0.5),
        }
    )  # fmt: skip
    days = pd.DataFrame({"day": [f"2026-06-{day:02}" for day in range(1, 20)], "purchases": 100})
    noise = np.random.default_rng(1).random((ROWS, len(names))).astype(np.float32)
    examples = replace(synthetic_examples(ROWS), features=noise, feature_names=tuple(names))
    as_of_us = int(examples.mature_us.max())
    return {
        "transactions": transactions,
        "repeated_transactions": pd.DataFrame({"event_id": ["event-1"], "bodies": [1]}),
        "transactions_by_day": with_empty_days(days),
        "outcomes": outcomes,
        "features": features,
        **example_frames(examples, as_of_us),
    }


Plant = Callable[[pd.DataFrame], pd.DataFrame]


def value(column: str, planted: object, rows: int = 1) -> Plant:
    def plant(frame: pd.DataFrame) -> pd.DataFrame:
        changed = [planted if row < rows else kept for row, kept in enumerate(frame[column])]
        return frame.assign(**{column: pd.Series(changed, index=frame.index)}).infer_objects()

    return plant


def repeated(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[0]]], ignore_index=True)


FAULTS: list[tuple[str, str, Plant]] = [
    ("transactions", "a null id", value("event_id", None)),
    ("transactions", "a null amount", value("amount", None)),
    ("transactions", "a negative amount", value("amount", -1.0)),
    ("transactions", "cents taken for units", lambda frame: frame.assign(amount=frame["amount"] / 100)),
    ("transactions", "an unknown currency", value("currency", "XXX")),
    ("transactions", "a status of another system", value("status", "shipped")),
    ("transactions", "a plan of 61 instalments", value("installments_count", 61)),
    ("transactions", "an account opened after the purchase", value("customer_tenure_days", -1)),
    ("transactions", "a value outside the contract", value("customer_income_bracket", "lots")),
    ("transactions", "a feed that lost its categories", value("product_category", "unknown", rows=40)),
    ("transactions", "most events several times", lambda frame: pd.concat([frame] * 3, ignore_index=True)),
    ("transactions", "a missing column", lambda frame: frame.drop(columns="currency")),
    ("transactions", "no rows", lambda frame: frame.iloc[:0]),
    ("repeated_transactions", "two bodies under one id", value("bodies", 2)),
    ("transactions_by_day", "a day without a purchase", value("share_of_median", 0.0)),
    ("transactions_by_day", "a day that came ten times", value("share_of_median", 10.0)),
    ("transactions_by_day", "a day twice", repeated),
    ("outcomes", "an outcome twice", repeated),
    ("outcomes", "neither a default nor a good loan", value("defaulted", None)),
    ("outcomes", "known before the purchase", value("days_after", -1)),
    ("outcomes", "a default that says no day", value("days_to_first_missed_payment", None)),
    ("outcomes", "a good loan that missed a payment", lambda frame: frame.assign(days_to_first_missed_payment=14.0)),
    ("outcomes", "outcomes of nobody's purchases", value("has_purchase", False, rows=40)),
    ("features", "a label among the features", lambda frame: frame.assign(defaulted=0.0)),
    ("features", "a post-decision column", lambda frame: frame.assign(expected_loss=0.0)),
    ("features", "a feature that is gone", lambda frame: frame.drop(columns="purchases_24h")),
    ("features", "a hash that is none", value("feature_hash", "zz")),
    ("features", "a share above one", value("night_share_30d", 1.5)),
    ("features", "a negative count", value("purchases_24h", -1.0)),
    ("features", "the past unknown", value("purchases_30d", None, rows=40)),
    ("features", "made while states were lost", value("state", "rebuilding", rows=40)),
    ("training_examples", "an example twice", repeated),
    ("training_examples", "a label that is neither", value("label", 2)),
    ("training_examples", "nobody defaults", lambda frame: frame.assign(label=0)),
    ("training_examples", "a label that has not matured", value("days_mature", -1.0)),
    ("training_examples", "mature at once", value("days_to_mature", 0.0)),
    ("training_examples", "a weight below one", value("weight", 0.5)),
    ("training_columns", "the label as a feature", lambda frame: frame.assign(will_default=0.0)),
    ("training_columns", "the days to the missed payment", lambda frame: frame.assign(days_to_first_missed_payment=1)),
    ("training_columns", "a feature less", lambda frame: frame.drop(columns="amount")),
    ("training_examples_by_day", "a hole in the history", value("share_of_median", 0.05, rows=10)),
    ("training_leakage", "a feature that has seen the label", value("auc", 0.97)),
]


def test_sound_rows_meet_every_expectation(tmp_path: Path) -> None:
    checked = check(sound(), tmp_path)
    assert checked.faults == ()
    assert checked.expectations > 100
    assert "<html" in Path(checked.pages).read_text()


def test_every_suite_catches_each_of_its_planted_faults(tmp_path: Path) -> None:
    of_suite: dict[str, list[tuple[str, Plant]]] = {}
    for suite, fault, plant in FAULTS:
        of_suite.setdefault(suite, []).append((fault, plant))
    missed = []
    # One of each suite at a time: what one frame is like says nothing of another.
    for together in zip_longest(*([(suite, *each) for each in planted] for suite, planted in of_suite.items())):
        planted = [each for each in together if each is not None]
        frames = sound()
        found = check({suite: plant(frames[suite]) for suite, _, plant in planted}, tmp_path, pages=False).faults
        missed += [(suite, fault) for suite, fault, _ in planted if suite not in {one.suite for one in found}]
    assert missed == []


def test_two_customers_under_one_event_id_have_an_outcome_each(tmp_path: Path) -> None:
    outcomes = sound()["outcomes"]
    both = pd.concat([outcomes, outcomes.iloc[[0]].assign(home=1)], ignore_index=True)
    assert check({"outcomes": both}, tmp_path, pages=False).faults == ()


def test_every_suite_has_a_planted_fault() -> None:
    assert {suite for suite, _, _ in FAULTS} == suites(declared()).keys()


def test_a_fault_names_what_was_seen_but_never_who(tmp_path: Path) -> None:
    planted = value("amount", -1.0)(sound()["transactions"])
    (fault,) = check({"transactions": planted}, tmp_path).faults
    assert "transactions" in str(fault) and "-1.0" in str(fault)
    tenure = value("customer_tenure_days", -77)(sound()["transactions"])
    (hidden,) = check({"transactions": tenure}, tmp_path).faults
    assert "1 rows" in str(hidden) and "-77" not in str(hidden)


def test_a_day_in_between_that_has_no_row_had_no_purchase() -> None:
    named = [f"2026-06-{day:02}" for day in (1, 2, 4, 5)]
    days = with_empty_days(pd.DataFrame({"day": named, "purchases": 10}))
    assert days["purchases"].to_list() == [10, 0, 10]  # the first and the last may be parts of days


def test_days_that_begin_and_end_what_was_read_are_whole_and_have_to_be_there() -> None:
    day_us = 86_400_000_000
    june = int(pd.Timestamp("2026-06-01").value // 1000)
    days = pd.DataFrame({"day": [f"2026-06-{day:02}" for day in (1, 2, 3)], "purchases": [100, 100, 3]})
    read = with_empty_days(days, span=Span(june, june + 3 * day_us))
    assert read["purchases"].to_list() == [100, 100, 3], "that yesterday brought three is seen today"
    silent = with_empty_days(days, span=Span(june, june + 5 * day_us))
    assert silent["purchases"].to_list() == [100, 100, 3, 0, 0], "as is that nothing comes any more"
    assert with_empty_days(days, span=Span(june - 1, june + 3 * day_us - 1))["purchases"].to_list() == [100]


def test_of_few_purchases_a_day_without_any_is_chance(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    named = pd.date_range("2025-01-01", periods=400).strftime("%Y-%m-%d")
    for usual in (1, 3, 8, 15, 40):
        counts = pd.DataFrame({"day": named, "purchases": rng.poisson(usual, 400)})
        assert check({"transactions_by_day": with_empty_days(counts)}, tmp_path, pages=False).faults == (), usual
    gone = counts.assign(purchases=counts["purchases"].where(counts.index != 200, 0))
    assert len(check({"transactions_by_day": with_empty_days(gone)}, tmp_path, pages=False).faults) == 1


def test_one_thin_day_of_the_past_stops_no_training_and_many_do(tmp_path: Path) -> None:
    named = pd.date_range("2025-01-01", periods=100).strftime("%Y-%m-%d")

    def faults(thin: int) -> int:
        lent = pd.DataFrame({"day": named, "purchases": [0 if 10 <= day < 10 + thin else 100 for day in range(100)]})
        frames = {"training_examples_by_day": with_empty_days(lent)}
        return len(check(frames, tmp_path, pages=False).faults)

    assert (faults(1), faults(4), faults(8)) == (0, 0, 1)


def test_a_folder_that_was_left_in_the_middle_of_a_file_is_begun_anew(tmp_path: Path) -> None:
    frames = {"transactions_by_day": sound()["transactions_by_day"]}
    check(frames, tmp_path, pages=False)
    (tmp_path / "gx" / "great_expectations.yml").write_text("fluent_datasources:\n  warehouse: {type: 'pan")
    assert check(frames, tmp_path, pages=False).faults == ()


def test_a_business_that_grows_tenfold_has_no_fault_and_one_day_of_silence_in_it_has_one(tmp_path: Path) -> None:
    named = pd.date_range("2025-01-01", periods=365).strftime("%Y-%m-%d")
    grown = pd.DataFrame({"day": named, "purchases": np.geomspace(100, 1000, 365).astype(int)})
    assert check({"transactions_by_day": with_empty_days(grown)}, tmp_path, pages=False).faults == ()
    faint = grown.assign(purchases=grown["purchases"].where((grown.index < 200) | (grown.index >= 240), 20))
    for faulty in (grown.drop(index=200), grown.drop(index=range(200, 240)), faint):
        (fault,) = check({"transactions_by_day": with_empty_days(faulty)}, tmp_path, pages=False).faults
        assert "share_of_median" in str(fault)


def test_days_of_which_only_short_plans_have_matured_are_no_hole(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    day_us, rows = 86_400_000_000, 20_000
    bought = (rng.integers(0, 200, rows) * day_us).astype(np.int64)
    plans = np.where(rng.random(rows) < 0.05, 14, 56).astype(np.int64)
    matured = bought + plans * day_us <= 200 * day_us
    examples = replace(
        synthetic_examples(int(matured.sum())),
        occurred_us=bought[matured],
        mature_us=(bought + plans * day_us)[matured],
    )
    by_day = example_frames(examples, 200 * day_us)["training_examples_by_day"]
    assert check({"training_examples_by_day": by_day}, tmp_path, pages=False).faults == ()
    assert by_day["day"].max() == str(np.datetime64(200 - 56 - 1, "D"))


def test_a_time_without_examples_on_purpose_is_no_hole(tmp_path: Path) -> None:
    day_us = 86_400_000_000
    bought = np.repeat(np.arange(100), 20) * day_us
    kept = bought[(bought < 40 * day_us) | (bought >= 70 * day_us)]
    examples = replace(synthetic_examples(len(kept)), occurred_us=kept, mature_us=kept + 56 * day_us)

    def faults(without: list[tuple[int, int]]) -> int:
        by_day = example_frames(examples, 200 * day_us, without)["training_examples_by_day"]
        return len(check({"training_examples_by_day": by_day}, tmp_path, pages=False).faults)

    assert faults([]) == 1
    assert faults([(40 * day_us, 70 * day_us)]) == 0


def test_leakage_is_measured_whichever_way_a_feature_points() -> None:
    label = np.repeat([0, 0, 1, 1], 20).astype(np.int8)
    rarely_known = np.where(np.arange(80) % 20, np.nan, label)
    frame = pd.DataFrame({
        "tells": np.tile([9.0, 8.0, 1.0, 2.0], (20, 1)).T.ravel(),
        "says_nothing": np.tile([1.0, 2.0], 40), "rarely_known": rarely_known, "empty": [np.nan] * 80,
    })  # fmt: skip
    found = told_by_one(frame, label).set_index("feature")["auc"]
    assert found.to_dict() == {"tells": 1.0, "says_nothing": 0.5}


def test_features_are_spread_into_columns() -> None:
    frame = spread(pd.DataFrame({"event_id": ["a", "b"], "features": ['{"x": 1.5, "y": null}', '{"x": 2, "y": 3}']}))
    assert frame["x"].to_list() == [1.5, 2.0] and np.isnan(frame["y"].iloc[0])
