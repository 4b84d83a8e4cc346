"""Whether purchases still look like those that the model learnt from: distances between two windows of features.

The distance is Wasserstein's, in standard deviations of the reference; 0.1 of one counts as drift, as evidently has it,
and what chance alone may give in windows of this size besides. It compares known values only, so whether a value is
known is compared as a column of its own, `<feature>:known`, by the distance of Jensen and Shannon: what is always known
has no standard deviation.
Rolling features need as long as their window to fill after a stream starts, so a reference that begins with the stream
shows them as drifted: that is a fact about the reference, to be read as such.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.examples import TrainingRefused

THRESHOLD = 0.1
MIN_ROWS = 100
"""In each window."""
BY_CHANCE, KNOWN_BY_CHANCE = 3.0, 1.1
"""Times sqrt(1/n + 1/m): what two windows of one law, n and m rows, are apart by in one comparison of a hundred. Of
normal, skewed and counted values it was simulated; of shares it is three standard errors."""
MAX_ROWS = 10_000
"""Of each window, drawn with a fixed seed: bounds time and memory, and still resolves far less than the threshold."""
KNOWN = ":known"


@dataclass(frozen=True)
class FeatureDrift:
    feature: str
    score: float
    drifted: bool


@dataclass(frozen=True)
class DriftReport:
    features: tuple[FeatureDrift, ...]
    html: str
    json: str

    @property
    def drifted(self) -> tuple[str, ...]:
        return tuple(item.feature for item in self.features if item.drifted)


def drift_report(
    reference: NDArray[np.float32], current: NDArray[np.float32], names: Sequence[str], seed: int
) -> DriftReport:
    """Two windows of the same features, [n, F] and [m, F] with NaN for null. Raises TrainingRefused if one of them has
    fewer than `MIN_ROWS` rows."""
    for which, window in (("reference", reference), ("later", current)):
        if len(window) < MIN_ROWS:
            raise TrainingRefused(f"the {which} window has {len(window)} rows, drift needs {MIN_ROWS}")
    import pandas
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    before, after = (pandas.DataFrame(_sample(window, seed), columns=list(names)) for window in (reference, current))
    for name in names:
        if before[name].isna().any() or after[name].isna().any():
            for frame in (before, after):
                frame[name + KNOWN] = frame[name].notna().astype("float32")
    comparable = [name for name in before.columns if before[name].notna().any() and after[name].notna().any()]
    shares = [name for name in comparable if name.endswith(KNOWN)]
    definition = DataDefinition(
        numerical_columns=[name for name in comparable if name not in shares], categorical_columns=shares
    )
    noise = (1 / len(before) + 1 / len(after)) ** 0.5
    limits = THRESHOLD + BY_CHANCE * noise, THRESHOLD + KNOWN_BY_CHANCE * noise
    preset = DataDriftPreset(
        columns=comparable,
        num_method="wasserstein",
        num_threshold=limits[0],
        cat_method="jensenshannon",
        cat_threshold=limits[1],
    )
    snapshot = Report([preset]).run(
        Dataset.from_pandas(after[comparable], data_definition=definition),
        Dataset.from_pandas(before[comparable], data_definition=definition),
    )
    return DriftReport(
        _scores(snapshot.dict(), *limits), snapshot.get_html_str(as_iframe=False), json.dumps(snapshot.dict())
    )


def _sample(window: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    if len(window) <= MAX_ROWS:
        return window
    return window[np.sort(np.random.default_rng(seed).choice(len(window), MAX_ROWS, replace=False))]


def _scores(report: dict[str, Any], limit: float, limit_of_shares: float) -> tuple[FeatureDrift, ...]:
    """The value of each column's metric. A constant that stays what it was has no spread to measure in: no drift."""
    found = []
    for metric in report["metrics"]:
        if str(metric["config"]["type"]).endswith(":ValueDrift"):
            score = float(metric["value"])
            score = score if np.isfinite(score) else 0.0
            name = metric["config"]["column"]
            found.append(FeatureDrift(name, score, score >= (limit_of_shares if name.endswith(KNOWN) else limit)))
    return tuple(sorted(found, key=lambda item: -item.score))
