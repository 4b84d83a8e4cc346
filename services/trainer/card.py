"""The model card: what a person should know of a model before trusting it.

It is part of the artefact, so it holds no clock times: the same training gives the same card.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np

from services.trainer.evaluate import Economics
from services.trainer.learning_set import LearningSet
from services.trainer.pages import document
from services.trainer.segments import GROUPS, SEGMENTS
from services.trainer.train import Trained
from services.trainer.tuning import Trial
from shared.model_artifact.explanation import Explainer, Explanation

IMPORTANCE_ROWS = 2000
"""Enough for a stable mean of absolute contributions."""

INTENDED_USE = (
    "Ranks and prices the risk that a buy-now-pay-later purchase is not repaid, at the moment of the purchase, for a "
    "policy that approves, reviews or declines. Not for pricing, marketing or collection."
)
LAGGING = "Learnt only from purchases whose outcome has matured, so it lags behind by the longest instalment plan."
EXPECTED = (
    "Learnt also from loans that still run, by what a hazard model expects of them: where defaults begin to show "
    "earlier or later than they did, it is wrong about these until they have matured."
)
LIMITS = (
    "Learnt from purchases that were lent, since others have no outcome. Those that were approved by chance stand for "
    "what was turned away; of what never had a chance it knows nothing.",
    "Age bracket and state are never inputs, and are measured under fairness; whether they are reconstructed from "
    "others is for the fairness report.",
)

UNEXPLAINED = "Gives no exact contributions, so that it may answer in shadow and never decide."


@dataclass(frozen=True)
class Measured:
    """What was found about the chosen model."""

    metrics: Mapping[str, float]
    parity: float
    segments: Mapping[str, Any]
    """Figures by column and value (`segments.by_segment`); empty where nobody told what the purchases were."""
    reasons_stability: Mapping[str, object] | None


def model_card(
    chosen: Trained,
    compared: Sequence[Trained],
    trials: Sequence[Trial],
    learnt_from: LearningSet,
    measured: Measured,
    explanation: Explanation | None,
    economics: Economics,
) -> dict[str, Any]:
    """Importance is the mean absolute contribution over the test part, in log-odds."""
    matrix = learnt_from.split.test.columns(chosen.feature_names)
    ranked: list[tuple[str, float]] = []
    if explanation is not None:
        explainer = Explainer(explanation, len(chosen.feature_names))
        importance = np.abs(explainer.contributions(matrix[:IMPORTANCE_ROWS])).mean(axis=0)
        ranked = sorted(
            zip(chosen.feature_names, importance.tolist(), strict=True), key=lambda each: (-each[1], each[0])
        )
    return {
        "model": chosen.candidate.name,
        "intended_use": INTENDED_USE,
        "limits": _limits(explanation, learnt_from),
        "data": msgspec.to_builtins(learnt_from.window),
        "labels": learnt_from.labels,
        "metrics": dict(measured.metrics),
        "economics": {
            "margin_on_good": economics.margin_on_good,
            "loss_on_default": economics.loss_on_default,
            "break_even_probability": economics.break_even,
        },
        "calibration": msgspec.to_builtins(chosen.calibration),
        "settings": chosen.candidate.settings,
        "fitted_on": chosen.fitted_on,
        "compared": {item.candidate.name: {"validation_log_loss": item.validation_log_loss} for item in compared},
        "tuning": {"trials": len(trials), "made": [asdict(trial) for trial in trials]},
        "export_parity": measured.parity,
        "by_segment": {name: measured.segments[name] for name in SEGMENTS if name in measured.segments},
        "fairness": {name: measured.segments[name] for name in GROUPS if name in measured.segments},
        "reasons_stability": measured.reasons_stability,
        "importance": {name: round(value, 6) for name, value in ranked},
    }


def _limits(explanation: Explanation | None, learnt_from: LearningSet) -> list[str]:
    lag = LAGGING if learnt_from.labels["kind"] == "matured" else EXPECTED
    return [*([] if explanation is not None else [UNEXPLAINED]), lag, *LIMITS]


def card_html(version: str, card: Mapping[str, Any]) -> str:
    """The card as one page without scripts or outside files."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.5g}"
        if isinstance(value, Mapping):
            rows = "".join(
                f"<tr><th>{html.escape(str(key))}</th><td>{cell(inner)}</td></tr>" for key, inner in value.items()
            )
            return f"<table>{rows}</table>"
        if isinstance(value, list) and len(value) == 3 and all(isinstance(inner, float) for inner in value):
            return "{:.4g} ({:.4g} to {:.4g})".format(*value)
        if isinstance(value, list):
            return "<ul>" + "".join(f"<li>{cell(inner)}</li>" for inner in value) + "</ul>"
        return html.escape(str(value))

    sections = "".join(
        f"<h2>{html.escape(name.replace('_', ' ').capitalize())}</h2>{cell(value)}" for name, value in card.items()
    )
    style = "body{font:15px/1.5 sans-serif;max-width:50rem;margin:2rem auto}th{text-align:left;padding-right:1rem}"
    title = f"Model {html.escape(version)}"
    return document(title, style, sections)
