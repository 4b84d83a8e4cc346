"""Vectors, probabilities and contributions to decisions. Pure: no client, no clock, no model runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.contracts.events import Decision, FeatureVector, Reason, VectorState, Verdict
from shared.contracts.transactions import fingerprint
from shared.feature_definitions import FEATURE_SET_VERSION, received
from shared.policy import Policy, apply, feature_reason
from shared.policy.reasons import PolicyReason

NO_MODEL = "none"
"""`model_version` of a decision that no model's probability went into."""

CHAMPION = "champion"
MAX_REASONS = 4

Channel = Literal["stream", "rest"]


class Degraded:
    """Why a fallback decided."""

    NO_MODEL = "no_model"
    MODEL_FAILED = "model_failed"
    FEATURE_SET = "feature_set_mismatch"
    """The vector was made by another version of the features than the model was trained on."""
    REBUILDING = "rebuilding"
    STATE_UNAVAILABLE = "state_unavailable"


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector that may be decided on."""

    vector: FeatureVector
    fingerprint: bytes
    """Of its transaction: which body of the event it is."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's answers to n vectors."""

    probabilities: NDArray[np.float64]
    """[n], calibrated; NaN where the model gave none."""
    contributions: NDArray[np.float64]
    """[n, F], log-odds of the raw probability; positive ones raised the risk."""


class Model(Protocol):
    """What is asked of a model."""

    @property
    def version(self) -> str: ...
    @property
    def feature_set_version(self) -> str: ...
    @property
    def feature_names(self) -> Sequence[str]: ...
    def score(self, matrix: NDArray[np.float32]) -> Scores: ...


class ModelFailed(Exception):
    """A loaded model gave no answer."""


def read_vector(value: bytes | None, key: bytes | None, schema_version: str | None) -> Vector:
    """A record of bnpl-features as a vector. Raises `Rejection`."""
    vector, _ = received.read_vector(value, key, schema_version)
    return Vector(vector, fingerprint(vector.transaction))


def matrix_of(features: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> NDArray[np.float32]:
    """[n, F] float32 inputs of a model, NaN for null. KeyError where a vector lacks a feature."""
    rows = [[row[name] for name in names] for row in features]
    with np.errstate(over="ignore"):  # what a float can't hold becomes infinite, as it does in training
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(names))  # None becomes NaN


def decide(
    vectors: Sequence[FeatureVector],
    models: Mapping[str, Model],
    policy: Policy,
    *,
    channel: Channel,
    decided_at: str,
    degraded: str | None = None,
) -> list[Decision]:
    """One decision for each vector, in order.

    `models`: those in service, by the feature set that each was trained on. `degraded`: why none of the vectors may be
    scored, where that is known beforehand. `decided_at`: canonical time. Raises ModelFailed: the caller then asks again
    without a model.
    """
    why = [degraded or _unfit(vector, models) for vector in vectors]
    answers = _score(vectors, why, models)
    decisions = []
    for vector, reason, answer in zip(vectors, why, answers, strict=True):
        probability: float | None = None
        model_reasons: list[Reason] = []
        version = NO_MODEL
        if answer is not None:
            probability = answer.probability
            if probability == probability:
                model_reasons = main_reasons(answer.contributions, answer.model.feature_names, vector)
                version = answer.model.version
            else:
                probability, reason = None, Degraded.MODEL_FAILED
        decisions.append(_decision(vector, probability, model_reasons, version, reason, policy, channel, decided_at))
    return decisions


@dataclass(frozen=True, slots=True)
class _Answer:
    model: Model
    probability: float
    contributions: NDArray[np.float64]


def _score(
    vectors: Sequence[FeatureVector], why: Sequence[str | None], models: Mapping[str, Model]
) -> list[_Answer | None]:
    """Each vector that may be scored by the model of its feature set, all of one set in one call."""
    fit: dict[str, list[int]] = {}
    for i, (vector, reason) in enumerate(zip(vectors, why, strict=True)):
        if reason is None:
            fit.setdefault(vector.feature_set_version, []).append(i)
    answers: list[_Answer | None] = [None] * len(vectors)
    for feature_set, rows in fit.items():
        model = models[feature_set]
        scores = model.score(matrix_of([vectors[i].features for i in rows], model.feature_names))
        for row, i in enumerate(rows):
            answers[i] = _Answer(model, float(scores.probabilities[row]), scores.contributions[row])
    return answers


def _unfit(vector: FeatureVector, models: Mapping[str, Model]) -> str | None:
    if vector.state is VectorState.REBUILDING:
        return Degraded.REBUILDING
    if not models:
        return Degraded.NO_MODEL
    model = models.get(vector.feature_set_version)
    if model is None:
        return Degraded.FEATURE_SET
    if vector.feature_set_version != FEATURE_SET_VERSION and not vector.features.keys() >= set(model.feature_names):
        return Degraded.FEATURE_SET  # of another set only the name was checked at the door
    return None


def main_reasons(contributions: NDArray[np.float64], names: Sequence[str], vector: FeatureVector) -> list[Reason]:
    """The features that raised the risk most, the largest contribution first; ties in the model's order."""
    largest = np.argsort(-contributions, kind="stable")[:MAX_REASONS]
    currency = vector.transaction.currency
    return [
        feature_reason(names[i], vector.features[names[i]], currency) for i in largest.tolist() if contributions[i] > 0
    ]


def _decision(
    vector: FeatureVector,
    probability: float | None,
    model_reasons: list[Reason],
    model_version: str,
    degraded: str | None,
    policy: Policy,
    channel: Channel,
    decided_at: str,
) -> Decision:
    transaction = vector.transaction
    answer = apply(policy, transaction, vector.features, probability, degraded)
    reasons = [*answer.policy_reasons, *model_reasons][:MAX_REASONS]
    if not reasons and answer.decision is not Verdict.APPROVE:
        reasons = [PolicyReason.ESTIMATED_RISK.reason]
    return Decision(
        event_id=vector.event_id,
        customer_id=vector.customer_id,
        transaction_id=transaction.transaction_id,
        decision=answer.decision,
        probability_of_default=probability,
        expected_loss=answer.expected_loss,
        reasons=reasons,
        model_version=model_version,
        policy_version=policy.name,
        feature_set_version=vector.feature_set_version,
        features=vector.features,
        feature_hash=vector.feature_hash,
        as_of=vector.as_of,
        variant=CHAMPION,
        shadow=[],
        degraded=degraded,
        channel=channel,
        occurred_at=vector.occurred_at,
        decided_at=decided_at,
    )
