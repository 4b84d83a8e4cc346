# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # Explanations: SHAP, LIME, eli5, and ours
# The scorer explains each decision from tables that the trainer exports with the model. Do other methods see the same?

# %%
from __future__ import annotations

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import shap
from eli5.sklearn import PermutationImportance
from lime.lime_tabular import LimeTabularExplainer
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, ClassifierMixin

from notebooks.kit.models import CONDITIONS, fit, inputs
from notebooks.kit.record import Record
from notebooks.kit.study import PURCHASE, study
from services.trainer.evaluate import auc
from services.trainer.families.xgboost_trees import XGBoostTrees
from shared.model_artifact.explanation import Explainer

MANY, SOME, FEW = 20_000, 2_000, 60
record = Record("07_explanations")
purchases = study()
fitted = fit(purchases.split, XGBoostTrees(inputs("the purchase", PURCHASE), CONDITIONS))
model, names = fitted.model, list(fitted.features)
test = purchases.split.test
matrix = test.columns(fitted.features)

# %% [markdown]
# ## Ours and SHAP's, in log-odds, for the same rows

# %%
explanation = model.explanation()
assert explanation is not None
explainer = Explainer(explanation, len(names))
started = time.perf_counter()
ours = explainer.contributions(matrix[:SOME])
our_ms = 1000 * (time.perf_counter() - started) / SOME
started = time.perf_counter()
by_shap = shap.TreeExplainer(model._model).shap_values(matrix[:SOME])
shap_ms = 1000 * (time.perf_counter() - started) / SOME
record.number("largest_difference", np.abs(ours - by_shap).max(), ".0e")
record.number("our_ms", our_ms, ".3f")
record.number("shap_ms", shap_ms, ".3f")
figure = plt.figure()
np.random.seed(1)
shap.summary_plot(by_shap, matrix[:SOME], feature_names=names, max_display=12, show=False, plot_size=(8, 5))
record.picture("shap", plt.gcf())

# %% [markdown]
# ## LIME: a straight line through perturbed neighbours of one purchase
# It needs no model but its answers, and gives another line each time it is asked.

# %%
filled = np.where(np.isnan(matrix), np.nanmedian(matrix, axis=0), matrix)


def both(values: NDArray[np.float64]) -> NDArray[np.float64]:
    probability = model.raw_probability(values.astype(np.float32))
    return np.column_stack([1 - probability, probability])


def by_lime(seed: int) -> tuple[NDArray[np.float64], float]:
    """[FEW, F] weights, and milliseconds for each."""
    lime = LimeTabularExplainer(filled[:SOME], feature_names=names, random_state=seed, discretize_continuous=False)
    weights = np.zeros((FEW, len(names)))
    began = time.perf_counter()
    for row in range(FEW):
        found = lime.explain_instance(filled[row], both, num_features=len(names), num_samples=2_000).local_exp[1]
        for place, weight in found:
            weights[row, place] = weight
    return weights, 1000 * (time.perf_counter() - began) / FEW


once, lime_ms = by_lime(1)
again, _ = by_lime(2)
record.number("lime_ms", lime_ms, ".0f")


def shared_top(a: NDArray[np.float64], b: NDArray[np.float64], count: int = 3) -> float:
    """How many of the strongest `count` features two explanations share, on average, as a share."""
    tops = [
        len(set(np.argsort(-np.abs(x))[:count]) & set(np.argsort(-np.abs(y))[:count]))
        for x, y in zip(a, b, strict=True)
    ]
    return float(np.mean(tops) / count)


record.number("lime_agrees_with_itself", 100 * shared_top(once, again), ".0f")
record.number("lime_agrees_with_ours", 100 * shared_top(once, ours[:FEW]), ".0f")
record.number("shap_agrees_with_ours", 100 * shared_top(by_shap[:FEW], ours[:FEW]), ".0f")
figure, axes = plt.subplots(figsize=(8, 5))
top = np.argsort(-np.abs(ours[0]))[:10][::-1]
axes.barh(np.arange(10) + 0.2, ours[0][top] / np.abs(ours[0]).max(), height=0.4, label="ours")
axes.barh(np.arange(10) - 0.2, once[0][top] / np.abs(once[0]).max(), height=0.4, label="LIME")
axes.set_yticks(np.arange(10), np.array(names)[top])
axes.set(title="One purchase: contributions, each as a share of its largest")
axes.legend()
record.picture("lime", figure)

# %% [markdown]
# ## eli5: how much AUC is lost when a feature is shuffled
# Of the model as a whole, not of one decision: good for a card, no answer to "why me".


# %%
class Asked(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The fitted model as scikit-learn's, which eli5 asks for."""

    classes_ = np.array([0, 1])

    def fit(self, X: object, y: object) -> Asked:
        return self

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        return both(X)


def score(estimator: Asked, X: NDArray[np.float64], y: NDArray[np.int8]) -> float:
    return auc(y, estimator.predict_proba(X)[:, 1])


shuffled = PermutationImportance(Asked(), scoring=score, n_iter=3, random_state=1, cv="prefit")
shuffled.fit(filled[:MANY].astype(np.float64), test.label[:MANY])
importance = pd.DataFrame(
    {
        "AUC lost when shuffled (eli5)": shuffled.feature_importances_,
        "mean size of contribution (SHAP)": np.abs(by_shap).mean(axis=0),
        "mean size of weight (LIME)": np.abs(once).mean(axis=0),
        "mean size of contribution (ours)": np.abs(ours).mean(axis=0),
    },
    index=pd.Index(names, name="feature"),
).sort_values("mean size of contribution (ours)", ascending=False)
record.table("importance", importance.head(8), ".4f")
record.number("eli5_rank", spearmanr(importance.iloc[:, 0], importance.iloc[:, 3]).statistic, ".2f")
record.number("lime_rank", spearmanr(importance.iloc[:, 2], importance.iloc[:, 3]).statistic, ".2f")
figure, axes = plt.subplots(figsize=(8, 4.5))
strongest = importance.head(10)[::-1]
axes.barh(strongest.index, strongest.iloc[:, 0])
axes.set(title="AUC lost when a feature is shuffled")
record.picture("eli5", figure)
record.text("strongest", str(importance.index[0]))
