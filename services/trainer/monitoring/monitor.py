"""One look: reads what has come since the last, counts it, compares, and writes down what it found.

Guarantee: however often it is repeated or interrupted, no purchase is counted twice (state.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from services.trainer.evaluate import Economics
from services.trainer.examples import TrainingRefused
from services.trainer.export import run_onnx
from services.trainer.learning_set import learnt_until_us
from services.trainer.monitoring.alarms import LOOK_BACK_DAYS, WEEK, judge
from services.trainer.monitoring.lent import LONGEST_PLAN_DAYS, Lent
from services.trainer.monitoring.look import Look
from services.trainer.monitoring.losses import WEEKS, Loss, Promise, losses, untested
from services.trainer.monitoring.performance import MONDAY, PERIODS, periods
from services.trainer.monitoring.purchases import Purchases
from services.trainer.monitoring.reading import MonitorReads
from services.trainer.monitoring.recalibration import AS_SERVED, Recalibration, Recalibrations, recalibrated
from services.trainer.monitoring.reference import (
    Reference,
    decode_reference,
    encode_reference,
    reference_days,
    reference_of,
)
from services.trainer.monitoring.silence import Told
from services.trainer.monitoring.soundness import Quality, freshness_of
from services.trainer.monitoring.state import MonitorState
from services.trainer.monitoring.tiles import Tile, tiles_by_day, window
from services.trainer.spans import Span
from services.trainer.warehouse import Warehouse, WarehouseUnavailable
from shared.contracts.identity import from_epoch_micros
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.files import ModelFiles
from shared.policy.exploration import Propensity

log = structlog.get_logger()

PERFORMANCE_DAYS = LONGEST_PLAN_DAYS + 7 * (max(WEEKS) + 1)
"""How far back loans are read: until the longest plan that is waited for has matured, then the longest window of the
ranking test, and one week more since windows begin with weeks. What is older has been written down."""

LONGEST_PERIOD_DAYS = max(PERIODS.values())
"""Purchases that are younger on a Monday tell nothing of how far a model is believed: those of any period that ends
with it are among them."""

READ_DAYS = 7
"""Of purchases at a time: a week of thousands a day is some hundred megabytes."""


class Monitor:
    """Every method may raise WarehouseUnavailable, and TrainingRefused where there is nothing to look at."""

    def __init__(
        self,
        warehouse: Warehouse,
        propensity: Propensity,
        economics: Economics,
        step: Callable[[str], None],
        without: Sequence[Span] = (),
    ) -> None:
        """`step` is told of each step done. `without`: times whose input was broken."""
        self._warehouse, self._reads = warehouse, MonitorReads(warehouse)
        self._propensity, self._economics, self._step, self._without = propensity, economics, step, without

    def look(self, files: ModelFiles, reference: Reference, as_of_us: int | None = None) -> Look:
        """`reference`: of the model. `as_of_us`: the stream's own time; None: that of its last purchase."""
        as_of_us = self._warehouse.clock() if as_of_us is None else as_of_us
        until_day, version = as_of_us // MICROS_PER_DAY, files.manifest.version
        state = MonitorState(self._warehouse, version, reference)
        tiles, counted = self._tiles(state, files, reference, until_day)
        self._step("purchases counted")
        drift = judge(reference, tiles, until_day, self._reads.began(), self._without)
        state.keep_drift(drift, until_day, recounted=bool(counted))
        self._step("drift judged")
        since = until_day - PERFORMANCE_DAYS
        found = self._reads.lent(since, until_day, as_of_us, self._propensity)
        recalibrations = self._recalibrations(state, files, since, until_day)
        measured = list(periods(found.lent, self._economics, since, until_day, recalibrations))
        state.keep_performance(measured)
        self._step("performance measured")
        week = window(tiles, reference.layout, until_day, WEEK)
        return Look(
            as_of=from_epoch_micros(as_of_us),
            until_day=until_day,
            model_version=version,
            reference_rows=reference.rows,
            purchases=week.rows,
            days_read=len(counted),
            drift=tuple(drift),
            periods=tuple(measured),
            losses=kept_or_lost(found.lent.of(version), version, Promise.of(files.manifest.metrics), until_day),
            freshness=freshness_of(week),
            quality=self._quality(until_day, found.told),
        )

    def reference(self, files: ModelFiles) -> Reference:
        """That of the model; one that is older than references gets the one it would have had."""
        if files.reference is not None:
            return decode_reference(files.reference)
        log.info("reference_made_anew", version=files.manifest.version)
        manifest = files.manifest
        names, days = tuple(manifest.feature_names), reference_days(manifest.data_window)
        purchases = self._reads.arrivals(manifest.feature_set_version, self._without)(*days, names)
        if len(purchases) == 0:
            raise TrainingRefused(f"model {manifest.version} has no reference, and its purchases are gone")
        made = reference_of(purchases, names, _probability(files, purchases), days)
        return decode_reference(encode_reference(made))

    def _tiles(
        self, state: MonitorState, files: ModelFiles, reference: Reference, until_day: int
    ) -> tuple[dict[int, Tile], list[int]]:
        """Tiles of all days that a look needs, and which of them it counted."""
        first_day = until_day - LOOK_BACK_DAYS
        stored = state.tiles(first_day, until_day)
        # Counted before the rows are read: what comes in between is found by the next look.
        arrived = self._reads.arrived(first_day, until_day)
        tiles = {day: tile for day, (tile, rows) in stored.items() if rows == arrived[day]}
        wanted = [day for day in range(first_day, until_day) if day not in tiles]
        manifest = files.manifest
        for some in _runs(wanted, READ_DAYS):
            purchases = self._reads.purchases(
                some[0], some[-1] + 1, manifest.feature_names, manifest.feature_set_version
            )
            fresh = dict(tiles_by_day(reference.layout, purchases, _probability(files, purchases), some))
            state.keep(fresh, arrived)
            tiles |= fresh
        return tiles, wanted

    def _recalibrations(self, state: MonitorState, files: ModelFiles, since_day: int, until_day: int) -> Recalibrations:
        """What was made of them each Monday, and now of this model's, where this week's is lacking. Nothing that warns
        depends on it: where it can't be made, the look goes on with what is known."""
        since_day -= 7  # a period that begins in a week is expected by that week's Monday
        known, version = state.recalibrations(since_day), files.manifest.version
        monday = until_day - (until_day - MONDAY) % 7
        if any((each.model_version, each.day) == (version, monday) for each in known):
            return Recalibrations.of(known)
        try:
            fresh, from_day = self._recalibrated(files, since_day, monday)
        except (WarehouseUnavailable, TrainingRefused) as error:
            log.warning("not_recalibrated", version=version, reason=str(error))
            return Recalibrations.of(known)
        if fresh.rows == 0:  # not to be kept: some may be on their way
            return Recalibrations.of(known)
        state.keep_recalibration(fresh, files.manifest.family, from_day)
        return Recalibrations.of(state.recalibrations(since_day))  # that of another look, where it was the first

    def _recalibrated(self, files: ModelFiles, since_day: int, monday: int) -> tuple[Recalibration, int]:
        """From purchases that the model never learnt from, and the day of the first of them."""
        manifest = files.manifest
        first_us = max(learnt_until_us(manifest.data_window) + 1, since_day * MICROS_PER_DAY)
        end_us = (monday - LONGEST_PERIOD_DAYS) * MICROS_PER_DAY
        if first_us >= end_us:
            return Recalibration(manifest.version, monday, AS_SERVED, 0, 0), monday
        outcomes = self._reads.outcomes(
            first_us, end_us, monday * MICROS_PER_DAY,
            manifest.feature_names, manifest.feature_set_version, self._propensity,
        )  # fmt: skip
        said = _says(files, outcomes.features)
        made = recalibrated(manifest.version, monday, said, outcomes.label, outcomes.weight)
        return made, first_us // MICROS_PER_DAY

    def _quality(self, until_day: int, told: Told) -> Quality:
        days = until_day - WEEK, until_day
        decided, recomputed, others = self._reads.recomputed(*days)
        return Quality(
            decisions=decided,
            dead_letters=self._reads.dead_letters(*days),
            recomputed=recomputed,
            mismatch_share=others / recomputed if recomputed else None,
            outcomes_lacking=told.lacking,
            loans_over=told.over,
            silent=told.silent,
        )


def kept_or_lost(mine: Lent, version: str, promise: Promise, until_day: int) -> tuple[Loss, ...]:
    """`losses`, and a line in the log where a part of the promise could be put to no test."""
    found = tuple(losses(mine, promise, until_day))
    why = untested(mine, found)
    if why is not None:
        log.info("ranking_untested", version=version, rows=len(mine), reason=why)
    return found


def _probability(files: ModelFiles, purchases: Purchases) -> NDArray[np.float64]:
    """[n] what the model says of them, whoever decided."""
    return _says(files, purchases.features)


def _says(files: ModelFiles, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """[n] calibrated probabilities, of [n, features]."""
    if len(features) == 0:
        return np.zeros(0)
    return files.manifest.calibration.apply(run_onnx(files.onnx, features))


def _runs(days: Iterable[int], most: int) -> Iterator[list[int]]:
    """Days that follow each other, at most so many together."""
    run: list[int] = []
    for day in days:
        if run and (day != run[-1] + 1 or len(run) == most):
            yield run
            run = []
        run.append(day)
    if run:
        yield run
