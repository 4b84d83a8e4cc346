"""`python -m services.features`: the composition root."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
import uvloop

from services.features.app import ROUND_BATCHES, FeaturesApp, PositionBeyondLog
from services.features.handler import BatchHandler, LogWentBack, SkippedRecords
from services.features.pipeline import SERVICE
from services.features.prehistory import Prehistory, RecordsMissing
from services.features.rebuild import OwnedByOthers, Rebuilder, rebuild_by_hand
from services.features.settings import FeaturesSettings
from shared.contracts.identity import canonical_time
from shared.feature_definitions.stored import LayoutMismatch
from shared.feature_state import FeatureStateStore, FencedOff, PartitionCountMismatch
from shared.kafka.admin import check_topics
from shared.kafka.errors import TopicMismatch
from shared.kafka.producer import ReliableProducer
from shared.kafka.refusal_limit import RefusalLimit
from shared.kafka.watchdog import Stalled, keep_watch
from shared.settings import load_settings
from shared.telemetry import logging, process
from shared.telemetry.operations import OperationsServer
from shared.telemetry.pulse import Pulse
from shared.telemetry.tracing import tracing_of

if TYPE_CHECKING:
    from services.features.warehouse import Past

log = structlog.get_logger()

REFUSALS = (
    FencedOff,
    SkippedRecords,
    LogWentBack,
    Stalled,
    PositionBeyondLog,
    PartitionCountMismatch,
    TopicMismatch,
    LayoutMismatch,
    OwnedByOthers,
    RecordsMissing,
)
"""What a person or a restart has to mend: one line says it, a traceback would say no more."""


LEAVE_SECONDS = 5.0
"""For committing offsets and leaving the group. Without brokers neither can be done, and Faust waits for minutes, its
loop blocked; the session timeout then speaks for us, and nothing hangs on it: the position is in Redis."""


async def serve(settings: FeaturesSettings, stop: asyncio.Event) -> None:
    """Run until `stop` is set or something failed that no retry can mend."""
    store = _store(settings)
    producer = ReliableProducer(settings.kafka, linger_ms=0)
    tracing = tracing_of(SERVICE)
    refusals = RefusalLimit(settings.features.max_refused_share, settings.features.refusals_per_minute)
    handler = BatchHandler(
        store,
        tracing.sender(producer),
        partitions=settings.kafka.partitions,
        limits=settings.limits.limits(),
        refusals=refusals,
        now=_now,
        pseudonyms=settings.privacy.pseudonyms(),
        tracing=tracing,
    )
    app = FeaturesApp(settings, handler, _rebuilder(settings, store, producer))

    def not_ready() -> str | None:
        if app.rebuilding:
            return "rebuilding states"
        return None if app.positioned else "no partitions assigned yet"

    operations = OperationsServer(settings.metrics.port, not_ready, settings.metrics.host)
    operations.start()
    try:
        with _refusals_in_one_line():
            # First: a wrong count must not be left in Redis as the one that states were made with.
            await process.patiently(lambda: check_topics(settings.kafka, SERVICE), stop)
            await process.patiently(lambda: store.check_partitions(settings.kafka.partitions), stop)
            await process.patiently(producer.start, stop)
            if not stop.is_set():
                app.finalize()
                await app.start()
                log.info("started", operations_port=operations.port)
                watching = keep_watch(app, settings.kafka, SERVICE, stop)
                await process.first_of(stop.wait(), app.failed, watching)
    finally:
        await app.stop_taking_in()
        with _last_resort(0 if stop.is_set() else process.EXIT_FAILED):
            await app.leave()
            await producer.stop()
            await store.close()
        operations.stop()
    log.info("stopped")


def _now() -> str:
    return canonical_time(datetime.now(UTC))


def _rebuilder(settings: FeaturesSettings, store: FeatureStateStore, producer: ReliableProducer) -> Rebuilder:
    return Rebuilder(
        store,
        producer,
        settings.kafka,
        Prehistory(
            settings.kafka,
            functools.partial(_past, settings),
            expired=settings.features.rebuild_from_warehouse,
            loaded=settings.features.loaded_history,
            on_gaps=settings.features.rebuild_gaps,
        ),
        limits=settings.limits.limits(),
        now=_now,
        round_records=(ROUND_BATCHES + 1) * settings.features.max_batch,
        pseudonyms=settings.privacy.pseudonyms(),
    )


def _past(settings: FeaturesSettings) -> Past:
    # BigQuery's client is some 40 MB that most processes never need.
    from services.features.warehouse import Past

    return Past(settings.bigquery, settings.privacy.pseudonyms(), max_bytes=settings.features.rebuild_max_bytes)


def _store(settings: FeaturesSettings) -> FeatureStateStore:
    return FeatureStateStore.connect(settings.redis.address, pseudonyms=settings.privacy.pseudonyms().mark)


@contextlib.contextmanager
def _refusals_in_one_line() -> Iterator[None]:
    try:
        yield
    except REFUSALS as refusal:
        log.error("gave_up", because=type(refusal).__name__, error=str(refusal))
        raise SystemExit(process.EXIT_FAILED) from None


@contextlib.contextmanager
def _last_resort(status: int) -> Iterator[None]:
    """End the process with `status` if the block takes longer than LEAVE_SECONDS, from a thread of its own."""

    def end() -> None:
        log.warning("left_without_goodbye", seconds=LEAVE_SECONDS)
        os._exit(status)

    timer = threading.Timer(LEAVE_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


async def check(settings: FeaturesSettings, _: asyncio.Event) -> None:
    """Try Redis and the topics once."""
    store = _store(settings)
    with _refusals_in_one_line():
        await check_topics(settings.kafka, SERVICE)
        await store.compare_partitions(settings.kafka.partitions)
    await store.close()
    log.info("check_passed")


async def rebuild(partitions: list[int], settings: FeaturesSettings, _: asyncio.Event) -> None:
    """Throw the states of the partitions away and make them anew."""
    store, producer = _store(settings), ReliableProducer(settings.kafka)
    wanted = partitions or list(range(settings.kafka.partitions))
    with _refusals_in_one_line():
        await check_topics(settings.kafka, SERVICE)
        await store.check_partitions(settings.kafka.partitions)
        await producer.start()
        try:
            await rebuild_by_hand(_rebuilder(settings, store, producer), store, settings.kafka, wanted)
        finally:
            await producer.stop()
            await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.features", description="Rolling features of customers")
    parser.add_argument("--check", action="store_true", help="try settings and connections, then exit")
    commands = parser.add_subparsers(dest="command", metavar="{run,rebuild}")
    commands.add_parser("run", help="take both inputs in (the default)")
    again = commands.add_parser("rebuild", help="throw states away and make them anew from the log")
    again.add_argument("--partition", type=int, action="append", default=[], help="only this one; may be repeated")
    arguments = parser.parse_args()
    settings = load_settings(FeaturesSettings)
    if any(not 0 <= number < settings.kafka.partitions for number in getattr(arguments, "partition", ())):
        parser.error(f"--partition: 0 to {settings.kafka.partitions - 1}")
    logging.configure(SERVICE, settings.log.level, settings.log.format)
    # Faust's consumer has a thread and a loop of its own, made by the policy.
    uvloop.install()
    if arguments.check:
        process.run(functools.partial(check, settings))
        return
    if arguments.command == "rebuild":
        process.run(functools.partial(rebuild, arguments.partition, settings))
        return
    process.run(functools.partial(serve, settings), pulse=Pulse())


if __name__ == "__main__":
    main()
