"""Batches through a model, some of them at the same time, and out in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow

from services.trainer.scoring.columns import Columns
from shared.deciding.onnx_model import OnnxModel

BATCH_ROWS = 16_384
"""Of a matrix of some megabytes, which the processor's cache still holds; many enough that Python's part is nothing."""

AHEAD = 2
"""Batches that wait beyond those that are scored: the next one is read, and the last one written, meanwhile."""

MODEL_VERSION, RAW, PROBABILITY = "model_version", "raw_probability", "probability_of_default"


@dataclass(frozen=True, slots=True)
class Scored:
    rows: pyarrow.RecordBatch
    """Keys, the model's version, raw and calibrated probability."""
    read: int
    """Rows of the input; more than these where customers were erased."""


def scored(
    batches: Iterable[pyarrow.RecordBatch], columns: Columns, model: OnnxModel, threads: int
) -> Iterator[Scored]:
    """In the order of the input; never more than `threads + AHEAD` batches in memory. Raises InputRefused,
    ModelFailed, and what reading raises."""
    running: deque[Future[Scored]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in pieces(batches):
            running.append(pool.submit(score_batch, batch, columns, model))
            if len(running) >= threads + AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def pieces(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    """The same rows, no more than `BATCH_ROWS` at once: who sends them decides otherwise."""
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


def score_batch(batch: pyarrow.RecordBatch, columns: Columns, model: OnnxModel) -> Scored:
    keys, matrix = columns.matrix(batch)
    raw = model.raw(matrix)
    probability = model.calibration.apply(raw)
    version = pyarrow.repeat(pyarrow.scalar(model.version), keys.num_rows)
    made = [*keys.columns, version, pyarrow.array(raw), pyarrow.array(probability)]
    return Scored(pyarrow.RecordBatch.from_arrays(made, schema=output_schema(columns.keys)), batch.num_rows)


def output_schema(keys: pyarrow.Schema) -> pyarrow.Schema:
    """`keys`: of the key columns alone."""
    results = [(MODEL_VERSION, pyarrow.string()), (RAW, pyarrow.float64()), (PROBABILITY, pyarrow.float64())]
    return pyarrow.schema([*keys, *(pyarrow.field(name, kind, nullable=False) for name, kind in results)])
