"""Decisions with two models' answers on each, made up: one decides, the other stands beside it."""

from __future__ import annotations

import json

import numpy as np

from services.trainer.experiments.exposures import Exposures
from shared.contracts.identity import epoch_micros
from shared.experiments import CHAMPION
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.manifest import sigmoid
from tests.unit.trainer.experiments.traffic import AGES

CHAMPION_VERSION, CANDIDATE_VERSION = "c" * 16, "d" * 16
STARTED_US = epoch_micros("2026-06-01T12:00:00.000000Z")
CUT = 0.10
"""Both models approve below it."""


def decided(
    rows: int,
    seed: int = 1,
    *,
    deciding: str = CHAMPION_VERSION,
    beside: str = CANDIDATE_VERSION,
    candidate_noise: float = 0.1,
    champion_noise: float = 0.4,
    candidate_shift: float = 0.0,
    against_youngest: float = 0.0,
    matured: bool = True,
    days: float = 30.0,
) -> Exposures:
    """What each model says is the truth in log-odds and an error of its own (`*_noise`, a standard deviation). The
    candidate is off by `candidate_shift` on top, and by `against_youngest` for the youngest."""
    draws = np.random.default_rng(seed)
    truth = draws.normal(-3.0, 0.8, rows)
    age = np.array(AGES, dtype=object)[draws.integers(0, len(AGES), rows)]
    errors = {
        CHAMPION_VERSION: champion_noise * draws.normal(size=rows),
        CANDIDATE_VERSION: candidate_noise * draws.normal(size=rows)
        + candidate_shift
        + against_youngest * (age == AGES[0]),
    }
    said = {version: sigmoid(truth + error) for version, error in errors.items()}
    verdicts = {version: np.where(each < CUT, "approve", "decline") for version, each in said.items()}
    defaulted = (draws.random(rows) < sigmoid(truth)).astype(np.float64)
    occurred = STARTED_US + (np.arange(rows) / max(rows - 1, 1) * days * MICROS_PER_DAY).astype(np.int64)
    shadow = [
        json.dumps([{"model_version": beside, "probability_of_default": float(p), "decision": str(v)}])
        for p, v in zip(said[beside], verdicts[beside], strict=True)
    ]
    return Exposures(
        customer_id=np.array([f"cust_{i:06d}" for i in range(rows)], dtype=object),
        arm=np.full(rows, CHAMPION, dtype=object),
        decision=verdicts[deciding].astype(object),
        declined=verdicts[deciding] == "decline",
        own=verdicts[deciding].astype(object),
        lent=verdicts[deciding] == "approve",
        degraded=np.zeros(rows, dtype=bool),
        failed=np.zeros(rows, dtype=bool),
        model_version=np.full(rows, deciding, dtype=object),
        probability=said[deciding],
        shadow=np.array(shadow, dtype=object),
        occurred_us=occurred,
        decided_us=occurred,
        latency_s=np.full(rows, 0.02),
        amount=draws.uniform(20, 300, rows),
        age_bracket=age,
        state=np.array([f"S{i % 20:02d}" for i in range(rows)], dtype=object),
        defaulted=defaulted if matured else np.full(rows, np.nan),
        matured=np.full(rows, matured),
    )
