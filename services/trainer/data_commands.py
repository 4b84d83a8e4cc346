"""The subcommands about rows rather than models: are they as expected, the past's features, the training set."""

from __future__ import annotations

import uuid
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from services.trainer.engines import Engine
from services.trainer.examples import TrainingRefused
from services.trainer.job import Answer, Job
from services.trainer.past import Past, reprocess_partition
from services.trainer.reprocess import Reprocessed, Wanted
from shared.contracts.identity import from_epoch_micros
from shared.durable import written_aside
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.telemetry.process import EXIT_FAILED

log = structlog.get_logger()

COMMANDS = ("quality", "reprocess", "examples")

ALERT_KEY = "data-quality"
RUNBOOK = "docs/operations/alerts.md#data-quality"


class Data(Job):
    """The subcommands named in `COMMANDS`."""

    def quality(self, arguments: Namespace) -> Answer:
        from services.trainer.quality.checks import check
        from services.trainer.quality.frames import Span, example_frames, warehouse_frames

        clock = self._warehouse.clock()
        since_us = 0 if arguments.since is None else arguments.since
        until_us = clock + 1 if arguments.until is None else arguments.until
        frames = warehouse_frames(self._warehouse, Span(since_us, until_us), FEATURE_SET_VERSION)
        self._step("rows read")
        try:
            as_of_us, examples = self._examples(arguments.as_of)
        except TrainingRefused as none:
            log.info("no_examples_to_check", reason=str(none))  # a young warehouse is none the worse for it
        else:
            frames |= example_frames(examples, as_of_us)
        checked = check(frames, self._quality_folder)
        self._step("checked")
        if checked.faults:
            self._alerts.send(
                "data quality: expectations not met",
                [str(fault) for fault in checked.faults],
                key=ALERT_KEY,
                link=checked.pages,
                runbook=RUNBOOK,
            )
        else:
            self._alerts.resolve(ALERT_KEY)
        return {
            "suites": sorted(frames),
            "expectations": checked.expectations,
            "faults": [str(fault) for fault in checked.faults],
            "rows": {name: len(frame) for name, frame in frames.items()},
            "pages": checked.pages,
            "exit_status": EXIT_FAILED if checked.faults else 0,
        }

    def reprocess(self, arguments: Namespace) -> Answer:
        since_us = 0 if arguments.since is None else arguments.since
        until_us = self._warehouse.clock() + 1 if arguments.until is None else arguments.until
        load_id = f"reprocess-{FEATURE_SET_VERSION}-{uuid.uuid4().hex[:8]}"
        task = partial(
            reprocess_partition, self._settings.bigquery, Wanted(FEATURE_SET_VERSION, since_us, until_us, load_id)
        )
        past, parts = Past(self._warehouse), []
        for partition, part in Engine(arguments.engine, arguments.workers, arguments.scheduler).run(
            task, past.partitions()
        ):
            self._step(f"partition {partition}")
            log.info("partition_done", partition=partition, rows=asdict(part))
            parts.append(part)
        done = Reprocessed.total([Reprocessed(), *parts])
        # An erasure doesn't wait for readers: whoever was erased meanwhile was written once more.
        if forgotten := past.forget_erased(FEATURE_SET_VERSION):
            log.info("erased_again", rows=forgotten)
        return {
            "feature_set_version": FEATURE_SET_VERSION,
            "since": from_epoch_micros(since_us),
            "until": from_epoch_micros(until_us),
            "load_id": load_id,
            **asdict(done),
        }

    def examples(self, arguments: Namespace) -> Answer:
        import pyarrow.parquet

        as_of_us, examples = self._examples(arguments.as_of)
        examples = examples.ordered()
        with kept_at(arguments.to) as file:
            pyarrow.parquet.write_table(examples.to_arrow(), file)
        self._step("written")
        return {
            "file": str(arguments.to),
            "as_of": from_epoch_micros(as_of_us),
            "rows": len(examples),
            "defaults": int(examples.label.sum()),
            "feature_set_version": FEATURE_SET_VERSION,
            "digest": examples.digest(),
        }


@contextmanager
def kept_at(address: str) -> Iterator[Path]:
    """A file to write, which is then at the address as a whole: a path, or `gs://bucket/name`."""
    if not address.startswith("gs://"):
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        with written_aside(Path(address)) as aside:
            yield aside
        return
    from shared.model_artifact.bucket import upload

    with TemporaryDirectory() as folder:
        file = Path(folder) / "export"
        yield file
        upload(address, file)
