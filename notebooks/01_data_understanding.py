# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # Data understanding
# What the purchases look like, what is missing, and what can be seen of a default before any model is made.

# %%
from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.express as px
import seaborn as sns

from notebooks.kit.access import read
from notebooks.kit.record import Record
from notebooks.kit.study import study
from shared.contracts.enumerations import VALUES

record = Record("01_data_understanding")
purchases = study()

# %% [markdown]
# ## Straight from the warehouse
# pandas-gbq, with a bound on what the query may cost.

# %%
by_day = read(
    """
    SELECT CAST(DATE(occurred_at) AS STRING) AS day, COUNT(*) AS purchases, CAST(SUM(amount) AS FLOAT64) AS volume,
      COUNT(DISTINCT customer_id) AS customers
    FROM `{project}.flit_bnpl_raw.transactions` GROUP BY day ORDER BY day
    """
)
by_day["day"] = pd.to_datetime(by_day["day"])
record.number("purchases", by_day["purchases"].sum(), ",.0f")
record.number("days", len(by_day), ".0f")
record.number("smallest_day", by_day["purchases"].min(), ",.0f")
record.number("largest_day", by_day["purchases"].max(), ",.0f")

# %%
figure, axes = plt.subplots()
axes.plot(by_day["day"], by_day["purchases"], lw=1)
weekly = by_day.set_index("day")["purchases"].rolling(7, center=True).mean()
axes.plot(weekly.index, weekly, lw=2.5, label="seven days")
axes.set(title="Purchases a day", xlabel="", ylabel="purchases", ylim=(0, None))
axes.legend()
record.picture("volume", figure)

# %% [markdown]
# ## Amounts, plans, and what is missing

# %%
columns = ", ".join(
    ["CAST(amount AS FLOAT64) AS amount", "installments_count", "customer_tenure_days", "payment_credit_limit"]
    + ["payment_credit_utilization", "source_scores_risk_score", "product_bnpl_eligible"]
    + [f"{block}_{field}" for block, field in VALUES]
)
raw = read(
    f"""
    SELECT {columns}, o.defaulted
    FROM `{{project}}.flit_bnpl_raw.transactions` AS t
    JOIN `{{project}}.flit_bnpl_raw.outcomes` AS o ON o.event_id = t.event_id
    WHERE t.occurred_at < TIMESTAMP_ADD((SELECT MIN(occurred_at) FROM `{{project}}.flit_bnpl_raw.transactions`),
                                        INTERVAL 14 DAY)
    """
)
record.number("sample", len(raw), ",.0f")
record.number("amount_mean", raw["amount"].mean(), ".0f")
record.number("amount_low", raw["amount"].min(), ".2f")
record.number("amount_high", raw["amount"].max(), ".2f")
record.number("default_rate", 100 * raw["defaulted"].mean(), ".1f")
record.number("six_instalments", 100 * (raw["installments_count"] == 6).mean(), ".0f")
missing = (100 * raw.isna().mean()).rename("missing").loc[lambda share: share > 0]
record.number("utilization_missing", missing.get("payment_credit_utilization", 0.0), ".0f")
record.table("missing", missing.rename_axis("column").to_frame("missing, %"), ".1f")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
sns.histplot(raw, x="amount", hue="defaulted", stat="density", common_norm=False, bins=40, ax=left)
left.set(title="Amount, by what became of it")
sns.histplot(raw, x="customer_tenure_days", hue="defaulted", stat="density", common_norm=False, bins=40, ax=right)
right.set(title="Days since the account was opened")
record.picture("amounts", figure)

# %% [markdown]
# ## Who defaults
# One column at a time: the rate of default in each group, with the 95% interval of a binomial share (Wilson).

# %%
SHOWN = (
    "customer_credit_score_range", "customer_verification_level", "customer_income_bracket", "product_risk_category",
    "checkout_purchase_context", "device_type",
)  # fmt: skip


def wilson(bad: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson (1927): the middle and half the width of a 95% interval of a share."""
    z = 1.96
    middle = (bad + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(bad * (n - bad) / n + z * z / 4)
    return middle, half


figure, axes = plt.subplots(2, 3, figsize=(11, 6), sharey=True)
for panel, name in zip(axes.flat, SHOWN, strict=True):
    block, _, field = name.partition("_")
    order = [value for value in VALUES[block, field] if value in set(raw[name])]
    groups = raw.groupby(name)["defaulted"].agg(["sum", "count"]).astype(float).loc[order]
    middle, half = wilson(groups["sum"].to_numpy(), groups["count"].to_numpy())
    panel.errorbar(range(len(order)), 100 * middle, 100 * half, fmt="o", capsize=4)
    panel.set_xticks(range(len(order)), order, rotation=20)
    panel.set(title=name.partition("_")[2].replace("_", " "), ylabel="defaults, %")
    panel.axhline(100 * raw["defaulted"].mean(), color="grey", lw=1)
record.picture("who_defaults", figure)

# %% [markdown]
# ## The simulator's own score
# It comes with each event. It is never an input: no checkout knows it, and it can be rebuilt from the visible fields.

# %%
deciles = raw.assign(
    decile=pd.qcut(raw["source_scores_risk_score"], 10, labels=False, duplicates="drop"),
    score=raw["source_scores_risk_score"],
)
rates = deciles.groupby("decile").agg(defaults=("defaulted", "mean"), score=("score", "mean"))
record.number("rate_lowest_decile", 100 * rates["defaults"].iloc[0], ".1f")
record.number("rate_highest_decile", 100 * rates["defaults"].iloc[-1], ".1f")
record.page(
    "risk_by_credit_and_income",
    px.density_heatmap(
        raw.assign(defaulted=raw["defaulted"].astype(float)),
        x="customer_credit_score_range", y="customer_income_bracket", z="defaulted", histfunc="avg",
        category_orders={
            "customer_credit_score_range": VALUES["customer", "credit_score_range"],
            "customer_income_bracket": VALUES["customer", "income_bracket"],
        },
        title="Share of defaults",
    ),
)  # fmt: skip

# %% [markdown]
# ## Does the customer's past say more?
# How each feature goes with the label, by Spearman's rank correlation, on the first 30 days.

# %%
some = purchases.examples.take(purchases.days(0, 30))
frame = pd.DataFrame(some.features, columns=list(some.feature_names))
correlation = frame.corrwith(pd.Series(some.label.astype(float)), method="spearman").dropna()
strongest = correlation.reindex(correlation.abs().sort_values(ascending=False).index)[:20][::-1]
figure, axes = plt.subplots(figsize=(8, 6))
axes.barh(strongest.index, strongest)
axes.set(title="Rank correlation with default, the strongest 20")
record.picture("correlation", figure)
record.text("strongest_feature", str(strongest.index[-1]))
record.number("strongest_correlation", strongest.iloc[-1], ".2f")
