# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # Feature engineering
# What the customer's past is worth: nothing where the law of defaults doesn't look at it, much where it does.

# %%
from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from notebooks.kit.models import CONDITIONS, auc_gap, fit, inputs, tracked
from notebooks.kit.record import Record
from notebooks.kit.study import EVERYTHING, PAST, PURCHASE, study
from services.trainer.families.xgboost_trees import XGBoostTrees
from shared.feature_definitions import FEATURE_SET_VERSION, FEATURES

record = Record("03_features")
record.number("features", len(FEATURES), ".0f")
record.number("of_the_purchase", len(PURCHASE), ".0f")
record.number("of_the_past", len(PAST), ".0f")
record.text("feature_set", FEATURE_SET_VERSION)

# %% [markdown]
# ## With and without the past, on both of the simulator's laws
# The same trees, the same purchases; the difference on the same test rows, with the middle 95% of a paired bootstrap.

# %%
rows = {}
for generator in ("bnpl", "bnpl_history"):
    purchases = study(generator)
    label = purchases.split.test.label
    alone, whole = (
        fit(purchases.split, XGBoostTrees(inputs(name, names), CONDITIONS, depth=2))
        for name, names in (("the purchase", PURCHASE), ("with the past", EVERYTHING))
    )
    for fitted in (alone, whole):
        tracked(f"features {generator}", fitted, purchases.split, auc_ceiling=purchases.ceiling)
    gap, low, high = auc_gap(label, whole.probability, alone.probability)
    rows[generator] = {
        "ceiling": purchases.ceiling, "the purchase": alone.figures["auc"], "with the past": whole.figures["auc"],
        "gain": gap, "from": low, "to": high,
    }  # fmt: skip
    record.number(f"{generator}_gain", gap, "+.3f")
    record.number(f"{generator}_gain_low", low, "+.3f")
    record.number(f"{generator}_gain_high", high, "+.3f")
    record.number(f"{generator}_ceiling", purchases.ceiling)
    record.number(f"{generator}_with", whole.figures["auc"])
worth = pd.DataFrame(rows).T.rename_axis("law")
record.table("worth", worth)

# %%
figure, axes = plt.subplots(figsize=(8, 3))
places = np.arange(len(worth))
axes.errorbar(
    worth["gain"], places, xerr=[worth["gain"] - worth["from"], worth["to"] - worth["gain"]], fmt="o", capsize=5
)
axes.axvline(0, color="grey", lw=1)
axes.set_yticks(places, worth.index)
axes.set(title="AUC gained by the customer's past", ylim=(-0.5, len(worth) - 0.5))
record.picture("gain", figure)

# %% [markdown]
# ## What it is that helps
# Where the law looks at the past: how defaults go with purchases of the last 24 hours, and with defaults known.

# %%
purchases = study("bnpl_history")
frame = pd.DataFrame(purchases.examples.features, columns=list(purchases.examples.feature_names))
frame["defaulted"] = purchases.examples.label
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
for panel, name in ((left, "purchases_24h"), (right, "defaults_known")):
    groups = frame.assign(**{name: frame[name].clip(upper=4)}).groupby(name)["defaulted"].agg(["mean", "count"])
    panel.bar(groups.index, 100 * groups["mean"])
    panel.set(title=name, xlabel="", ylabel="defaults, %")
record.picture("velocity", figure)
velocity = frame.groupby(frame["purchases_24h"].clip(upper=3))["defaulted"].mean()
record.number("default_rate_first", 100 * velocity.iloc[0], ".1f")
record.number("default_rate_busy", 100 * velocity.iloc[-1], ".1f")
