# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # Problem definition
# What is to be predicted, by when it can be known, and by which figure a model is judged.

# %%
from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from notebooks.kit.access import read
from notebooks.kit.models import CONDITIONS, ECONOMICS, fit, inputs, profit_curve
from notebooks.kit.record import Record
from notebooks.kit.study import PURCHASE, study
from services.trainer.evaluate import profit_bp
from services.trainer.families.linear import Logistic

record = Record("02_problem_definition")
purchases = study()
test = purchases.split.test

# %% [markdown]
# ## When is a label known?
# A default is known when the first payment is missed, a good loan when its last instalment has passed.

# %%
known = read(
    """
    SELECT o.days_to_first_missed_payment AS days, t.installments_count AS instalments, COUNT(*) AS defaults
    FROM `{project}.flit_bnpl_raw.outcomes` AS o
    JOIN `{project}.flit_bnpl_raw.transactions` AS t ON t.event_id = o.event_id
    WHERE o.defaulted GROUP BY days, instalments
    """
).astype(float)
after = np.arange(14, 99, 14)
curves = {
    f"{int(count)} instalments": [group.loc[group["days"] <= day, "defaults"].sum() / group["defaults"].sum()
                                  for day in after]
    for count, group in known.groupby("instalments")
}  # fmt: skip
curves["all"] = [known.loc[known["days"] <= day, "defaults"].sum() / known["defaults"].sum() for day in after]
figure, axes = plt.subplots()
for name, shares in curves.items():
    axes.plot(after, 100 * np.array(shares), marker="o", label=name, lw=3 if name == "all" else 1.5)
axes.set(title="Defaults that are known so many days after the purchase", xlabel="days", ylabel="%", ylim=(0, 103))
axes.legend()
record.picture("maturity", figure)
shares = pd.DataFrame({"days": after, "known, %": 100 * np.array(curves["all"])})
record.table("maturity", shares, ".0f")
for day, share in zip(after, curves["all"], strict=True):
    record.number(f"known_after_{day}", 100 * share, ".0f")

# %% [markdown]
# ## Accuracy is no measure
# To say of everybody that they repay is right nearly always, and worth nothing.

# %%
fitted = fit(purchases.split, Logistic(inputs("the purchase", PURCHASE), CONDITIONS))
base = 100 * (1 - test.label.mean())
record.number("accuracy_of_saying_yes", base, ".1f")
cut_at_half = 100 * ((fitted.probability >= 0.5) == test.label).mean()
record.number("accuracy_of_the_model", cut_at_half, ".1f")
approve = fitted.probability < ECONOMICS.break_even
record.number("accuracy_at_break_even", 100 * (~approve == test.label.astype(bool)).mean(), ".1f")

# %% [markdown]
# ## What a decision earns
# Assumed: 3% of the amount on a good loan, 60% lost on a default. Break-even is where the two balance.

# %%
everyone = np.ones(len(test), dtype=bool)
record.number("break_even", 100 * ECONOMICS.break_even, ".2f")
record.number("profit_approve_all", profit_bp(test.label, test.amount, everyone, ECONOMICS), ".1f")
record.number("profit_rule", profit_bp(test.label, test.amount, test.rule_approves == 1, ECONOMICS), ".1f")
record.number("profit_model", profit_bp(test.label, test.amount, approve, ECONOMICS), ".1f")
best = purchases.test_rate < ECONOMICS.break_even
record.number("profit_ceiling", profit_bp(test.label, test.amount, best, ECONOMICS), ".1f")
record.number("approved_by_model", 100 * approve.mean(), ".0f")
record.number("auc_model", fitted.figures["auc"])
record.number("auc_ceiling", purchases.ceiling)

# %%
figure, axes = plt.subplots()
for name, probability in (("model", fitted.probability), ("ceiling: the simulator's own rate", purchases.test_rate)):
    share, profit = profit_curve(purchases, probability)
    axes.plot(100 * share, profit, label=name)
axes.axhline(0, color="grey", lw=1)
axes.set(
    title="Profit as more are approved, the least risky first", xlabel="approved, %", ylabel="basis points of volume"
)
axes.legend()
record.picture("profit", figure)
