"""Rows of Parquet through `trainer score`, beside a bare loop over the same ONNX session on the same arrays in as many
threads, and beside XGBoost's own prediction from them; and ten million of them once, for the most memory that the
process ever had."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import xgboost
from numpy.typing import NDArray

from services.trainer.examples import Examples
from services.trainer.families import INPUT, PROBABILITY_OUTPUT
from services.trainer.scoring.run import BATCH_ROWS, RAW
from tests.bench import booster
from tests.bench.onnx_session import session_of
from tests.bench.parts import sized
from tests.bench.report import Finding, at_least, at_most, finding
from tests.bench.rounds import numbered

ROWS, EVERY_ROW = 1_000_000, 10_000_000
"""In a round, and once."""

MOST_MIB = 2048.0
LOOK_S = 0.2
BLOCKS_IN_A_GROUP = 64
THREADS = os.cpu_count() or 1
"""That score unless told otherwise (services/trainer/score_command.py)."""
SHARE_OF_LOOP = 0.8
OUTPUT = "out.parquet"

Matrix = NDArray[np.float32]
Step = Callable[[str], None]


def scoring(rounds: int, step: Step) -> list[Finding]:
    rows, every_row = sized(ROWS), sized(EVERY_ROW)
    folder = Path(tempfile.mkdtemp(prefix="flit-bench-"))
    try:
        examples, trained = booster.examples(), booster.train(folder / "models")
        files = trained.files
        blocks = [examples.take(_drawn(len(examples), number)) for number in range(4)]
        _write(folder / "every-row.parquet", blocks, every_row)
        _write(folder / "in.parquet", blocks, rows)
        arrays = [block.columns(tuple(files.manifest.feature_names)) for block in blocks]
        session = session_of(files.onnx)
        step("rows are written")
        bare(session, arrays, len(arrays) * BATCH_ROWS, THREADS)
        wanted = [session.run([PROBABILITY_OUTPUT], {INPUT: array})[0] for array in arrays]
        _, mib = _score(folder, "every-row.parquet", THREADS)
        _confirm(folder / OUTPUT, wanted, every_row)
        step(f"{every_row:,} rows are scored")
        rates: dict[int, list[float]] = {threads: [] for threads in (THREADS, 1)}
        loops: dict[int, list[float]] = {threads: [] for threads in rates}
        natives: dict[int, list[float]] = {threads: [] for threads in rates}
        for number in numbered(rounds):
            for threads in rates:
                loops[threads].append(bare(session, arrays, rows, threads))
                natives[threads].append(native(trained.xgboost, arrays, rows, threads))
                rates[threads].append(_score(folder, "in.parquet", threads)[0])
                _confirm(folder / OUTPUT, wanted, rows)
            step(f"round {number + 1}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        *(
            finding(
                f"batch scoring, threads: {threads}", "rows/s", rates[threads],
                peer=(f"XGBoost's own, threads: {threads}", natives[threads]),
                limit=(f"bare ONNX loop, threads: {threads}", loops[threads]),
                targets=[at_least("of_limit", SHARE_OF_LOOP)],
            )
            for threads in rates
        ),
        finding(
            f"batch scoring, {every_row:,} rows, most memory", "MiB", [mib], limit=("2 GiB", [MOST_MIB]),
            targets=[at_most("ours", MOST_MIB)],
        ),
    ]  # fmt: skip


def _confirm(written: Path, wanted: Sequence[Matrix], rows: int) -> None:
    """Every row is there, and in the first blocks each has the bare loop's probability of default. Raises
    AssertionError."""
    with pyarrow.parquet.ParquetFile(written) as file:
        assert file.metadata.num_rows == rows, f"{file.metadata.num_rows:,} of {rows:,} rows were written"
        found = np.concatenate(
            [batch.column(RAW).to_numpy() for batch in itertools.islice(file.iter_batches(BATCH_ROWS), len(wanted))]
        )
    expected = np.concatenate([probabilities[:, 1] for probabilities in wanted])[: len(found)]
    assert np.array_equal(found[: len(expected)].astype(np.float32), expected), "other probabilities than the loop's"


def _drawn(available: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, available, BATCH_ROWS)


def _write(path: Path, blocks: list[Examples], rows: int) -> None:
    """The blocks over and over, in row groups as large as Arrow makes them; each purchase with an id of its own, as
    long as real ones."""
    group = pyarrow.concat_tables([blocks[number % len(blocks)].to_arrow() for number in range(BLOCKS_IN_A_GROUP)])
    place = group.schema.get_field_index("event_id")
    with pyarrow.parquet.ParquetWriter(path, group.schema) as writer:
        for start in range(0, rows, group.num_rows):
            table = group.slice(0, rows - start)
            ids = pyarrow.array([f"{number:032x}" for number in range(start, start + table.num_rows)])
            writer.write_table(table.set_column(place, "event_id", ids))


def bare(session: Any, arrays: list[Matrix], rows: int, threads: int) -> float:
    """Rows a second of nothing but the session, on arrays that lie in memory; the threads take turns with batches."""

    def loop(first: int) -> None:
        for number in range(first, -(-rows // BATCH_ROWS), threads):
            session.run([PROBABILITY_OUTPUT], {INPUT: arrays[number % len(arrays)]})

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(loop, range(threads)))
        return rows / (time.perf_counter() - began)


def native(booster: bytes, arrays: list[Matrix], rows: int, threads: int) -> float:
    """Rows a second of XGBoost itself, on the same arrays; each batch by all threads."""
    predicting = xgboost.Booster({"nthread": threads}, model_file=bytearray(booster))
    began = time.perf_counter()
    for number in range(-(-rows // BATCH_ROWS)):
        predicting.inplace_predict(arrays[number % len(arrays)])
    return rows / (time.perf_counter() - began)


def _score(folder: Path, rows: str, threads: int) -> tuple[float, float]:
    """Rows a second from the first row read to the last one written, and the process's largest resident set in MiB."""
    output = folder / OUTPUT
    output.unlink(missing_ok=True)
    command = [sys.executable, "-m", "services.trainer", "score"]
    command += ["--input", str(folder / rows), "--output", str(output), "--threads", str(threads)]
    environment = os.environ | {"MODEL_REGISTRY__URI": str(folder / "models"), "METRICS__PORT": "0"}
    most_kib = 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # What the kernel tells once it has ended counts the bench's own memory too, which it came from.
        while process.poll() is None:
            most_kib = max(most_kib, _resident_kib(process.pid))
            time.sleep(LOOK_S)
        answer = json.loads(process.stdout.read())
    assert process.returncode == 0
    assert answer["left_out"] == 0
    return float(answer["rows_per_second"]), most_kib / 1024


def _resident_kib(pid: int) -> int:
    """The most so far; 0 of a process that is ending."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
