"""Vectors, probabilities and contributions to decisions. Pure: no client, no clock, no model runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.contracts.events import Decision, FeatureVector, Reason, ShadowScore, VectorState, Verdict
from shared.experiments import Experiment, arm_of
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.policy import ORDINARY, Circumstances, Policy, apply, feature_reason
from shared.policy.reasons import PolicyReason

NO_MODEL = "none"
"""`model_version` of a decision that no model's probability went into."""

MAX_REASONS = 4

Channel = Literal["stream", "rest"]


class Degraded(StrEnum):
    """Why a fallback decided."""

    NO_MODEL = "no_model"
    MODEL_FAILED = "model_failed"
    FEATURE_SET = "feature_set_mismatch"
    """The vector was made by another version of the features than the model was trained on."""
    REBUILDING = "rebuilding"
    STATE_UNAVAILABLE = "state_unavailable"


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's answers to n vectors."""

    probabilities: NDArray[np.float64]
    """[n], calibrated; NaN where the model gave none."""
    contributions: NDArray[np.float64] | None
    """[n, F], log-odds of the raw probability; positive ones raised the risk. None: the model can't explain itself, and
    answers in shadow alone."""


class Model(Protocol):
    """What is asked of a model."""

    @property
    def version(self) -> str: ...
    @property
    def feature_set_version(self) -> str: ...
    @property
    def feature_names(self) -> Sequence[str]: ...
    def score(self, matrix: NDArray[np.float32]) -> Scores: ...


@dataclass(frozen=True)
class Lineup:
    """Who answers at the moment."""

    champions: Mapping[str, Model]
    """By feature set."""
    arms: Mapping[str, Model] = field(default_factory=dict)
    """Arm of the experiment to the model that decides there."""
    experiment: Experiment | None = None
    challengers: Sequence[Model] = ()
    """In shadow: they answer, and never decide."""

    def deciding(self, vector: FeatureVector, arm: str) -> Model | None:
        """The arm's model where it fits the vector, else the champion of the vector's feature set, if there is one."""
        for model in (self.arms.get(arm), self.champions.get(vector.feature_set_version)):
            if model is not None and fits(model, vector):
                return model
        return None


def fits(model: Model, vector: FeatureVector) -> bool:
    """Whether the model was trained on vectors like this one."""
    if model.feature_set_version != vector.feature_set_version:
        return False
    # Of this code's own set the door has checked that every feature is there.
    own = vector.feature_set_version == FEATURE_SET_VERSION
    return own or vector.features.keys() >= set(model.feature_names)


class ModelFailed(Exception):
    """A loaded model gave no answer."""


def matrix_of(features: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> NDArray[np.float32]:
    """[n, F] inputs of a model, as `inputs_of` makes them. KeyError where a vector lacks a feature."""
    rows = [[row[name] for name in names] for row in features]
    return inputs_of(np.array(rows, dtype=np.float64).reshape(len(rows), len(names)))  # None becomes NaN


def inputs_of(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """As models take and learn them; in place where they are float32. What that can't hold is unknown, NaN: no such
    number was measured, and libraries refuse to learn from infinity."""
    with np.errstate(over="ignore"):
        inputs = values.astype(np.float32, copy=False)
    inputs[np.isinf(inputs)] = np.nan
    return inputs


def decide(
    vectors: Sequence[FeatureVector],
    lineup: Lineup,
    policy: Policy,
    *,
    channel: Channel,
    decided_at: str,
    degraded: str | None = None,
    circumstances: Circumstances = ORDINARY,
    arms: Sequence[str] | None = None,
) -> list[Decision]:
    """One decision for each vector, in order. A vector's is the same, byte for byte, alone and among any others.

    `degraded`: why none of the vectors may be scored, where that is known beforehand. `decided_at`: canonical time.
    `circumstances`: of all of them (`shared.policy.circumstances_of` tells those of a decision).
    `arms`: of the vectors' customers, where they are known; else as the line-up's experiment deals them out.
    Raises ModelFailed where a model that decides does: the caller then asks again without one.
    """
    if arms is None:
        arms = [arm_of(lineup.experiment, vector.customer_id) for vector in vectors]
    models = [None if degraded else lineup.deciding(vector, arm) for vector, arm in zip(vectors, arms, strict=True)]
    why = [degraded or _unfit(vector, model, lineup) for vector, model in zip(vectors, models, strict=True)]
    answers = _score(vectors, [model if reason is None else None for model, reason in zip(models, why, strict=True)])
    shadows = _shadow(vectors, why, lineup.challengers)
    decisions = []
    for i, (vector, reason, answer) in enumerate(zip(vectors, why, answers, strict=True)):
        # A model that can't say why never decides, whoever put it in service.
        if answer is not None and (answer.probability != answer.probability or answer.raised is None):
            answer, reason = None, Degraded.MODEL_FAILED
        deciding = answer.model.version if answer else None
        shadow = [_shadow_score(item, vector, policy) for item in shadows[i] if item.model.version != deciding]
        decisions.append(_decision(vector, answer, arms[i], shadow, reason, policy, channel, decided_at, circumstances))
    return decisions


@dataclass(frozen=True, slots=True)
class _Answer:
    model: Model
    probability: float
    raised: list[int] | None
    """Which of the model's features raised the risk most, the one with the largest contribution first. None: the model
    can't say."""


def _score(vectors: Sequence[FeatureVector], models: Sequence[Model | None]) -> list[_Answer | None]:
    """Each vector's answer by its model, all of one model in one call."""
    rows_of: dict[str, list[int]] = {}
    by_version: dict[str, Model] = {}
    for i, model in enumerate(models):
        if model is not None:
            by_version[model.version] = model
            rows_of.setdefault(model.version, []).append(i)
    answers: list[_Answer | None] = [None] * len(vectors)
    for version, rows in rows_of.items():
        model = by_version[version]
        scores = model.score(matrix_of([vectors[i].features for i in rows], model.feature_names))
        why = scores.contributions
        raised: Sequence[list[int] | None] = [None] * len(rows) if why is None else _raised(why)
        for i, probability, columns in zip(rows, scores.probabilities.tolist(), raised, strict=True):
            answers[i] = _Answer(model, probability, columns)
    return answers


def _raised(contributions: NDArray[np.float64]) -> list[list[int]]:
    """Of [n, F]: for each row the columns with the largest positive contributions, at most as many as there may be
    reasons, the largest first; ties in the model's order. Of all rows in one go, since a call of numpy's costs as much
    for one."""
    largest = np.argsort(-contributions, axis=1, kind="stable")[:, :MAX_REASONS]
    positive = np.take_along_axis(contributions, largest, axis=1) > 0
    return [
        [column for column, raises in zip(columns, signs, strict=True) if raises]
        for columns, signs in zip(largest.tolist(), positive.tolist(), strict=True)
    ]


def _shadow(
    vectors: Sequence[FeatureVector], why: Sequence[str | None], challengers: Sequence[Model]
) -> list[list[_Answer]]:
    """What the challengers say of each vector that is scored. One that fails says nothing, and costs nobody else."""
    said: list[list[_Answer]] = [[] for _ in vectors]
    for challenger in challengers:
        fit = [
            challenger if reason is None and fits(challenger, vector) else None
            for vector, reason in zip(vectors, why, strict=True)
        ]
        try:
            answers = _score(vectors, fit)
        except ModelFailed:
            continue
        for mine, answer in zip(said, answers, strict=True):
            if answer is not None and answer.probability == answer.probability:
                mine.append(answer)
    return said


def _shadow_score(answer: _Answer, vector: FeatureVector, policy: Policy) -> ShadowScore:
    verdict = apply(policy, vector.transaction, vector.features, answer.probability, None).decision
    return ShadowScore(model_version=answer.model.version, probability_of_default=answer.probability, decision=verdict)


def _unfit(vector: FeatureVector, model: Model | None, lineup: Lineup) -> str | None:
    if vector.state is VectorState.REBUILDING:
        return Degraded.REBUILDING
    if model is not None:
        return None
    return Degraded.FEATURE_SET if lineup.champions else Degraded.NO_MODEL


def _decision(
    vector: FeatureVector,
    answer: _Answer | None,
    arm: str,
    shadow: list[ShadowScore],
    degraded: str | None,
    policy: Policy,
    channel: Channel,
    decided_at: str,
    circumstances: Circumstances,
) -> Decision:
    transaction = vector.transaction
    probability = None if answer is None else answer.probability
    applied = apply(policy, transaction, vector.features, probability, degraded, circumstances)
    by_model: list[Reason] = []
    if answer is not None and answer.raised is not None:
        names = [answer.model.feature_names[column] for column in answer.raised]
        by_model = [feature_reason(name, vector.features[name], transaction.currency) for name in names]
    reasons = [*applied.policy_reasons, *by_model][:MAX_REASONS]
    if not reasons and applied.decision is not Verdict.APPROVE:
        reasons = [PolicyReason.ESTIMATED_RISK.reason]
    return Decision(
        event_id=vector.event_id,
        customer_id=vector.customer_id,
        transaction_id=transaction.transaction_id,
        decision=applied.decision,
        probability_of_default=probability,
        expected_loss=applied.expected_loss,
        reasons=reasons,
        model_version=answer.model.version if answer else NO_MODEL,
        policy_version=policy.name,
        feature_set_version=vector.feature_set_version,
        features=vector.features,
        feature_hash=vector.feature_hash,
        as_of=vector.as_of,
        variant=arm,
        shadow=shadow,
        degraded=degraded,
        channel=channel,
        occurred_at=vector.occurred_at,
        decided_at=decided_at,
    )
