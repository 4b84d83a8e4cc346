"""What is looked at: rows of the warehouse, and counts of them, as data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pandas as pd
from scipy.stats import poisson
from sklearn.metrics import roc_auc_score

from services.trainer import spans
from services.trainer.examples import Examples
from services.trainer.warehouse import Warehouse
from shared.contracts.enumerations import VALUES
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.warehouse import tables, views

MAX_ROWS = 200_000
"""Of one frame, drawn by a hash of the event: more would tell no more of a rate."""

LEAST_OF_EITHER = 30
"""Defaults, and good loans, that a feature has to be known of before it can be found to tell them apart. With so many
the AUC of a feature that says nothing has a standard error of 0.05 or so."""

DAYS_BEFORE = 28
"""A day is compared with so many before it that had purchases: a business that grows fivefold in a year has no fault,
and a silence of a month doesn't become what is usual."""

EARLY_FOR_ITS_VOLUME, MUCH_FOR_ITS_VOLUME = 0.2, 5.0
"""A day with less than a fifth of the purchases of those before it, or more than five times as many: a fault of the
feed."""

CHANCE = 0.05
"""A day whose count would be as odd as often as this, were its share just that of the limit, says nothing: of eight
purchases a day, one or none is chance."""

MOST_PLANS = 0.9
"""By when so many of the plans have run their course, a day has its examples."""

CATEGORIES = {f"{block}_{field}": values for (block, field), values in VALUES.items()}
"""Column → the values that the contract knows."""

_DRAWN = f"ORDER BY TO_HEX(MD5(event_id)) LIMIT {MAX_ROWS}"


def _within(column: str) -> str:
    return f"{column} >= TIMESTAMP_MICROS({{since_us}}) AND {column} < TIMESTAMP_MICROS({{until_us}})"


_TRANSACTIONS = f"""
SELECT
  event_id, customer_id, source, occurred_at, CAST(amount AS FLOAT64) AS amount, currency, status, installments_count,
  customer_tenure_days, payment_credit_limit, fingerprint, {", ".join(CATEGORIES)}
FROM `{{project}}.{tables.TRANSACTIONS.id}`
WHERE {_within("occurred_at")} AND misplaced IS NOT TRUE
{_DRAWN}
"""

# A repeat of the same body is a producer's right; another body under the same id was refused before it got here, unless
# it is another customer's. Of whom is erased no body is left.
_BODIES = f"""
SELECT event_id, COUNT(DISTINCT fingerprint) AS bodies
FROM `{{project}}.{tables.TRANSACTIONS.id}`
WHERE {_within("occurred_at")} AND misplaced IS NOT TRUE AND customer_id IS NOT NULL
GROUP BY event_id, customer_id HAVING COUNT(*) > 1
{_DRAWN}
"""

_DAYS = f"""
SELECT FORMAT_TIMESTAMP('%Y-%m-%d', occurred_at) AS day, COUNT(DISTINCT event_id) AS purchases
FROM `{{project}}.{tables.TRANSACTIONS.id}`
WHERE {_within("occurred_at")} AND misplaced IS NOT TRUE
GROUP BY day ORDER BY day
"""

_OUTCOMES = f"""
SELECT
  o.event_id, o.home, o.defaulted, o.days_to_first_missed_payment, o.observed_at, t.occurred_at,
  TIMESTAMP_DIFF(o.observed_at, t.occurred_at, DAY) AS days_after, t.event_id IS NOT NULL AS has_purchase
FROM ({views.LATEST_OUTCOMES}) AS o
LEFT JOIN (
  SELECT event_id, occurred_at, {views.home()} AS home FROM `{{project}}.{views.TRANSACTIONS_CURRENT.id}`
) AS t ON t.event_id = o.event_id AND t.home = o.home
WHERE ({_within("t.occurred_at")}) OR (t.occurred_at IS NULL AND {_within("o.observed_at")})
ORDER BY TO_HEX(MD5(o.event_id)) LIMIT {MAX_ROWS}
"""

_FEATURES = f"""
SELECT event_id, occurred_at, feature_set_version, feature_hash, state, TO_JSON_STRING(features) AS features
FROM `{{project}}.{tables.FEATURES.id}`
WHERE {_within("occurred_at")} AND customer_id IS NOT NULL AND feature_set_version = '{{feature_set}}'
{_DRAWN}
"""

_values = msgspec.json.Decoder(dict[str, float | None])


@dataclass(frozen=True, slots=True)
class Span:
    """Of purchases, microseconds since 1970: from `since_us` on, before `until_us`."""

    since_us: int
    until_us: int


Frames = Mapping[str, pd.DataFrame]
"""By the name of the suite that is about each."""


def warehouse_frames(warehouse: Warehouse, span: Span, feature_set: str) -> dict[str, pd.DataFrame]:
    """Of purchases, outcomes and features."""

    def read(sql: str) -> pd.DataFrame:
        values = {"since_us": span.since_us, "until_us": span.until_us, "feature_set": feature_set}
        frame: pd.DataFrame = warehouse.rows(sql.format(project=warehouse.project, **values)).to_pandas()
        return frame

    return {
        "transactions": read(_TRANSACTIONS),
        "repeated_transactions": read(_BODIES),
        "transactions_by_day": with_empty_days(read(_DAYS), span=span),
        "outcomes": read(_OUTCOMES),
        "features": spread(read(_FEATURES)),
    }


def with_empty_days(days: pd.DataFrame, without: Sequence[spans.Span] = (), span: Span | None = None) -> pd.DataFrame:
    """The whole days between the first and the last, which may be parts of days: [day, purchases, share_of_median], of
    the median of the days before; none where it may be chance. One without a row had no purchase. `without`: times
    whose days are left out, those of which they take a part too. `span`: what was read; a day that it begins or ends
    with is whole, and has to be there where it is the end."""
    if days.empty:
        return days.assign(share_of_median=pd.Series(dtype="float64"))
    first, last = pd.Timestamp(days["day"].min()), pd.Timestamp(days["day"].max())
    begins = span is not None and pd.Timestamp(span.since_us, unit="us") == first
    ends = span is not None and span.until_us % MICROS_PER_DAY == 0
    if span is not None and ends:
        last = pd.Timestamp(span.until_us - MICROS_PER_DAY, unit="us")
    whole = pd.date_range(first, last)[0 if begins else 1 : None if ends else -1]
    reached = [(since_us - MICROS_PER_DAY + 1, until_us) for since_us, until_us in without]
    named = whole[spans.outside(whole.to_numpy().astype("datetime64[us]").astype(np.int64), reached)]
    counts = days.set_index("day")["purchases"].reindex(named.strftime("%Y-%m-%d"), fill_value=0)
    before = counts.where(counts > 0).rolling(DAYS_BEFORE, min_periods=1, closed="left").median().bfill()
    share, usual = (counts / before).to_numpy(), before.to_numpy()
    by_chance = np.where(
        share < EARLY_FOR_ITS_VOLUME,
        poisson.cdf(counts, EARLY_FOR_ITS_VOLUME * usual),
        np.where(share > MUCH_FOR_ITS_VOLUME, poisson.sf(counts - 1, MUCH_FOR_ITS_VOLUME * usual), 0.0),
    )
    told = np.where(by_chance > CHANCE, np.nan, share)
    return pd.DataFrame({"day": counts.index, "purchases": counts.to_numpy(), "share_of_median": told})


def spread(features: pd.DataFrame) -> pd.DataFrame:
    """A column for each feature, in place of the JSON."""
    values = pd.DataFrame(
        [_values.decode(text) for text in features["features"]], index=features.index, dtype="float64"
    )
    return pd.concat([features.drop(columns="features"), values], axis="columns")


def example_frames(examples: Examples, as_of_us: int, without: Sequence[spans.Span] = ()) -> dict[str, pd.DataFrame]:
    """Of the training set, just as it goes into the fits. `without`: times of which it has nothing on purpose."""
    rows = pd.DataFrame(
        {
            "event_id": examples.event_id,
            "label": examples.label,
            "weight": examples.weight,
            "days_mature": (as_of_us - examples.mature_us) / 86_400_000_000,
            "days_to_mature": (examples.mature_us - examples.occurred_us) / 86_400_000_000,
        }
    )
    values = pd.DataFrame(examples.features, columns=list(examples.feature_names))
    # Of the days since, only short plans have run their course: that they have fewer is no fault.
    course_us = np.quantile(examples.mature_us - examples.occurred_us, MOST_PLANS) if len(examples) else 0
    matured_us = min(as_of_us, int(examples.mature_us.max(initial=0)))  # earlier where outcomes have stopped
    long_ago = examples.occurred_us[examples.occurred_us <= matured_us - course_us]
    days = pd.Series(long_ago).floordiv(MICROS_PER_DAY).map(lambda day: np.datetime64(int(day), "D"))
    by_day = days.astype(str).value_counts().rename_axis("day").reset_index(name="purchases")
    return {
        "training_examples": rows,
        "training_columns": values,
        "training_examples_by_day": with_empty_days(by_day, without),
        "training_leakage": told_by_one(values, examples.label),
    }


def told_by_one(values: pd.DataFrame, label: np.ndarray) -> pd.DataFrame:
    """How well each feature alone tells the label: [feature, auc], 0.5 to 1, whichever way it points. Features that are
    known of too few to say are left out: of eight rows some feature always ranks the one default first."""
    found = []
    for name in values.columns:
        column = values[name].to_numpy(dtype=np.float64)
        known = ~np.isnan(column)
        if np.bincount(label[known], minlength=2).min() < LEAST_OF_EITHER:
            continue
        auc = float(roc_auc_score(label[known], column[known]))
        found.append((name, max(auc, 1 - auc)))
    return pd.DataFrame(found, columns=["feature", "auc"])
