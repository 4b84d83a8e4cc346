"""What can be learnt from each generator, on 60 days of 1,000 purchases: train on the first 40, judge on the last 20.

The rolling features are made here, from the events alone, by definitions of this file's own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.simulator.hidden import HiddenFile
from tests.unit.simulator import streams

pytestmark = pytest.mark.slow

STATIC = (
    "customer_credit_score_range",
    "customer_verification_level",
    "customer_income_bracket",
    "device_is_trusted",
    "product_risk_category",
    "risk_scenario",
)
HOUR_US = 3_600_000_000
JUDGED_FROM = "2026-07-11"

Matrix = npt.NDArray[np.float64]


async def sixty_days(generator: str, folder: Path) -> tuple[list[dict[str, Any]], Matrix]:
    """Events and their expected rates."""
    file = folder / "hidden.jsonl"
    asked = streams.request(end_date="2026-07-30", base_daily_volume=1000)
    events = await streams.history(asked, generator, hidden=HiddenFile(file))
    return events, np.array([json.loads(line)["expected_rate"] for line in file.read_text().splitlines()])


def static(events: list[dict[str, Any]]) -> Matrix:
    columns = [
        [float(event[field] == value) for event in events]
        for field in STATIC
        for value in sorted({event[field] for event in events})
    ]
    return np.array(columns).T


def rolling(events: list[dict[str, Any]]) -> Matrix:
    """Purchases in 24 hours and 7 days, instalments not yet due, defaults known: of the same customer, before."""
    rows = []
    past: dict[str, list[tuple[int, float, int, int | None]]] = defaultdict(list)
    for event in events:
        t = int(np.datetime64(event["_timestamp"], "us").astype(np.int64))
        day = t // (24 * HOUR_US)
        purchases = past[event["customer_id"]]
        owed = bad = 0.0
        for at, amount, count, missed in purchases:
            age = day - at // (24 * HOUR_US)
            owed += amount * max(0, count - age // 14) / count
            bad += missed is not None and missed < age
        recent = [sum(t - at < hours * HOUR_US for at, *_ in purchases) for hours in (24, 168)]
        rows.append([np.log1p(recent[0]), np.log1p(recent[1]), np.log1p(owed / 500), min(bad, 3)])
        purchases.append((t, event["amount"], event["installment_count"], event["days_to_first_missed_payment"]))
    return np.array(rows)


def auc_of_model(features: Matrix, labels: Matrix, judged: npt.NDArray[np.bool_]) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model.fit(features[~judged], labels[~judged])
    return float(roc_auc_score(labels[judged], model.predict_proba(features[judged])[:, 1]))


async def test_the_customers_own_past_raises_the_auc_of_bnpl_history(tmp_path: Path) -> None:
    events, rates = await sixty_days("bnpl_history", tmp_path)
    labels = np.array([float(event["will_default"]) for event in events])
    judged = np.array([event["_timestamp"] >= JUDGED_FROM for event in events])
    without = auc_of_model(static(events), labels, judged)
    with_past = auc_of_model(np.hstack([static(events), rolling(events)]), labels, judged)
    ceiling = float(roc_auc_score(labels[judged], rates[judged]))
    assert labels.mean() == pytest.approx(0.05, abs=0.007)
    assert with_past - without > 0.05
    assert with_past == pytest.approx(ceiling, abs=0.01)


async def test_the_ceiling_of_bnpl_is_that_of_the_real_source_and_the_past_adds_nothing(tmp_path: Path) -> None:
    events, rates = await sixty_days("bnpl", tmp_path)
    labels = np.array([float(event["will_default"]) for event in events])
    judged = np.array([event["_timestamp"] >= JUDGED_FROM for event in events])
    assert roc_auc_score(labels, rates) == pytest.approx(0.603, abs=0.012)
    gain = auc_of_model(np.hstack([static(events), rolling(events)]), labels, judged)
    gain -= auc_of_model(static(events), labels, judged)
    assert abs(gain) < 0.005
