from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from services.scorer import pipeline
from services.scorer.model import OnnxModel
from services.scorer.pipeline import MAX_REASONS, NO_MODEL, Scores, decide, matrix_of, read_vector
from shared.contracts.events import Decision, FeatureVector, Verdict, encode
from shared.contracts.rejections import Rejection
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
    models = {} if model is None else {model.feature_set_version: model}
    return decide(vectors, models, POLICY, channel="stream", decided_at=NOW, **more)


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
