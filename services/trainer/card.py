"""The model card: what a person should know of a model before trusting it.

It is part of the artefact, so it holds no clock times: the same training gives the same card.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from services.trainer.evaluate import Economics
from services.trainer.train import Trained
from shared.model_artifact.explanation import Explainer, Explanation
from shared.model_artifact.manifest import DataWindow

IMPORTANCE_ROWS = 2000
"""Enough for a stable mean of absolute contributions."""

INTENDED_USE = (
    "Ranks and prices the risk that a buy-now-pay-later purchase is not repaid, at the moment of the purchase, for a "
    "policy that approves, reviews or declines. Not for pricing, marketing or collection."
)
LIMITS = (
    "Learnt only from purchases whose outcome has matured, so it lags behind by the longest instalment plan.",
    "Learnt from purchases that were lent, since others have no outcome. Those that were approved by chance stand for "
    "what was turned away; of what never had a chance it knows nothing.",
    "Age bracket and state are never inputs; whether they are reconstructed from others is for the fairness report.",
)

UNEXPLAINED = "Gives no exact contributions, so that it may answer in shadow and never decide."


def model_card(
    chosen: Trained,
    compared: Sequence[Trained],
    window: DataWindow,
    metrics: Mapping[str, float],
    matrix: np.typing.NDArray[np.float32],
    parity: float,
    explanation: Explanation | None,
    economics: Economics,
) -> dict[str, Any]:
    """`matrix`: [n, F] hold-out inputs for the importance (mean absolute contribution, log-odds)."""
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
        "limits": list(LIMITS if explanation is not None else (UNEXPLAINED, *LIMITS)),
        "data": msgspec.to_builtins(window),
        "metrics": dict(metrics),
        "economics": {
            "margin_on_good": economics.margin_on_good,
            "loss_on_default": economics.loss_on_default,
            "break_even_probability": economics.break_even,
        },
        "calibration": msgspec.to_builtins(chosen.calibration),
        "compared": {item.candidate.name: {"validation_log_loss": item.validation_log_loss} for item in compared},
        "export_parity": parity,
        "importance": {name: round(value, 6) for name, value in ranked},
    }


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
        if isinstance(value, list):
            return "<ul>" + "".join(f"<li>{cell(inner)}</li>" for inner in value) + "</ul>"
        return html.escape(str(value))

    sections = "".join(
        f"<h2>{html.escape(name.replace('_', ' ').capitalize())}</h2>{cell(value)}" for name, value in card.items()
    )
    style = "body{font:15px/1.5 sans-serif;max-width:50rem;margin:2rem auto}th{text-align:left;padding-right:1rem}"
    title = f"Model {html.escape(version)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style><h1>{title}</h1>{sections}</html>"
    )
