# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # Label maturity
# Today is the end of day 144. What may be learnt from what is known by then, and what does each way cost?

# %%
from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from notebooks.kit.access import read
from notebooks.kit.models import CONDITIONS, auc_gap, fit, inputs
from notebooks.kit.record import Record
from notebooks.kit.study import DAY_US, PURCHASE, study
from services.trainer.evaluate import auc
from services.trainer.examples import Examples
from services.trainer.families.linear import Logistic
from services.trainer.families.xgboost_trees import XGBoostTrees
from services.trainer.split import Split

TODAY, MATURE, WINDOW, TEST = 144, 60, 30, 15
record = Record("05_label_maturity")
purchases = study()
examples, day = purchases.examples, purchases.day
missed = read(
    """
    SELECT event_id, days_to_first_missed_payment AS days
    FROM `{project}.flit_bnpl_raw.outcomes` WHERE defaulted
    """
).set_index("event_id")["days"]
after = missed.reindex(examples.event_id).to_numpy(dtype=np.float64, na_value=np.nan)
test = examples.take(purchases.days(TODAY, TODAY + TEST))
rate = purchases.rate[purchases.days(TODAY, TODAY + TEST)]
ceiling = auc(test.label, rate)
record.number("ceiling", ceiling, ".4f")

# %% [markdown]
# ## Three ways to take labels
# - **matured**: purchases whose last instalment has passed; 60 days of them, 84 days old.
# - **30-day label**: younger purchases, each judged by its first 30 days.
# - **seen so far**: everything, with the defaults that are known today.


# %%
def relabelled(rows: NDArray[np.bool_], label: NDArray[np.bool_]) -> Split:
    """The first four fifths to learn from, the rest to calibrate on; the test part is that of the future."""
    part = examples.take(rows)
    part = Examples(**{**part.__dict__, "label": label[rows].astype(np.int8)})
    cut = int(0.8 * len(part))
    return Split(part.take(slice(0, cut)), part.take(slice(cut, len(part))), test)


age = (TODAY * DAY_US + examples.occurred_us[0] // DAY_US * DAY_US - examples.occurred_us) / DAY_US
ways = {
    "matured": relabelled(day < MATURE, examples.label.astype(bool)),
    f"{WINDOW}-day label": relabelled((day >= TODAY - WINDOW - MATURE) & (day < TODAY - WINDOW), after <= WINDOW),
    "seen so far": relabelled(day < TODAY, after <= age),
}
alone = inputs("the purchase", PURCHASE)
free = replace(CONDITIONS, direction=lambda _: 0)
rows: dict[str, dict[str, float]] = {}
said = {}
for name, split in ways.items():
    fitted = fit(split, Logistic(alone, CONDITIONS))
    said[name] = fitted.probability
    gap, low, high = auc_gap(test.label, rate, fitted.probability)
    # As anybody would who hasn't written down which way each feature may move the risk.
    unguarded, *_ = auc_gap(test.label, rate, fit(split, XGBoostTrees(alone, free, depth=3)).probability)
    rows[name] = {
        "AUC": fitted.figures["auc"], "below the ceiling": gap, "from": low, "to": high, "unguarded trees": unguarded,
        "says, %": 100 * fitted.figures["mean_probability"], "defaults, %": 100 * fitted.figures["default_rate"],
    }  # fmt: skip

# %% [markdown]
# ## A discrete-time hazard model
# Each purchase gives a row for each 14-day period in which it could have defaulted and was watched; the model says how
# likely a default is in each (Shumway, 2001), and what it comes to over the plan. Young purchases count for as long as
# they have been watched.

# %%
PERIOD, EVERY = 14, 4
watched = np.flatnonzero((day < TODAY) & (np.arange(len(day)) % EVERY == 0))  # every fourth: enough, and quick
plan = examples.columns(("installment_count",))[:, 0]
periods = np.where(np.isnan(after[watched]), np.inf, np.ceil(after[watched] / PERIOD))
seen = np.minimum(np.floor(age[watched] / PERIOD), plan[watched])
lasts = np.minimum(periods, seen).astype(int)
of = np.repeat(np.arange(len(watched)), lasts)
number = np.concatenate([np.arange(1, last + 1) for last in lasts])
event = number == periods[of]

names = [name for name in PURCHASE if name != "installment_count"]
values = examples.columns(tuple(names)).astype(np.float64)
values = np.where(np.isnan(values), np.nanmedian(values[watched], axis=0), values)
scaler = StandardScaler().fit(values[watched])


def design(of_purchases: NDArray[np.intp], at: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scaled attributes, and which period of which plan it is."""
    cells = [(count, period) for count in (4, 6) for period in range(1, count + 1)]
    flags = [(plan[of_purchases] == count) & (at == period) for count, period in cells]
    return np.hstack([scaler.transform(values[of_purchases]), np.array(flags, dtype=np.float64).T])


hazard = LogisticRegression(C=0.05, max_iter=300).fit(design(watched[of], number), event)
rows_of_test = np.flatnonzero(purchases.days(TODAY, TODAY + TEST))
survives = np.ones(len(rows_of_test))
for period in range(1, 7):
    inside = plan[rows_of_test] >= period
    some = rows_of_test[inside]
    survives[inside] *= 1 - hazard.predict_proba(design(some, np.full(len(some), period)))[:, 1]
said["hazard"] = 1 - survives
gap, low, high = auc_gap(test.label, rate, said["hazard"])
rows["hazard"] = {
    "AUC": auc(test.label, said["hazard"]), "below the ceiling": gap, "from": low, "to": high,
    "unguarded trees": np.nan,
    "says, %": 100 * said["hazard"].mean(), "defaults, %": 100 * test.label.mean(),
}  # fmt: skip

# %%
table = pd.DataFrame(rows).T.rename_axis("labels")
record.table("ways", table)
for name in table.index:
    key = name.replace(" ", "_").replace("-", "_")
    record.number(f"gap_{key}", table.loc[name, "below the ceiling"], ".3f")
    record.number(f"unguarded_{key}", table.loc[name, "unguarded trees"], ".3f")
    record.number(f"says_{key}", table.loc[name, "says, %"], ".1f")
record.number("matured_gap", table.loc["matured", "below the ceiling"], ".4f")
record.number("matured_gap_low", table.loc["matured", "from"], "+.4f")
record.number("matured_gap_high", table.loc["matured", "to"], "+.4f")
record.number("default_rate", 100 * test.label.mean(), ".1f")
assert table.loc["matured", "below the ceiling"] <= 0.002

# %%
figure, axes = plt.subplots(figsize=(8, 3.5))
places = np.arange(len(table))
axes.errorbar(
    table["below the ceiling"], places, capsize=5, fmt="o",
    xerr=[table["below the ceiling"] - table["from"], table["to"] - table["below the ceiling"]],
)  # fmt: skip
axes.axvline(0, color="black", ls="--", lw=1)
axes.set_yticks(places, table.index)
axes.set(title="AUC lost against the ceiling, by the labels that were learnt from", ylim=(-0.5, len(table) - 0.5))
record.picture("ways", figure)
