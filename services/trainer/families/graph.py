"""ONNX graphs that we write ourselves, for models whose converter can't be relied on for missing values; and the bytes
of any graph.

Each of ours has the interface of a classifier: `features` float32 [n, F] in, `label` int64 [n] and `probabilities`
float32 [n, 2] out. Names and order are fixed, so that the same model gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.families.base import INPUT, LABEL_OUTPUT, OPSET, PROBABILITY_OUTPUT
from services.trainer.families.tree_tables import LEAF, Tree

ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 1
IR_VERSION = 8
"""Of the file format: the one that belongs to the pinned operator set."""

LOG_ODDS = "log_odds"


def classifier(nodes: Sequence[Any], constants: Mapping[str, NDArray[Any]], width: int) -> bytes:
    """The graph whose `nodes` make `log_odds` float32 [n, 1] of `features`, with what turns these into the outputs."""
    from onnx import TensorProto, checker, helper, numpy_helper

    ends = {"one": np.asarray(1.0, np.float32), "half": np.asarray(0.5, np.float32), "column": np.array([1])}
    tail = [
        helper.make_node("Sigmoid", [LOG_ODDS], ["default"]),
        helper.make_node("Sub", ["one", "default"], ["repaid"]),
        helper.make_node("Concat", ["repaid", "default"], [PROBABILITY_OUTPUT], axis=1),
        helper.make_node("Greater", ["default", "half"], ["above"]),
        helper.make_node("Cast", ["above"], ["labels"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["labels", "column"], [LABEL_OUTPUT]),
    ]
    graph = helper.make_graph(
        [*nodes, *tail],
        "flit-risk",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [
            helper.make_tensor_value_info(LABEL_OUTPUT, TensorProto.INT64, [None]),
            helper.make_tensor_value_info(PROBABILITY_OUTPUT, TensorProto.FLOAT, [None, 2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in {**constants, **ends}.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)]
    model = helper.make_model(graph, producer_name="flit-risk", opset_imports=opsets, ir_version=IR_VERSION)
    checker.check_model(model)
    return file_of(model)


def file_of(model: Any) -> bytes:
    """A graph's bytes, the same in every process: converters name the operator sets in the order of a Python set, which
    is another from one process to the next, and with it would be the model's version."""
    in_order = sorted(model.opset_import, key=lambda opset: opset.domain)
    del model.opset_import[:]
    model.opset_import.extend(in_order)
    return bytes(model.SerializeToString(deterministic=True))


def trees(ensemble: Sequence[Tree], base_margin: float, width: int) -> bytes:
    """Trees whose sum and `base_margin` are the log-odds. Splits are the explanation's own: left if value < threshold
    in float32, or if the value is missing and the node says so."""
    from onnx import helper

    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes", "nodes_values", "nodes_truenodeids",
            "nodes_falsenodeids", "nodes_missing_value_tracks_true", "target_treeids", "target_nodeids", "target_ids",
            "target_weights",
        )
    }  # fmt: skip
    for number, tree in enumerate(ensemble):
        for node, (left, right) in enumerate(zip(tree.left, tree.right, strict=True)):
            leaf = left == LEAF
            for name, value in (
                ("treeids", number),
                ("nodeids", node),
                ("featureids", 0 if leaf else tree.feature[node]),
                ("modes", "LEAF" if leaf else "BRANCH_LT"),
                ("values", 0.0 if leaf else tree.threshold[node]),
                ("truenodeids", 0 if leaf else left),
                ("falsenodeids", 0 if leaf else right),
                ("missing_value_tracks_true", int(not leaf and tree.default_left[node])),
            ):
                columns[f"nodes_{name}"].append(value)
            if leaf:
                for name, value in (
                    ("treeids", number),
                    ("nodeids", node),
                    ("ids", 0),
                    ("weights", tree.threshold[node]),
                ):
                    columns[f"target_{name}"].append(value)
    sums = helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        [LOG_ODDS],
        domain=ML_DOMAIN,
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=[base_margin],
        **columns,
    )
    return classifier([sums], {}, width)
