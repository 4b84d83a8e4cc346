"""What an input's columns mean, and batches of them as the matrix that a model takes. Knows no file and no warehouse.

An input has its features either a column each, `feature_<name>` (as `examples` writes them), or all in one column
`features` of JSON (as the warehouse keeps them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from services.trainer.examples import FEATURE_PREFIX, Examples, TrainingRefused
from shared.deciding import inputs_of, matrix_of
from shared.feature_definitions import FEATURE_NAMES, FEATURE_SET_VERSION

EVENT = "event_id"
KEYS = (EVENT, "transaction_id", "customer_id", "occurred_at", "occurred_us")
"""Columns that say which purchase a row is: those that the input has go through to the output."""

FEATURE_SET = "feature_set_version"
FEATURES = "features"
KNOWN = {*KEYS, FEATURE_SET, "feature_hash", *(part.name for part in fields(Examples))}
"""What an input with a column for each feature may have beside them."""

_FEATURE_VALUES = msgspec.json.Decoder(dict[str, float | None])


class InputRefused(TrainingRefused):
    """Rows that the model can't be asked about. The message names the column."""


class Asked(Protocol):
    """What is to be known of the model (shared.deciding.onnx_model.OnnxModel)."""

    @property
    def version(self) -> str: ...
    @property
    def feature_set_version(self) -> str: ...
    @property
    def feature_names(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Columns:
    """How the rows of one input are read for one model."""

    keys: pyarrow.Schema
    """Of the columns that go through."""
    names: tuple[str, ...]
    """The model's inputs, in its order."""
    feature_set: str
    in_json: bool
    states_its_set: bool
    """Row by row, in a column; else the file did, once."""

    @property
    def needed(self) -> list[str]:
        """Of the input's columns."""
        features = [FEATURES] if self.in_json else [FEATURE_PREFIX + name for name in self.names]
        return [*self.keys.names, *([FEATURE_SET] if self.states_its_set else []), *features]

    def matrix(self, batch: pyarrow.RecordBatch) -> tuple[pyarrow.RecordBatch, NDArray[np.float32]]:
        """The keys of the rows that have features, and those as [n, F] float32, NaN for null. Left out are rows of
        erased customers, whose features are gone. Raises InputRefused."""
        if self.states_its_set:
            self._check_set(batch.column(FEATURE_SET))
        if self.in_json:
            return self._from_json(batch)
        keys = self._keys(batch)
        matrix = np.empty((batch.num_rows, len(self.names)), dtype=np.float32)
        with np.errstate(over="ignore"):
            for place, name in enumerate(self.names):
                matrix[:, place] = _numbers(batch.column(FEATURE_PREFIX + name))
        return keys, inputs_of(matrix)

    def _from_json(self, batch: pyarrow.RecordBatch) -> tuple[pyarrow.RecordBatch, NDArray[np.float32]]:
        try:
            rows = [_FEATURE_VALUES.decode(text) if text else {} for text in batch.column(FEATURES).to_pylist()]
        except msgspec.DecodeError as error:
            raise InputRefused(f"column {FEATURES}: {error}") from None
        present = [place for place, row in enumerate(rows) if row]
        if len(present) < len(rows):
            batch, rows = batch.take(pyarrow.array(present, pyarrow.int64())), [rows[place] for place in present]
        own = frozenset(FEATURE_NAMES) if self.feature_set == FEATURE_SET_VERSION else None
        for row in rows:
            if own is not None and row.keys() != own:
                _refuse_features(set(row), own)
        try:
            return self._keys(batch), matrix_of(rows, self.names)
        except KeyError as missing:
            raise InputRefused(f"column {FEATURES}: a row has no feature {missing.args[0]}") from None

    def _keys(self, batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
        if batch.column(EVENT).null_count:
            raise InputRefused(f"column {EVENT}: empty in some row")
        # A reader may say of a column that it is never empty, which is of no interest here.
        return pyarrow.RecordBatch.from_arrays(
            [batch.column(key.name).cast(key.type) for key in self.keys], schema=self.keys
        )

    def _check_set(self, stated: pyarrow.Array) -> None:
        for value in pyarrow.compute.unique(stated).to_pylist():
            if value != self.feature_set:
                raise InputRefused(_other_set(f"column {FEATURE_SET}: a row is", value, self.feature_set))


def columns_of(schema: pyarrow.Schema, model: Asked) -> Columns:
    """How such an input is read. Raises InputRefused for a column that is missing, that is none of the model's feature
    set, or that holds something else than numbers; and for another feature set."""
    names = schema.names
    stated = (schema.metadata or {}).get(FEATURE_SET.encode())
    if EVENT not in names:
        raise InputRefused(f"column {EVENT} is missing")
    if not is_text(schema.field(EVENT).type):
        raise InputRefused(f"column {EVENT} holds {schema.field(EVENT).type}, not text")
    if FEATURE_SET not in names:
        if stated is None:
            raise InputRefused(f"column {FEATURE_SET} is missing, and the file's metadata doesn't state it either")
        if stated.decode() != model.feature_set_version:
            raise InputRefused(_other_set("the file is", stated.decode(), model.feature_set_version))
    in_json = FEATURES in names
    if in_json:
        if not is_text(schema.field(FEATURES).type):
            raise InputRefused(f"column {FEATURES} holds {schema.field(FEATURES).type}, not JSON as text")
    else:
        _check_features(schema, model)
    return Columns(
        keys=pyarrow.schema([(name, schema.field(name).type) for name in KEYS if name in names]),
        names=tuple(model.feature_names),
        feature_set=model.feature_set_version,
        in_json=in_json,
        states_its_set=FEATURE_SET in names,
    )


def _check_features(schema: pyarrow.Schema, model: Asked) -> None:
    asked = {FEATURE_PREFIX + name for name in model.feature_names}
    known = asked | {FEATURE_PREFIX + name for name in FEATURE_NAMES} | KNOWN
    seen: set[str] = set()
    for name in schema.names:
        if name in seen:
            raise InputRefused(f"column {name} is there twice")
        seen.add(name)
        if name not in known:
            raise InputRefused(f"column {name} is no feature of the set {model.feature_set_version}, and no key")
    for name in model.feature_names:
        column = FEATURE_PREFIX + name
        if column not in seen:
            raise InputRefused(f"column {column} is missing: model {model.version} needs it")
        kind = schema.field(column).type
        if not (pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind) or pyarrow.types.is_boolean(kind)):
            raise InputRefused(f"column {column} holds {kind}, not numbers")


def _refuse_features(found: set[str], expected: frozenset[str]) -> None:
    missing, extra = sorted(expected - found), sorted(found - expected)
    if missing:
        raise InputRefused(f"column {FEATURES}: a row has no feature {missing[0]}")
    raise InputRefused(f"column {FEATURES}: a row has a feature {extra[0]}, which the set doesn't")


def _numbers(column: pyarrow.Array) -> NDArray[Any]:
    """Of whatever kind of number; null becomes NaN."""
    if pyarrow.types.is_boolean(column.type):
        column = column.cast(pyarrow.int8())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def is_text(kind: pyarrow.DataType) -> bool:
    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def _other_set(what: str, found: object, wanted: str) -> str:
    return f"{what} of the feature set {found!r}, the model was trained on {wanted!r}: `reprocess` makes features anew"
