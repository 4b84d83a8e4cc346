"""Parts for the scorer's tests: purchases, their vectors, and small models that really run."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.contracts.events import AsOf, FeatureVector, VectorState
from shared.contracts.identity import epoch_micros
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from shared.feature_definitions import FEATURE_SET_VERSION, CustomerState, make_vector
from shared.model_artifact.explanation import LinearExplanation, encode_explanation
from shared.model_artifact.manifest import Calibration, DataWindow, Golden, Manifest, sigmoid
from shared.model_artifact.registry import ModelRegistry

NOW = "2026-06-01T12:00:00.000000Z"
NAMES = ("amount", "tenure_days", "credit_score_rank", "device_trusted", "purchases_24h")
COEFFICIENTS = (0.002, -0.002, -0.8, -0.3, 0.4)
INTERCEPT = -2.0


def a_purchase(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A body as a checkout sends it. `None` as a change leaves the field out."""
    body: dict[str, Any] = {
        "transaction_id": f"txn_{number:08d}",
        "customer_id": f"cust_{number:06d}",
        "occurred_at": "2026-06-01T11:59:00Z",
        "amount": 67.51,
        "currency": "USD",
        "customer": {"tenure_days": 384, "credit_score_range": "fair"},
        "device": {"id": f"device_{number}", "type": "mobile", "is_trusted": True},
    }
    body |= changes
    return {name: value for name, value in body.items() if value is not None}


def body_of(number: int = 1, **changes: Any) -> bytes:
    return msgspec.json.encode(a_purchase(number, **changes))


def accepted(number: int = 1, **changes: Any) -> AcceptedTransaction:
    return decode_transaction(
        body_of(number, **changes), door=Door.REST, received_us=epoch_micros(NOW), limits=Limits()
    )


def a_vector(number: int = 1, *, state: CustomerState | None = None, **changes: Any) -> FeatureVector:
    """What the features service makes of the purchase, for a customer without a past unless given one."""
    as_of = AsOf(transactions=number - 1, outcomes=-1)
    return make_vector(state or CustomerState(), accepted(number, **changes), as_of, NOW)


def rebuilding(vector: FeatureVector) -> FeatureVector:
    return msgspec.structs.replace(vector, state=VectorState.REBUILDING)


def graph(coefficients: tuple[float, ...] = COEFFICIENTS, intercept: float = INTERCEPT) -> bytes:
    """A logistic regression that takes a missing value for zero, with the outputs that classifiers have."""
    width = len(coefficients)
    weights = np.asarray(coefficients, dtype=np.float32).reshape(width, 1)
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.asarray([intercept], dtype=np.float32), "intercept"),
        numpy_helper.from_array(np.asarray(0.0, dtype=np.float32), "zero"),
        numpy_helper.from_array(np.asarray(1.0, dtype=np.float32), "one"),
        numpy_helper.from_array(np.asarray(0.5, dtype=np.float32), "half"),
        numpy_helper.from_array(np.asarray([1], dtype=np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["known"]),
        helper.make_node("MatMul", ["known", "weights"], ["product"]),
        helper.make_node("Add", ["product", "intercept"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["bad"]),
        helper.make_node("Sub", ["one", "bad"], ["good"]),
        helper.make_node("Concat", ["good", "bad"], ["probabilities"], axis=1),
        helper.make_node("Greater", ["bad", "half"], ["above"]),
        helper.make_node("Cast", ["above"], ["labels"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["labels", "axis"], ["label"]),
    ]
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def register(
    registry: ModelRegistry,
    *,
    names: tuple[str, ...] = NAMES,
    coefficients: tuple[float, ...] = COEFFICIENTS,
    intercept: float = INTERCEPT,
    calibration: Calibration | None = None,
    golden_raw: float | None = None,
    feature_set_version: str = FEATURE_SET_VERSION,
    model: bytes | None = None,
    explained: bool = True,
    trained_at: str = NOW,
    family: str = "logistic",
) -> str:
    """Put a small logistic model into a registry. `golden_raw`: claim this answer for the golden row instead."""
    width = len(names)
    calibration = calibration or Calibration()
    raw = np.asarray([float(sigmoid(np.asarray([intercept]))[0]) if golden_raw is None else golden_raw])
    manifest = Manifest(
        version="",
        family=family,
        feature_set_version=feature_set_version,
        feature_names=list(names),
        files={},
        calibration=calibration,
        metrics={},
        data_window=DataWindow(
            as_of=NOW,
            train_from=NOW,
            validate_from=NOW,
            test_from=NOW,
            test_to=NOW,
            train_rows=1,
            validate_rows=1,
            test_rows=1,
            data_sha256="0" * 64,
        ),
        golden=Golden(inputs=[[None] * width], raw=raw.tolist(), probabilities=calibration.apply(raw).tolist()),
        trained_at=trained_at,
    )
    explanation = LinearExplanation(
        impute=[0.0] * width,
        mean=[0.0] * width,
        scale=[1.0] * width,
        coefficients=list(coefficients),
        intercept=intercept,
    )
    files = {
        "model.onnx": model if model is not None else graph(coefficients, intercept),
        "explanation.json": encode_explanation(explanation),
        "card.json": b"{}",
    }
    if not explained:
        del files["explanation.json"]
    return registry.register(manifest, files)
