# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # Model experiments
# Every family of the trainer on the same 60 days, chosen on 15, judged on the 15 after them; each run is in MLflow.

# %%
from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from notebooks.kit.models import CONDITIONS, auc_gap, fit, inputs, profit_curve, tracked
from notebooks.kit.record import Record
from notebooks.kit.study import PURCHASE, study
from services.trainer.candidates import candidates_of
from services.trainer.evaluate import auc
from services.trainer.families.catboost_trees import CatBoostTrees
from services.trainer.families.ensemble import Ensemble
from services.trainer.families.found import DEFAULT_FAMILIES
from services.trainer.families.lightgbm_trees import LightGBMTrees
from services.trainer.families.linear import ElasticNet, Logistic, Ridge
from services.trainer.families.neural_network import NeuralNetwork
from services.trainer.families.xgboost_trees import XGBoostTrees
from services.trainer.split import Split
from services.trainer.train import choose, learn

record = Record("04_models")
purchases = study()
split = purchases.split
label = split.test.label
ceiling = purchases.ceiling
record.number("ceiling", ceiling, ".4f")
record.number("train_rows", len(split.train), ",.0f")
record.number("test_rows", len(split.test), ",.0f")

# %%
alone = inputs("the purchase", PURCHASE)
families = (Logistic, Ridge, ElasticNet, XGBoostTrees, LightGBMTrees, CatBoostTrees, Ensemble, NeuralNetwork)
models = {}
for family in families:
    fitted = fit(split, family(alone, CONDITIONS))
    models[family.family] = fitted
    gap, low, high = auc_gap(label, purchases.test_rate, fitted.probability)
    tracked("families", fitted, split, auc_ceiling=ceiling, auc_gap=gap, auc_gap_low=low, auc_gap_high=high)
    fitted.figures.update(gap=gap, gap_low=low, gap_high=high)
shown = {
    "auc": "AUC", "auc_low": "from", "auc_high": "to", "gap": "below the ceiling", "gap_low": "gap from",
    "gap_high": "gap to", "log_loss": "log-loss", "ece": "calibration error", "profit_bp": "profit, bp",
}  # fmt: skip
table = pd.DataFrame({name: fitted.figures for name, fitted in models.items()}).T[list(shown)].rename(columns=shown)
table["seconds"] = [fitted.seconds for fitted in models.values()]
record.table("families", table.rename_axis("family"), ".4f")

# %%
ranked = table.sort_values("AUC")
figure, axes = plt.subplots()
places = np.arange(len(ranked))
axes.errorbar(
    ranked["AUC"], places, xerr=[ranked["AUC"] - ranked["from"], ranked["to"] - ranked["AUC"]], fmt="o", capsize=4
)
axes.axvline(ceiling, color="black", ls="--", label=f"ceiling {ceiling:.3f}")
axes.set_yticks(places, ranked.index)
axes.set(title="AUC on the test part, with 95% intervals")
axes.legend()
record.picture("auc", figure)

# %% [markdown]
# ## What the trainer itself would choose
# The simplest model that no other clearly beats on the validation part; the test part has no say.

# %%
trained = learn(split, candidates_of(DEFAULT_FAMILIES, CONDITIONS))
chosen = choose(trained)
probability = chosen.probability(split.test)
gap, low, high = auc_gap(label, purchases.test_rate, probability)
record.text("recommended", chosen.candidate.name)
record.number("recommended_auc", auc(label, probability), ".4f")
record.number("recommended_gap", gap, ".4f")
record.number("recommended_gap_low", low, "+.4f")
record.number("recommended_gap_high", high, "+.4f")
assert gap <= 0.002, f"{gap:.4f} below the ceiling"

# %% [markdown]
# ## Calibration
# Twenty groups of equal size: what was said, and what happened.

# %%
figure, axes = plt.subplots(figsize=(5.5, 5))
for name in ("logistic", "xgboost", "neural-network"):
    said = models[name].probability
    groups = pd.qcut(said, 20, labels=False, duplicates="drop")
    by_group = pd.DataFrame({"said": said, "happened": label}).groupby(groups).mean()
    axes.plot(100 * by_group["said"], 100 * by_group["happened"], marker="o", ms=4, lw=1, label=name)
top = 100 * float(by_group["said"].max()) * 1.1
axes.plot([0, top], [0, top], color="black", ls="--", lw=1)
axes.set(title="Probability of default, %", xlabel="said", ylabel="happened")
axes.legend()
record.picture("calibration", figure)

# %% [markdown]
# ## Profit
# The simulator's rate is the ceiling here too.

# %%
figure, axes = plt.subplots()
for name in ("logistic", "xgboost"):
    share, profit = profit_curve(purchases, models[name].probability)
    axes.plot(100 * share, profit, label=name)
share, profit = profit_curve(purchases, purchases.test_rate)
axes.plot(100 * share, profit, color="black", ls="--", label="ceiling")
axes.axhline(0, color="grey", lw=1)
axes.set(title="Profit as more are approved", xlabel="approved, %", ylabel="basis points of the volume asked for")
axes.legend()
record.picture("profit", figure)

# %% [markdown]
# ## How much data it takes
# Learning curves: the same test part, more and more of the training days. And a large booster, which is a trap.

# %%
draws = np.random.default_rng(1)
order = draws.permutation(len(split.train))
sizes = [2_500, 10_000, 40_000, 160_000, len(split.train)]
curves: dict[str, list[float]] = {"logistic": [], "xgboost": []}
for size in sizes:
    part = Split(split.train.take(np.sort(order[:size])), split.validate, split.test)
    for family in (Logistic, XGBoostTrees):
        curves[family.family].append(fit(part, family(alone, CONDITIONS)).figures["auc"])
figure, axes = plt.subplots()
for name, reached in curves.items():
    axes.plot(sizes, reached, marker="o", label=name)
axes.axhline(ceiling, color="black", ls="--", label="ceiling")
axes.set(title="AUC by size of the training part", xlabel="purchases", xscale="log")
axes.legend()
record.picture("learning", figure)
record.table("learning", pd.DataFrame(curves, index=pd.Index(sizes, name="purchases")), ".4f")
record.number("auc_few", curves["logistic"][0])
record.number("auc_all", curves["logistic"][-1])

# %%
from xgboost import XGBClassifier  # noqa: E402

deep = XGBClassifier(n_estimators=500, max_depth=6, n_jobs=2, tree_method="hist", random_state=1)
deep.fit(split.train.columns(PURCHASE), split.train.label)
record.number("deep_auc", auc(label, deep.predict_proba(split.test.columns(PURCHASE))[:, 1]))

# %% [markdown]
# ## Is PyTorch needed?
# A network has nothing to find here that a straight line doesn't: a larger or another one can't pass the ceiling.

# %%
network, line = models["neural-network"], models["logistic"]
gain, gain_low, gain_high = auc_gap(label, network.probability, line.probability)
record.number("network_gain", gain, "+.4f")
record.number("network_gain_low", gain_low, "+.4f")
record.number("network_gain_high", gain_high, "+.4f")
