"""Training examples in memory: one row a decided purchase whose outcome is known and mature."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow

TOLD_BY_FEW = 50
"""Of a source that has told of fewer outcomes it can't be said whether it has gone silent."""

MOST_UNTOLD, UNTOLD_BY_CHANCE = 0.02, 1
"""Share of the loans of a source that ran their course on one day, or so many of them, that may be without an outcome
for the others' to count: more is a gap, in which nearly all that is known are defaults. One of a few may get lost."""


class TrainingRefused(Exception):
    """There is nothing sound to train or evaluate on; the message says what is missing."""


class TooEarly(TrainingRefused):
    """Nothing is wrong: time alone mends it."""


class TooFewExamples(TooEarly):
    """Too little has matured."""


@dataclass(frozen=True)
class Examples:
    """Parallel columns of n rows, ordered by (occurred_us, event_id)."""

    event_id: NDArray[np.object_]
    transaction_id: NDArray[np.object_]
    customer_id: NDArray[np.object_]
    occurred_us: NDArray[np.int64]
    """Microseconds since 1970, UTC."""
    mature_us: NDArray[np.int64]
    """When the outcome counts: purchase + 14 days for each instalment."""
    amount: NDArray[np.float64]
    """In the size of US dollars, to be added up; the feature of this name is in the event's currency."""
    weight: NDArray[np.float64]
    """How many purchases of its kind each stands for: 1 / its propensity of being approved, so 1 but where it was
    approved by chance."""
    label: NDArray[np.int8]
    """1: defaulted."""
    rule_approves: NDArray[np.int8]
    """What the incumbent rule says: 1 approve, 0 not, -1 unknown (the source gave no level)."""
    features: NDArray[np.float32]
    """[n, F], NaN where a feature is null."""
    feature_names: tuple[str, ...]
    feature_set_version: str

    def __len__(self) -> int:
        return len(self.label)

    def take(self, which: NDArray[Any] | slice) -> Examples:
        """The rows of an index, mask or slice."""
        rows = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name not in _NOT_ROWS}
        return replace(self, **rows)

    def columns(self, names: tuple[str, ...]) -> NDArray[np.float32]:
        """[n, len(names)] in that order. Raises TrainingRefused for a feature that these examples lack."""
        place = {name: i for i, name in enumerate(self.feature_names)}
        missing = [name for name in names if name not in place]
        if missing:
            raise TrainingRefused(f"the examples have no feature {missing[0]}")
        return np.ascontiguousarray(self.features[:, [place[name] for name in names]])

    def ordered(self) -> Examples:
        """By time, and by event where times are equal: the same rows in the same order whatever the source's was."""
        return self.take(np.lexsort((self.event_id.astype(str), self.occurred_us)))

    def matured(self, as_of_us: int) -> Examples:
        """Only what counts at that moment. Anything younger is left out, defaults too: a default shows earlier than a
        good loan, so young examples would be too bad."""
        return self.take(self.mature_us <= as_of_us)

    def to_arrow(self) -> pyarrow.Table:
        """A column for each of the row's parts, and one `feature_<name>` for each feature, null where it is unknown."""
        import pyarrow

        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_COLUMNS}
        values = {
            f"{FEATURE_PREFIX}{name}": pyarrow.array(self.features[:, place], from_pandas=True)  # NaN becomes null
            for place, name in enumerate(self.feature_names)
        }
        return pyarrow.table(parts | values, metadata={"feature_set_version": self.feature_set_version})

    @staticmethod
    def of_arrow(table: pyarrow.Table) -> Examples:
        """What `to_arrow` gave."""
        names = tuple(
            name.removeprefix(FEATURE_PREFIX) for name in table.column_names if name.startswith(FEATURE_PREFIX)
        )
        values = [table[f"{FEATURE_PREFIX}{name}"].to_numpy(zero_copy_only=False) for name in names]
        parts = {
            f.name: table[f.name].to_numpy(zero_copy_only=False) for f in fields(Examples) if f.name not in _NOT_COLUMNS
        }
        return Examples(
            **parts,
            features=np.stack(values, axis=1).astype(np.float32),
            feature_names=names,
            feature_set_version=table.schema.metadata[b"feature_set_version"].decode(),
        )

    def digest(self) -> str:
        """SHA-256 over ids, times, labels and features in order."""
        whole = hashlib.sha256("\n".join(self.feature_names).encode())
        whole.update("\n".join(self.event_id.astype(str)).encode())
        for column in (self.occurred_us, self.mature_us, self.amount, self.weight, self.label, self.rule_approves):
            whole.update(np.ascontiguousarray(column).tobytes())
        canonical = np.where(np.isnan(self.features), np.float32(np.nan), self.features)
        whole.update(np.ascontiguousarray(canonical, dtype="<f4").tobytes())
        return whole.hexdigest()


_NOT_ROWS = frozenset({"feature_names", "feature_set_version"})
_NOT_COLUMNS = _NOT_ROWS | {"features"}
FEATURE_PREFIX = "feature_"
"""Before a feature's name in a table, where `amount` is one thing and the feature `amount` another."""
