"""The subcommand `score`: a registered model's probabilities for many rows."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.parquet
from tqdm import tqdm

from services.trainer.job import Answer, Job
from services.trainer.scoring import places
from services.trainer.scoring.columns import Columns, InputRefused, columns_of
from services.trainer.scoring.run import MODEL_VERSION, output_schema, scored
from shared.deciding.onnx_model import OnnxModel

COMMANDS = ("score",)


class Scoring(Job):
    """The subcommand named in `COMMANDS`."""

    def score(self, arguments: Namespace) -> Answer:
        model = OnnxModel(self._registry.load(arguments.model or self._current()))
        places.check_output(self._warehouse, arguments.output, arguments.replace)
        threads = arguments.threads or os.cpu_count() or 1
        rows = read = 0
        with (
            self._source(arguments, model) as (source, columns),
            places.destination(
                self._warehouse, arguments.output, output_schema(columns.keys), arguments.replace
            ) as path,
        ):
            began = time.perf_counter()
            with (
                # Ids are all different: a dictionary of them would be made for nothing.
                pyarrow.parquet.ParquetWriter(
                    path, output_schema(columns.keys), use_dictionary=[MODEL_VERSION]
                ) as writer,
                tqdm(
                    total=source.rows, desc=f"score {model.version}", unit="row", unit_scale=True, disable=None
                ) as bar,
            ):
                for batch in scored(source.batches, columns, model, threads):
                    writer.write_batch(batch.rows)
                    rows, read = rows + batch.rows.num_rows, read + batch.read
                    bar.update(batch.read)
            seconds = time.perf_counter() - began
            if read != source.rows:
                raise InputRefused(f"{read} of {source.rows} rows could be read")
        return {
            "model_version": model.version,
            "feature_set_version": model.feature_set_version,
            "rows": rows,
            "left_out": read - rows,
            "output": arguments.output,
            "seconds": round(seconds, 3),
            "rows_per_second": round(read / seconds, 1),
        }

    @contextmanager
    def _source(self, arguments: Namespace, model: OnnxModel) -> Iterator[tuple[places.Source, Columns]]:
        if arguments.table is None:
            columns = columns_of(places.parquet_schema(arguments.input), model)
            yield places.parquet(arguments.input, columns.needed), columns
            return
        columns = columns_of(places.table_schema(self._warehouse, arguments.table), model)
        with places.table(self._warehouse, arguments.table, columns.needed) as source:
            yield source, columns
