"""How long a graph takes, for one row and for a batch, beside the champion's in the same process.

Rounds of candidate and champion alternate, so that whatever else the machine does falls on both; a figure is the median
over the rounds of each round's p99, so that some disturbed rounds don't move it. Where a machine is so busy that the
stated limits tell of it alone, what counts is how many times the champion's time a candidate takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from services.trainer.export import session_of
from services.trainer.families import INPUT, PROBABILITY_OUTPUT
from services.trainer.gates.limits import GateLimits
from services.trainer.gates.verdict import LATENCY, GateVerdict, of_faults
from shared.model_artifact.files import ModelFiles

BATCH_ROWS = 500
"""As many as a batch of the stream has at full load."""
ROUNDS = 5
ONE_ROW_RUNS, BATCH_RUNS = 100, 20
"""In each round: a p99 needs about a hundred; of batches all but the slowest of twenty stand for it."""
ATTEMPTS = 3
P99 = 99

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timed:
    """Milliseconds at p99, the median over the rounds."""

    one_row: float
    batch: float


def measure(models: list[ModelFiles], clock: Clock = perf_counter) -> list[Timed]:
    """Each graph's times on inputs spread around its golden ones, in alternating rounds."""
    runs = [_Run(files) for files in models]
    rounds: list[list[tuple[float, float]]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for run, found in zip(runs, rounds, strict=True):
            found.append((run.p99_ms(run.one_row, ONE_ROW_RUNS, clock), run.p99_ms(run.batch, BATCH_RUNS, clock)))
    return [Timed(*(float(np.median([each[i] for each in found])) for i in range(2))) for found in rounds]


class _Run:
    def __init__(self, files: ModelFiles) -> None:
        self._session = session_of(files.onnx)
        width = len(files.manifest.feature_names)
        # What a value is doesn't change how long a graph takes, but that some are missing may.
        self.batch = np.random.default_rng(1).normal(size=(BATCH_ROWS, width)).astype(np.float32)
        self.batch[::7] = np.nan
        self.one_row = self.batch[:1]
        self.p99_ms(self.batch, 1, perf_counter)  # the first run sets up memory

    def p99_ms(self, matrix: NDArray[np.float32], times: int, clock: Clock) -> float:
        taken = []
        for _ in range(times):
            began = clock()
            self._session.run([PROBABILITY_OUTPUT], {INPUT: matrix})
            taken.append(clock() - began)
        return float(np.percentile(taken, P99) * 1000)


def latency(files: ModelFiles, champion: ModelFiles | None, limits: GateLimits) -> GateVerdict:
    """Measures now, and again where it was too slow: what is slow is so each time. `champion`: None where there is none
    that can be read."""
    for _ in range(ATTEMPTS):
        timed = measure([files] if champion is None else [files, champion])
        found = judge(timed[0], timed[1] if champion is not None else None, limits)
        if found.passed:
            break
    return found


def judge(mine: Timed, theirs: Timed | None, limits: GateLimits) -> GateVerdict:
    """Pure."""
    faults, said = [], []
    for what, took, budget, beside in (
        ("one row", mine.one_row, limits.one_row_ms, theirs.one_row if theirs else None),
        (f"{BATCH_ROWS} rows", mine.batch, limits.batch_ms, theirs.batch if theirs else None),
    ):
        most = max(budget, limits.times_champion * (beside or 0.0))
        champion = "" if beside is None else f", the champion {beside:.3f} ms"
        text = f"{what} in {took:.3f} ms at p99{champion}, {most:.3f} ms allowed"
        said.append(text)
        if took > most:
            faults.append(text)
    return of_faults(LATENCY, faults, "; ".join(said))
