# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # Fairness
# Age bracket and state are in no model and in no rule. Do the decisions differ by them all the same?

# %%
from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from notebooks.kit.access import read
from notebooks.kit.models import CONDITIONS, ECONOMICS, fit, inputs
from notebooks.kit.record import Record
from notebooks.kit.study import PURCHASE, study
from services.trainer.evaluate import auc
from services.trainer.families.linear import Logistic
from shared.contracts.enumerations import VALUES

record = Record("06_fairness")
purchases = study()
test = purchases.split.test
fitted = fit(purchases.split, Logistic(inputs("the purchase", PURCHASE), CONDITIONS))
first, last = (pd.Timestamp(int(edge), unit="us", tz="UTC").isoformat() for edge in test.occurred_us[[0, -1]])
groups = read(
    f"""
    SELECT event_id, customer_age_bracket AS age, customer_state AS state FROM `{{project}}.flit_bnpl_raw.transactions`
    WHERE occurred_at BETWEEN TIMESTAMP '{first}' AND TIMESTAMP '{last}'
    """
).drop_duplicates("event_id").set_index("event_id").reindex(test.event_id)  # fmt: skip
frame = groups.assign(
    approved=fitted.probability < ECONOMICS.break_even,
    said=fitted.probability,
    defaulted=test.label,
    amount=test.amount,
)

# %% [markdown]
# ## By age bracket and by state
# Approved, what was said, what happened, how well the model ranks within the group; and the adverse impact ratio: a
# group's rate of approval over that of the most approved group (below four fifths, US practice asks why).


# %%
def by(column: str, order: list[str]) -> pd.DataFrame:
    rows = {}
    for name in order:
        part = frame[frame[column] == name]
        if len(part) < 500:
            continue  # too few for a rate
        rows[name] = {
            "purchases": len(part), "approved, %": 100 * part["approved"].mean(), "said, %": 100 * part["said"].mean(),
            "happened, %": 100 * part["defaulted"].mean(),
            "AUC": auc(part["defaulted"].to_numpy(), part["said"].to_numpy()),
        }  # fmt: skip
    table = pd.DataFrame(rows).T.rename_axis(column)
    table["impact ratio"] = table["approved, %"] / table["approved, %"].max()
    # Two standard errors of what happened, as a share of what was said.
    error = 2 * np.sqrt(table["happened, %"] * (100 - table["happened, %"]) / table["purchases"])
    table["off by"] = (table["happened, %"] - table["said, %"]) / error
    return table


ages = by("age", list(VALUES["customer", "age_bracket"]))
states = by("state", sorted(frame["state"].dropna().unique()))
record.table("age", ages.drop(columns="off by"), ".2f")
for name, table in (("age", ages), ("state", states)):
    record.number(f"{name}_groups", len(table), ".0f")
    record.number(f"{name}_lowest_ratio", table["impact ratio"].min(), ".2f")
    record.text(f"{name}_lowest", str(table["impact ratio"].idxmin()))
    record.number(f"{name}_miscalibrated", int((table["off by"].abs() > 1).sum()), ".0f")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
left.bar(ages.index, ages["approved, %"])
left.set(title="Approved by age bracket, %", ylim=(0, 100))
right.scatter(states["said, %"], states["happened, %"], s=states["purchases"] / 40)
low, high = 0.9 * states["said, %"].min(), 1.1 * states["said, %"].max()
right.plot([low, high], [low, high], color="black", ls="--", lw=1)
right.set(title="Defaults by state, %", xlabel="said", ylabel="happened")
record.picture("groups", figure)
