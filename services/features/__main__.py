"""`python -m services.features`: the composition root."""

from __future__ import annotations

import argparse
import asyncio
import functools
from datetime import UTC, datetime

import structlog
import uvloop

from services.features.app import FeaturesApp
from services.features.handler import SERVICE, BatchHandler
from services.features.settings import FeaturesSettings
from services.features.watchdog import watch
from shared.contracts.identity import canonical_time
from shared.feature_state import FeatureStateStore
from shared.kafka.admin import check_topics
from shared.kafka.producer import ReliableProducer
from shared.settings import load_settings
from shared.telemetry import logging, process
from shared.telemetry.operations import OperationsServer

log = structlog.get_logger()


async def serve(settings: FeaturesSettings, stop: asyncio.Event) -> None:
    """Run until `stop` is set or something failed that no retry can mend."""
    store = FeatureStateStore.connect(settings.redis.url)
    await process.patiently(lambda: store.check_partitions(settings.kafka.partitions), stop)
    producer = ReliableProducer(settings.kafka)
    handler = BatchHandler(
        store,
        producer,
        partitions=settings.kafka.partitions,
        limits=settings.limits.limits(),
        now=lambda: canonical_time(datetime.now(UTC)),
    )
    app = FeaturesApp(settings, handler)
    app.failed = asyncio.get_running_loop().create_future()
    operations = OperationsServer(
        settings.metrics.port, lambda: None if app.positioned else "no partitions assigned yet", settings.metrics.host
    )
    operations.start()
    await process.patiently(producer.start, stop)
    app.finalize()
    await app.start()
    log.info("started", operations_port=operations.port)
    try:
        await process.first_of(stop.wait(), app.failed, watch(app, settings.features.stall_seconds))
    finally:
        app.positioned = False
        await handler.idle()
        await app.stop()
        await producer.stop()
        await store.close()
        operations.stop()


async def check(settings: FeaturesSettings, _: asyncio.Event) -> None:
    """Try Redis and the topics once."""
    store = FeatureStateStore.connect(settings.redis.url)
    await store.check_partitions(settings.kafka.partitions)
    await store.close()
    await check_topics(settings.kafka)
    log.info("check_passed")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.features", description="Rolling features of customers")
    parser.add_argument("--check", action="store_true", help="try settings and connections, then exit")
    arguments = parser.parse_args()
    settings = load_settings(FeaturesSettings)
    logging.configure(SERVICE, settings.log.level, settings.log.format)
    process.run(functools.partial(check if arguments.check else serve, settings), uvloop.run)


if __name__ == "__main__":
    main()
