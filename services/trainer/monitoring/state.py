"""What the monitor keeps in the warehouse, so that no look counts a purchase twice, whoever was interrupted.

The unit is a day of the stream, by model: its tile is counted from that day's rows as a whole, and replaces what was
stored (the latest row of `drift_histograms` counts). A look counts the days that have no tile yet and those that
have another number of rows than when they were counted; nothing is ever added to a stored number. So a look that dies
leaves days undone or done, two looks at once write the same tile twice, and a late row has its day counted again.

In the warehouse, not beside the process: a job of Kubernetes has no disk, and of two machines each would have its own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from services.trainer.monitoring.alarms import Finding
from services.trainer.monitoring.performance import Estimate, Period
from services.trainer.monitoring.recalibration import AS_SERVED, Recalibration
from services.trainer.monitoring.reference import Reference, encode_reference
from services.trainer.monitoring.tiles import Tile
from services.trainer.warehouse import Evaluation, Warehouse
from shared.contracts.identity import canonical_time
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.manifest import Calibration
from shared.warehouse import tables

RECALIBRATION = "recalibration"
"""`kind` of its rows in `model_evaluations`."""

_TILES = f"""
SELECT day, `rows`, arrived, TO_JSON_STRING(histograms) AS histograms
FROM `{{project}}.{tables.DRIFT_HISTOGRAMS.id}`
WHERE model_version = '{{version}}' AND reference_sha256 = '{{reference}}'
  AND day >= {{first_day}} AND day < {{end_day}}
QUALIFY ROW_NUMBER() OVER (PARTITION BY day ORDER BY evaluated_at DESC) = 1
"""

_JUDGED = f"""
SELECT UNIX_MICROS(MAX(window_to)) AS until_us FROM `{{project}}.{tables.DRIFT_METRICS.id}`
WHERE model_version = '{{version}}' AND kind IS NOT NULL
"""

_MEASURED = f"""
SELECT model_version, period, UNIX_MICROS(window_from) AS from_us, `rows`, lent, defaults, log_loss
FROM `{{project}}.{tables.MODEL_PERFORMANCE.id}`
WHERE period IS NOT NULL AND window_from >= TIMESTAMP_MICROS({{since_us}})
QUALIFY ROW_NUMBER() OVER (PARTITION BY model_version, period, window_from ORDER BY evaluated_at DESC) = 1
"""

_RECALIBRATED = f"""
SELECT model_version, UNIX_MICROS(window_to) AS until_us, `rows`, TO_JSON_STRING(metrics) AS metrics
FROM `{{project}}.{tables.MODEL_EVALUATIONS.id}`
WHERE kind = '{RECALIBRATION}' AND window_to >= TIMESTAMP_MICROS({{since_us}})
QUALIFY ROW_NUMBER() OVER (PARTITION BY model_version, window_to ORDER BY evaluated_at) = 1
"""
"""The first of a day counts: what was expected of a period isn't changed by what came to light later."""


class _Histograms(msgspec.Struct, frozen=True):
    counts: list[int]
    repeats: list[int]
    ages: list[int]
    degraded: dict[str, int]


class MonitorState:
    """Of one model. Every method may raise WarehouseUnavailable."""

    def __init__(self, warehouse: Warehouse, version: str, reference: Reference) -> None:
        self._warehouse, self._version = warehouse, version
        self._reference_sha256 = hashlib.sha256(encode_reference(reference)).hexdigest()

    def tiles(self, first_day: int, end_day: int) -> dict[int, tuple[Tile, int]]:
        """What has been counted of these days, and how many rows the warehouse then had of each."""
        found = self._rows(_TILES, reference=self._reference_sha256, first_day=first_day, end_day=end_day)
        tiles: dict[int, tuple[Tile, int]] = {}
        for row in found:
            stored = msgspec.json.decode(row["histograms"], type=_Histograms)
            counts, repeats, ages = (np.array(each, np.int64) for each in (stored.counts, stored.repeats, stored.ages))
            tile = Tile(row["rows"], counts, repeats, ages, Counter(stored.degraded))
            tiles[row["day"]] = tile, row["arrived"]
        return tiles

    def keep(self, tiles: Mapping[int, Tile], arrived: Mapping[int, int]) -> None:
        """`arrived`: how many rows the warehouse had of each day before it was counted."""
        self._insert(
            tables.DRIFT_HISTOGRAMS,
            [
                {
                    "reference_sha256": self._reference_sha256,
                    "model_version": self._version,
                    "day": day,
                    "rows": tile.rows,
                    "arrived": arrived.get(day, 0),
                    "histograms": msgspec.json.encode(
                        _Histograms(
                            tile.counts.tolist(), tile.repeats.tolist(), tile.ages.tolist(), dict(tile.degraded)
                        )
                    ).decode(),
                }
                for day, tile in tiles.items()
            ],
        )

    def keep_drift(self, findings: Sequence[Finding], until_day: int, *, recounted: bool) -> None:
        """A row for each finding, once for each day that is judged; `recounted`: again, since its rows have changed."""
        [last] = self._rows(_JUDGED)
        if last["until_us"] is not None and last["until_us"] >= until_day * MICROS_PER_DAY and not recounted:
            return
        self._insert(
            tables.DRIFT_METRICS,
            [
                {
                    "model_version": self._version,
                    "window_from": _moment(until_day - finding.days),
                    "window_to": _moment(until_day),
                    "rows": finding.rows,
                    "feature": finding.name,
                    "score": finding.score,
                    "drifted": finding.alarm,
                    "kind": finding.kind,
                    "window_days": finding.days,
                    "against": finding.against,
                    "threshold": finding.threshold,
                    "jensen_shannon": finding.jensen_shannon,
                    "p_value": finding.p_value,
                    "p_needed": finding.p_needed,
                }
                for finding in findings
            ],
        )

    def recalibrations(self, since_day: int) -> list[Recalibration]:
        """Of every model, from that day on."""
        found = []
        for row in self._rows(_RECALIBRATED, since_us=since_day * MICROS_PER_DAY):
            metrics = msgspec.json.decode(row["metrics"], type=dict[str, float])
            calibration = Calibration(metrics["slope"], metrics["intercept"])
            day = row["until_us"] // MICROS_PER_DAY
            found.append(Recalibration(row["model_version"], day, calibration, row["rows"], int(metrics["defaults"])))
        return found

    def keep_recalibration(self, found: Recalibration, family: str, since_day: int) -> None:
        self._warehouse.append_evaluation(
            Evaluation(
                model_version=found.model_version,
                family=family,
                kind=RECALIBRATION,
                window_from=_moment(since_day),
                window_to=_moment(found.day),
                rows=found.rows,
                metrics={
                    "slope": found.calibration.slope,
                    "intercept": found.calibration.intercept,
                    "defaults": float(found.defaults),
                },
            )
        )

    def keep_performance(self, periods: Sequence[Period]) -> int:
        """A row for each period of which something else is known than the last row says; how many. A corrected outcome
        is something else."""
        since_us = min((period.first_day for period in periods), default=0) * MICROS_PER_DAY
        known = {
            (row["model_version"], row["period"], row["from_us"]): _told(
                row["rows"], row["lent"], row["defaults"], row["log_loss"]
            )
            for row in self._rows(_MEASURED, since_us=since_us)
        }
        fresh = [
            period
            for period in periods
            if known.get((period.model_version, period.kind, period.first_day * MICROS_PER_DAY)) != _tells(period)
        ]
        self._insert(tables.MODEL_PERFORMANCE, [performance_row(period) for period in fresh])
        return len(fresh)

    def _rows(self, sql: str, **values: object) -> list[dict[str, Any]]:
        whole = sql.format(project=self._warehouse.project, version=self._version, **values)
        found: list[dict[str, Any]] = self._warehouse.rows(whole).to_pylist()
        return found

    def _insert(self, table: Any, records: Sequence[dict[str, Any]]) -> None:
        evaluated_at = canonical_time(datetime.now(UTC))
        if records:
            self._warehouse.insert(table, [record | {"evaluated_at": evaluated_at} for record in records])


def _tells(period: Period) -> tuple[object, ...]:
    found = period.realized
    counts = matured(period), period.estimate.rows
    return _told(*counts, None, None) if found is None else _told(*counts, found.defaults, found.log_loss)


def _told(rows: int, lent: int, defaults: int | None, log_loss: float | None) -> tuple[object, ...]:
    """By what a row is known to say something else: two corrections, one each way, leave the counts as they were."""
    return rows, lent, defaults, None if log_loss is None else round(log_loss, 9)


def matured(period: Period) -> int:
    """How many purchases of the period have a known outcome."""
    return period.on_matured.rows if period.on_matured else 0


def performance_row(period: Period) -> dict[str, Any]:
    """Of `model_performance`, less the time of its writing. What isn't known is left out."""
    found, said = period.realized, period.on_matured
    row: dict[str, Any] = {
        "model_version": period.model_version,
        "period": period.kind,
        "window_from": _moment(period.first_day),
        "window_to": _moment(period.end_day),
        "rows": matured(period),
        "lent": period.estimate.rows,
        "metrics": msgspec.json.encode(_further(period)).decode(),
    }
    if found is not None:
        names = ("auc", "ks", "brier", "log_loss", "ece", "defaults", "calibration_slope", "profit_bp")
        row |= {name: getattr(found, name) for name in names}
    if said is not None:
        row |= {
            "estimated_auc": said.auc.value,
            "estimated_auc_error": said.auc.error,
            "estimated_log_loss": said.log_loss.value,
            "estimated_brier": said.brier.value,
            "estimated_profit_bp": said.profit_bp.value,
        }
    return {name: value for name, value in row.items() if not (isinstance(value, float) and np.isnan(value))}


def _further(period: Period) -> dict[str, float]:
    """The estimates of all that was lent, and the errors of those of what has matured."""
    figures = _named("expected_", period.estimate)
    if period.on_matured is not None:
        figures |= {name: value for name, value in _named("estimated_", period.on_matured).items() if "error" in name}
    if period.believed != AS_SERVED:
        figures |= {"believed_slope": period.believed.slope, "believed_intercept": period.believed.intercept}
    if period.realized is not None:
        figures |= {
            "calibration_intercept": period.realized.calibration_intercept,
            "default_rate": period.realized.default_rate,
        }
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _named(prefix: str, of: Estimate) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in ("auc", "log_loss", "brier", "default_rate", "profit_bp"):
        expected = getattr(of, name)
        figures |= {f"{prefix}{name}": expected.value, f"{prefix}{name}_error": expected.error}
    return figures


def _moment(day: int) -> str:
    return canonical_time(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day))
