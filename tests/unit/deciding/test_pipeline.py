from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from services.scorer.vectors import read_vector
from shared.contracts.events import Decision, FeatureVector, Verdict, encode
from shared.contracts.rejections import Rejection
from shared.deciding import NO_MODEL, Lineup, ModelFailed, Scores, decide, matrix_of, pipeline
from shared.deciding.onnx_model import OnnxModel
from shared.deciding.pipeline import MAX_REASONS
from shared.experiments import Arm, Experiment, arm_of
from shared.feature_definitions import FEATURE_NAMES, feature_hash
from shared.model_artifact.manifest import Calibration, logit, sigmoid
from shared.model_artifact.registry import ModelRegistry
from shared.policy import load_policy
from tests.unit.scorer.parts import COEFFICIENTS, INTERCEPT, NAMES, NOW, a_vector, accepted, rebuilding, register

POLICY = load_policy()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    registry = ModelRegistry(str(tmp_path_factory.mktemp("models")))
    version = register(registry, calibration=Calibration(slope=0.8, intercept=-0.2))
    return OnnxModel(registry.load(version))


class Answering:
    """A model that gives the answers it is told to give."""

    version = "told"
    feature_names = NAMES

    def __init__(self, *probabilities: float, contributions: list[list[float]] | None = None) -> None:
        self.feature_set_version = a_vector().feature_set_version
        self._probabilities = np.asarray(probabilities)
        self._contributions = np.asarray(contributions or [[0.0] * len(NAMES)] * len(probabilities))

    def score(self, matrix: Any) -> Scores:
        assert matrix.shape == (len(self._probabilities), len(NAMES))
        return Scores(self._probabilities, self._contributions)


def decisions(vectors: list[FeatureVector], model: pipeline.Model | None, **more: Any) -> list[Decision]:
    lineup = Lineup({} if model is None else {model.feature_set_version: model})
    return decide(vectors, lineup, POLICY, channel="stream", decided_at=NOW, **more)


def by(lineup: Lineup, *vectors: FeatureVector) -> list[Decision]:
    return decide(vectors, lineup, POLICY, channel="stream", decided_at=NOW)


class Named(Answering):
    """Answers every vector with the same probability, under a name of its own."""

    def __init__(self, version: str, probability: float, feature_set: str | None = None) -> None:
        super().__init__(probability)
        self.version = version
        self.probability = probability
        self.feature_set_version = feature_set or self.feature_set_version

    def score(self, matrix: Any) -> Scores:
        return Scores(np.full(len(matrix), self.probability), np.zeros((len(matrix), len(NAMES))))


class Failing(Named):
    def score(self, matrix: Any) -> Scores:
        raise ModelFailed("out of luck")


class Silent(Named):
    """Gives a probability, and no reasons."""

    def score(self, matrix: Any) -> Scores:
        return Scores(np.full(len(matrix), self.probability), None)


def test_a_model_that_cannot_say_why_never_decides_whoever_put_it_in_service() -> None:
    silent = Silent("silent", 0.9)
    [decision] = by(Lineup({silent.feature_set_version: silent}), a_vector())
    assert (decision.model_version, decision.probability_of_default) == (NO_MODEL, None)
    assert decision.degraded == "model_failed"
    [beside] = by(Lineup(champion(), challengers=[silent]), a_vector())
    assert [score.model_version for score in beside.shadow] == ["silent"]


def champion(probability: float = 0.03) -> dict[str, pipeline.Model]:
    return {a_vector().feature_set_version: Named("champion", probability)}


def test_challengers_answer_beside_the_decision_with_the_verdict_they_would_have_given() -> None:
    lineup = Lineup(champion(), challengers=(Named("careful", 0.5), Named("blind", float("nan")), Failing("broken", 0)))
    [decision] = by(lineup, a_vector())
    assert decision.decision is Verdict.APPROVE
    assert [(s.model_version, s.probability_of_default, s.decision) for s in decision.shadow] == [
        ("careful", 0.5, Verdict.DECLINE)
    ]


def test_a_challenger_of_another_feature_set_says_nothing_of_this_vector() -> None:
    assert by(Lineup(champion(), challengers=(Named("foreign", 0.5, "0-other"),)), a_vector())[0].shadow == []


def test_a_model_that_decides_is_not_its_own_challenger() -> None:
    assert by(Lineup(champion(), challengers=(Named("champion", 0.03),)), a_vector())[0].shadow == []


def test_each_customer_is_decided_by_the_model_of_their_arm() -> None:
    trial = Experiment("trial", "salt", [Arm("canary", 0.5, "new")], NOW, "test")
    lineup = Lineup(champion(), {"canary": Named("new", 0.04)}, trial)
    vectors = [a_vector(number) for number in range(1, 200)]
    decisions = by(lineup, *vectors)
    assert {(d.variant, d.model_version) for d in decisions} == {("champion", "champion"), ("canary", "new")}
    for decision in decisions:
        assert decision.variant == arm_of(trial, decision.customer_id)
    assert by(lineup, *reversed(vectors))[::-1] == decisions


def test_an_arm_whose_model_is_not_there_is_decided_by_the_champion_under_the_arms_name() -> None:
    trial = Experiment("trial", "salt", [Arm("canary", 0.999, "gone")], NOW, "test")
    [decision] = by(Lineup(champion(), {}, trial), a_vector())
    assert (decision.variant, decision.model_version, decision.degraded) == ("canary", "champion", None)


def test_arms_that_are_known_are_not_dealt_anew() -> None:
    lineup = Lineup(champion(), {"canary": Named("new", 0.04)})
    found = decide([a_vector(1), a_vector(2)], lineup, POLICY, channel="rest", decided_at=NOW, arms=["canary", "gone"])
    assert [(d.variant, d.model_version) for d in found] == [("canary", "new"), ("gone", "champion")]


def test_nobody_is_asked_about_a_vector_that_cannot_be_scored() -> None:
    [decision] = by(Lineup(champion(), challengers=(Named("careful", 0.5),)), rebuilding(a_vector()))
    assert (decision.degraded, decision.shadow) == ("rebuilding", [])


def test_the_probability_is_the_calibrated_one_of_the_model(model: OnnxModel) -> None:
    vector = a_vector()
    values = np.nan_to_num(matrix_of([vector.features], NAMES))[0]
    raw = sigmoid(np.asarray(values @ np.asarray(COEFFICIENTS) + INTERCEPT))
    expected = sigmoid(0.8 * logit(raw) - 0.2)
    [decision] = decisions([vector], model)
    assert decision.probability_of_default == pytest.approx(float(expected), abs=1e-6)
    assert decision.model_version == model.version
    assert decision.degraded is None


def test_each_vector_of_a_batch_gets_the_answer_that_it_gets_alone(model: OnnxModel) -> None:
    vectors = [a_vector(i, amount=10.0 * i) for i in range(1, 20)]
    alone = [decisions([vector], model)[0] for vector in vectors]
    assert [encode(decision) for decision in decisions(vectors, model)] == [encode(decision) for decision in alone]


def test_a_decision_carries_what_it_was_made_from(model: OnnxModel) -> None:
    vector = a_vector(7)
    [decision] = decisions([vector], model)
    for name in ("event_id", "customer_id", "features", "feature_hash", "as_of", "feature_set_version", "occurred_at"):
        assert getattr(decision, name) == getattr(vector, name)
    assert decision.transaction_id == "txn_00000007"
    assert decision.policy_version == POLICY.name
    assert (decision.variant, decision.shadow, decision.channel, decision.decided_at) == ("champion", [], "stream", NOW)


def test_reasons_are_the_largest_contributions_that_raised_the_risk() -> None:
    model = Answering(0.2, contributions=[[0.1, -0.5, 0.7, 0.0, 0.3]])
    [decision] = decisions([a_vector()], model)
    assert [reason.code for reason in decision.reasons] == ["credit_score_rank", "purchases_24h", "amount"]


def test_there_are_at_most_four_reasons_and_those_of_the_policy_come_first() -> None:
    model = Answering(0.2, contributions=[[0.5, 0.4, 0.3, 0.2, 0.1]])
    [decision] = decisions([a_vector(amount=5000.0)], model)
    assert [reason.code for reason in decision.reasons] == [
        "policy_amount_cap",
        "amount",
        "tenure_days",
        "credit_score_rank",
    ]
    assert len(decision.reasons) == MAX_REASONS


@pytest.mark.parametrize(("probability", "verdict"), [(0.06, Verdict.REVIEW), (0.9, Verdict.DECLINE)])
def test_a_review_or_decline_without_a_raising_feature_still_has_a_reason(probability: float, verdict: Verdict) -> None:
    [decision] = decisions([a_vector()], Answering(probability, contributions=[[-1.0] * 5]))
    assert decision.decision is verdict
    assert [reason.code for reason in decision.reasons] == ["policy_estimated_risk"]


def test_without_a_model_the_fallback_decides_and_says_so() -> None:
    small, large = decisions([a_vector(1, amount=50.0), a_vector(2, amount=500.0)], None)
    assert (small.decision, large.decision) == (Verdict.APPROVE, Verdict.REVIEW)
    for decision in (small, large):
        assert decision.degraded == "no_model"
        assert decision.model_version == NO_MODEL
        assert decision.probability_of_default is None
        assert decision.expected_loss is None
    assert large.reasons


def test_a_vector_of_a_state_being_rebuilt_is_not_scored(model: OnnxModel) -> None:
    fresh, stale = decisions([a_vector(1), rebuilding(a_vector(2))], model)
    assert fresh.degraded is None
    assert (stale.degraded, stale.model_version) == ("rebuilding", NO_MODEL)


def test_a_vector_of_another_feature_set_is_not_scored(model: OnnxModel) -> None:
    other = msgspec.structs.replace(a_vector(), feature_set_version="0-other")
    [decision] = decisions([other], model)
    assert decision.degraded == "feature_set_mismatch"
    assert decision.feature_set_version == "0-other"


def test_a_row_without_an_answer_falls_back_and_its_neighbours_do_not() -> None:
    found = decisions([a_vector(i) for i in (1, 2, 3)], Answering(0.01, float("nan"), 0.5))
    assert [decision.degraded for decision in found] == [None, "model_failed", None]
    assert [decision.model_version for decision in found] == ["told", NO_MODEL, "told"]


def test_no_vectors_give_no_decisions(model: OnnxModel) -> None:
    assert decisions([], model) == []


def test_null_becomes_not_a_number_in_the_order_of_the_names() -> None:
    matrix = matrix_of([{"a": 1.0, "b": None}, {"a": None, "b": 2.0}], ["b", "a"])
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[np.nan, 1.0], [2.0, np.nan]])


def test_a_record_is_read_with_the_fingerprint_of_its_purchase() -> None:
    vector = a_vector(3)
    found = read_vector(encode(vector), vector.customer_id.encode(), "1")
    assert found.vector == vector
    assert found.fingerprint == accepted(3).fingerprint


def changed(**changes: Any) -> bytes:
    body = msgspec.json.decode(encode(a_vector()))
    for path, value in changes.items():
        holder, parts = body, path.split("__")
        for part in parts[:-1]:
            holder = holder[part]
        holder[parts[-1]] = value
    return msgspec.json.encode(body)


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (None, b"cust_000001", "tombstone"),
        (b"", b"cust_000001", "empty"),
        (b"{", b"cust_000001", "syntax"),
        (b"[]", b"cust_000001", "shape"),
        (b"{}", b"cust_000001", "missing"),
        (encode(a_vector()), None, "key"),
        (encode(a_vector()), b"someone else", "key"),
        (changed(as_of=None), b"cust_000001", "type"),
        (changed(state="ancient"), b"cust_000001", "enum"),
        (changed(occurred_at="yesterday"), b"cust_000001", "date"),
        (changed(event_id="another"), b"cust_000001", "shape"),
        (changed(transaction__occurred_at="2026-06-02T00:00:00.000000Z"), b"cust_000001", "shape"),
        (changed(features__amount=1.0), b"cust_000001", "shape"),
        (changed(transaction__amount=-1.0), b"cust_000001", "range"),
        (changed(transaction__amount=1.001), b"cust_000001", "precision"),
        (changed(transaction__amount=1e30), b"cust_000001", "range"),
        (changed(transaction__installments={"count": 2**50}), b"cust_000001", "range"),
        (changed(computed_at="soon"), b"cust_000001", "date"),
        (changed(transaction__currency="XXX"), b"cust_000001", "enum"),
    ],
)
def test_a_broken_vector_is_refused_with_its_reason(value: bytes | None, key: bytes | None, reason: str) -> None:
    with pytest.raises(Rejection) as refused:
        read_vector(value, key, None)
    assert refused.value.reason == reason


def test_an_unknown_schema_version_is_refused() -> None:
    with pytest.raises(Rejection, match="version"):
        read_vector(encode(a_vector()), b"cust_000001", "2")


def test_a_vector_that_lacks_a_feature_of_its_set_is_refused() -> None:
    features: dict[str, float | None] = dict.fromkeys(FEATURE_NAMES[1:], 0.0)
    vector = msgspec.structs.replace(a_vector(), features=features, feature_hash=feature_hash(features))
    with pytest.raises(Rejection) as refused:
        read_vector(encode(vector), b"cust_000001", None)
    assert (refused.value.reason, refused.value.field) == ("shape", "features")


def test_a_value_beyond_single_precision_is_decided_all_the_same(model: OnnxModel) -> None:
    [decision] = decisions([a_vector(customer={"tenure_days": 1, "credit_score_range": "good"}, amount=1.0)], model)
    features = decision.features | {"tenure_days": -1e300}
    [huge] = decisions([msgspec.structs.replace(a_vector(), features=features)], model)
    assert huge.decision in Verdict
    unknown = msgspec.structs.replace(a_vector(), features=decision.features | {"tenure_days": None})
    assert huge.probability_of_default == decisions([unknown], model)[0].probability_of_default
