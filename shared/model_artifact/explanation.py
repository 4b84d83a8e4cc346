"""What each feature added to a score, exactly, with numpy alone.

Contributions are in natural log-odds of the raw (uncalibrated) probability: base + sum of contributions = its logit.

* A linear model's are coefficient times standardised value, the value kept within what was learnt from.
* A tree ensemble's are path-dependent SHAP values (Lundberg et al., "Consistent Individualized Feature Attribution for
  Tree Ensembles", 2018). They depend on an input only through the outcomes of the tree's nodes, and a tree of depth 3
  has at most 7 of them: so the trainer tabulates them once for every pattern of outcomes, and here it is a look-up.
* An ensemble's, where it is the mean of its members' log-odds, are the mean of theirs.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused

MAX_TREE_NODES = 7
"""A full tree of depth 3. A table has 2^nodes rows, so anything deeper would not stay small."""

ROWS_AT_ONCE = 1024
"""Bounds the memory of the look-up: rows x trees x features of a tree doubles, some megabytes."""


class LinearExplanation(
    msgspec.Struct, frozen=True, tag_field="kind", tag="linear", forbid_unknown_fields=True, omit_defaults=True
):
    """log-odds = intercept + sum(coefficient * (value or impute - mean) / scale); each list has one entry a feature.

    A value below `lowest` counts as that, one above `highest` likewise; without these it counts as it is."""

    impute: list[float]
    mean: list[float]
    scale: list[float]
    coefficients: list[float]
    intercept: float
    lowest: list[float] | None = None
    highest: list[float] | None = None


class TreeNode(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Goes left if value < threshold (both float32), or if the value is missing and `default_left`."""

    feature: int
    threshold: float
    default_left: bool


class TreeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nodes: list[TreeNode]
    features: list[int]
    """Indexes of the features that this tree uses: the columns of `table`."""
    table: list[list[float]]
    """Row number = sum over nodes k of (1 if node k goes left) << k, for all nodes, on the path or not."""


class TreeTablesExplanation(
    msgspec.Struct, frozen=True, tag_field="kind", tag="tree-tables", forbid_unknown_fields=True
):
    base: float
    trees: list[TreeTable]


class MeanExplanation(msgspec.Struct, frozen=True, tag_field="kind", tag="mean", forbid_unknown_fields=True):
    """log-odds = the mean of the members' log-odds. One level: a mean of means would weigh its members unequally."""

    members: list[LinearExplanation | TreeTablesExplanation]


Explanation = LinearExplanation | TreeTablesExplanation | MeanExplanation
_DECODER: msgspec.json.Decoder[Explanation] = msgspec.json.Decoder(Explanation)


def encode_explanation(explanation: Explanation) -> bytes:
    return msgspec.json.encode(explanation)


def decode_explanation(data: bytes) -> Explanation:
    """Raises `ArtifactRefused` for anything that is not an explanation."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactRefused(ArtifactFault.SYNTAX, f"explanation: {error}") from None


class Explainer:
    """An explanation laid out for look-up. Build it once for each loaded model; it holds no state between calls."""

    def __init__(self, explanation: Explanation, features: int) -> None:
        """`features`: how many inputs the model has. Raises `ArtifactRefused` if the explanation has others."""
        self.features = features
        self._linear: _Linear | None = None
        self._trees: _Trees | None = None
        self._members: list[Explainer] = []
        if isinstance(explanation, LinearExplanation):
            self._linear = _Linear(explanation, features)
            self.base = explanation.intercept
        elif isinstance(explanation, MeanExplanation):
            if not explanation.members:
                raise ArtifactRefused(ArtifactFault.SHAPE, "an explanation as a mean needs members")
            self._members = [Explainer(member, features) for member in explanation.members]
            self.base = sum(member.base for member in self._members) / len(self._members)
        else:
            self._trees = _Trees(explanation, features)
            self.base = explanation.base

    def contributions(self, matrix: NDArray[np.floating]) -> NDArray[np.float64]:
        """Float [n, F] inputs (NaN = missing) to [n, F] contributions in log-odds."""
        inputs = np.ascontiguousarray(matrix, dtype=np.float32)
        if inputs.ndim != 2 or inputs.shape[1] != self.features:
            raise ValueError(f"expected a matrix of {self.features} columns, got shape {inputs.shape}")
        if self._linear is not None:
            return self._linear.contributions(inputs)
        if self._members:
            return np.asarray(np.mean([member.contributions(inputs) for member in self._members], axis=0))
        assert self._trees is not None
        if len(inputs) <= ROWS_AT_ONCE:
            return self._trees.contributions(inputs)
        parts = (inputs[start : start + ROWS_AT_ONCE] for start in range(0, len(inputs), ROWS_AT_ONCE))
        return np.concatenate([self._trees.contributions(part) for part in parts])


class _Linear:
    def __init__(self, explanation: LinearExplanation, features: int) -> None:
        lists = [explanation.impute, explanation.mean, explanation.scale, explanation.coefficients]
        lists += [ends for ends in (explanation.lowest, explanation.highest) if ends is not None]
        if any(len(values) != features for values in lists):
            raise ArtifactRefused(ArtifactFault.SHAPE, f"a linear explanation needs {features} entries in each list")
        arrays = [np.asarray(values, dtype=np.float64) for values in lists]
        self._impute, self._mean, scale, self._coefficients, *_ = arrays
        if not np.isfinite(np.concatenate(arrays)).all() or (scale <= 0).any():
            raise ArtifactRefused(ArtifactFault.SHAPE, "a linear explanation must be finite and its scales positive")
        self._lowest = _ends(explanation.lowest, -np.inf, features)
        self._highest = _ends(explanation.highest, np.inf, features)
        self._coefficients = self._coefficients / scale

    def contributions(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        values = np.where(np.isnan(inputs), self._impute, inputs.astype(np.float64))
        kept = np.minimum(np.maximum(values, self._lowest), self._highest)
        return np.asarray((kept - self._mean) * self._coefficients)


def _ends(given: list[float] | None, without: float, features: int) -> NDArray[np.float64]:
    return np.full(features, without) if given is None else np.asarray(given, dtype=np.float64)


class _Trees:
    """All trees padded to one shape, so that an answer is a handful of array operations whatever their number."""

    def __init__(self, explanation: TreeTablesExplanation, features: int) -> None:
        trees = explanation.trees
        _check_trees(trees, features)
        count = len(trees)
        nodes = max((len(tree.nodes) for tree in trees), default=0)
        columns = max((len(tree.features) for tree in trees), default=0)
        # Padding: a node of weight 0 that never adds to the pattern, and columns of zeros.
        self._feature = np.zeros((count, nodes), dtype=np.intp)
        self._threshold = np.zeros((count, nodes), dtype=np.float32)
        self._default_left = np.zeros((count, nodes), dtype=bool)
        self._weight = np.zeros((count, nodes), dtype=np.intp)
        self._table = np.zeros((count, 1 << nodes, columns), dtype=np.float64)
        # Of each column of each tree: the feature, and where it lies in a row of all trees' columns.
        owners: list[tuple[int, int]] = []
        for t, tree in enumerate(trees):
            for k, node in enumerate(tree.nodes):
                self._feature[t, k] = node.feature
                self._threshold[t, k] = node.threshold
                self._default_left[t, k] = node.default_left
                self._weight[t, k] = 1 << k
            if tree.features:
                self._table[t, : len(tree.table), : len(tree.features)] = tree.table
                owners += [(feature, t * columns + column) for column, feature in enumerate(tree.features)]
        owners.sort()
        self._features = features
        self._owned = np.array([place for _, place in owners], dtype=np.intp)
        self._owners, self._starts = np.unique([feature for feature, _ in owners], return_index=True)
        self._owners = self._owners.astype(np.intp)
        self._which = np.arange(count)

    def contributions(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        values = inputs[:, self._feature]
        left = np.where(np.isnan(values), self._default_left, values < self._threshold)
        pattern = (left * self._weight).sum(axis=2)
        found = self._table[self._which, pattern].reshape(len(inputs), -1)
        sums = np.zeros((len(inputs), self._features))
        if len(self._owned):
            # Not a matrix product: that adds in another order when it is given more rows, and the same purchase would
            # get other last bits, and perhaps another reason, alone than in a batch.
            sums[:, self._owners] = np.add.reduceat(found[:, self._owned], self._starts, axis=1)
        return sums


def _check_trees(trees: list[TreeTable], features: int) -> None:
    for number, tree in enumerate(trees):
        used = {node.feature for node in tree.nodes}
        fits = (
            len(tree.nodes) <= MAX_TREE_NODES
            and used <= set(tree.features)
            and all(0 <= feature < features for feature in tree.features)
            and len(tree.table) == 1 << len(tree.nodes)
            and all(len(row) == len(tree.features) for row in tree.table)
        )
        if not fits:
            raise ArtifactRefused(ArtifactFault.SHAPE, f"tree {number} of the explanation has parts that don't fit")


def contributions(explanation: Explanation, matrix: NDArray[np.floating]) -> tuple[float, NDArray[np.float64]]:
    """(base, [n, F] contributions) for [n, F] inputs, in log-odds.

    Lays the tables out anew on each call: who asks often builds an `Explainer` once.
    """
    explainer = Explainer(explanation, np.asarray(matrix).shape[1])
    return explainer.base, explainer.contributions(matrix)
