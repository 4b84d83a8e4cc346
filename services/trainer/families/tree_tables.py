"""Turns a fitted tree ensemble into look-up tables of exact SHAP contributions.

For one tree and one pattern of node outcomes (which node would go left, for every node), the game's value of a set S of
known features is found by walking down: a node on a feature in S follows its outcome, any other node averages its
children by the training weight that reached them (each library's own: sums of Hessians, or counts of rows). The
contribution of a feature is its Shapley value in that game: the path-dependent TreeSHAP of Lundberg et al. (2018),
which XGBoost, LightGBM and CatBoost compute too. With at most 7 nodes there are at most 128 patterns and 128 sets, so
the whole game is a small array.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.model_artifact.explanation import MAX_TREE_NODES, TreeNode, TreeTable, TreeTablesExplanation

LEAF = -1
"""The child of a node that has none."""

TABLE_DECIMALS = 10
"""Of a contribution in log-odds. Far below what float32 scores resolve, and it halves the file."""


@dataclass(frozen=True)
class Tree:
    """One tree as parallel arrays over its nodes, leaves included; `left[i] == -1` marks a leaf."""

    left: list[int]
    right: list[int]
    feature: list[int]
    threshold: list[float]
    """Of an inner node its threshold in float32 (left: value < threshold), of a leaf its value in log-odds."""
    default_left: list[bool]
    weight: list[float]
    """Training weight that reached the node."""


def tree_tables(trees: list[Tree], base_margin: float) -> TreeTablesExplanation:
    """The tables of an ensemble whose margin is `base_margin` plus the sum of its trees. Raises ValueError if a tree
    has more than `MAX_TREE_NODES` inner nodes."""
    expected = base_margin
    tables = []
    for tree in trees:
        table, mean = _table_of(tree)
        expected += mean
        if table.nodes:
            tables.append(table)
    return TreeTablesExplanation(base=expected, trees=tables)


def _table_of(tree: Tree) -> tuple[TreeTable, float]:
    inner = [i for i, child in enumerate(tree.left) if child != LEAF]
    if len(inner) > MAX_TREE_NODES:
        raise ValueError(f"a tree of {len(inner)} nodes can't be tabulated, at most {MAX_TREE_NODES} are")
    bit = {node: k for k, node in enumerate(inner)}
    features = sorted({tree.feature[node] for node in inner})
    column = {feature: j for j, feature in enumerate(features)}
    patterns = np.arange(1 << len(inner))[:, None]
    subsets = np.arange(1 << len(features))[None, :]

    def value(node: int) -> NDArray[np.float64]:
        if tree.left[node] == LEAF:
            return np.full((1, 1), tree.threshold[node])
        left, right = value(tree.left[node]), value(tree.right[node])
        # Where no training weight came, the sets' values are anybody's guess, and the sum is the same for any.
        share = tree.weight[tree.left[node]] / tree.weight[node] if tree.weight[node] else 0.5
        averaged = share * left + (1.0 - share) * right
        followed = np.where((patterns >> bit[node]) & 1, left, right)
        return np.where((subsets >> column[tree.feature[node]]) & 1, followed, averaged)

    values = np.broadcast_to(value(0), (patterns.shape[0], subsets.shape[1]))
    contributions = values @ _shapley_weights(len(features))
    nodes = [TreeNode(tree.feature[i], tree.threshold[i], tree.default_left[i]) for i in inner]
    return TreeTable(nodes=nodes, features=features, table=np.round(contributions, TABLE_DECIMALS).tolist()), float(
        values[0, 0]
    )


def _shapley_weights(players: int) -> NDArray[np.float64]:
    """[2^players, players]: the Shapley value of each player as a linear map of the values of all sets."""
    weights = np.zeros((1 << players, players))
    for subset in range(1 << players):
        size = subset.bit_count()
        for player in range(players):
            with_player = (subset >> player) & 1
            others = size - with_player
            weight = factorial(others) * factorial(players - others - 1) / factorial(players)
            weights[subset, player] = weight if with_player else -weight
    return weights


def below(limit: float) -> float:
    """The threshold t in float32 for which value < t is the same as value <= limit, for every value in float32."""
    rounded = np.float32(limit)
    largest = rounded if float(rounded) <= limit else np.nextafter(rounded, np.float32(-np.inf))
    return float(np.nextafter(largest, np.float32(np.inf)))


def trees_of_xgboost(model_json: bytes) -> tuple[list[Tree], float]:
    """The trees and the base margin (log-odds) of a binary XGBoost classifier saved with `save_raw("json")`.

    Weights and thresholds are read from the model rather than from a text dump, which rounds them.
    """
    learner = json.loads(model_json)["learner"]
    base_score = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
    trees = [_tree_of(tree) for tree in learner["gradient_booster"]["model"]["trees"]]
    return trees, float(np.log(base_score) - np.log1p(-base_score))


def _tree_of(tree: dict[str, Any]) -> Tree:
    return Tree(
        left=tree["left_children"],
        right=tree["right_children"],
        feature=tree["split_indices"],
        threshold=tree["split_conditions"],
        default_left=[bool(flag) for flag in tree["default_left"]],
        weight=tree["sum_hessian"],
    )
