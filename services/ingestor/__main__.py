"""The ingestor's composition root: `python -m services.ingestor [live | backfill | replay-dead-letters]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import httpx
import structlog
import uvloop
from redis.asyncio import Redis

from services.ingestor import cli
from services.ingestor.archiving import ArchiveWriter
from services.ingestor.check import check
from services.ingestor.cursor import CursorStore, SourceChanged
from services.ingestor.delivery import Delivery, TooManyRefused
from services.ingestor.history import HistoryIngest, Range
from services.ingestor.intake import Intake
from services.ingestor.live import LiveIngest
from services.ingestor.progress import TerminalProgress
from services.ingestor.reading import BeginningGone
from services.ingestor.replay import Choice, Replay
from services.ingestor.settings import IngestorSettings
from services.ingestor.source import SimtomSource, SourceRefused
from services.ingestor.sparing import SparingSender
from services.ingestor.stopping import Stopped
from shared.kafka.errors import TransientError
from shared.kafka.producer import ReliableProducer
from shared.redis_primary import leaving_replicas
from shared.settings import EXIT_BAD_SETTING, load_settings
from shared.telemetry import logging
from shared.telemetry.operations import OperationsServer, operations_of_job
from shared.telemetry.process import EXIT_FAILED, run
from shared.telemetry.pulse import Pulse
from shared.telemetry.tracing import OFF, tracing_of

log = structlog.get_logger()

REDIS_TIMEOUT_S = 5.0


async def work(arguments: argparse.Namespace, settings: IngestorSettings, stop: asyncio.Event) -> None:
    """Build the parts and run the one command that was asked for."""
    section = settings.ingestor
    async with AsyncExitStack() as stack:
        client = httpx.AsyncClient(base_url=settings.simtom.url, headers={"accept-encoding": "identity"})
        await stack.enter_async_context(client)
        source = SimtomSource(client, generator=section.generator, batch_lines=section.batch_lines)
        redis = leaving_replicas(Redis.from_url(settings.redis.address, socket_timeout=REDIS_TIMEOUT_S))
        stack.push_async_callback(redis.aclose)
        if arguments.check:
            _report(await check(settings.kafka, redis, source))
            return
        # A batch is handed over whole, so waiting for more to fill it would only be delay. (It connects when it sends.)
        producer = ReliableProducer(settings.kafka, linger_ms=0)
        stack.push_async_callback(producer.stop)
        archive = None if section.archive is None else ArchiveWriter(section.archive)
        limits, scope = settings.limits.limits(), settings.simtom.customer_scope
        if arguments.command == "replay-dead-letters":
            replay = Replay(producer, redis, kafka=settings.kafka, scope=scope, limits=limits)
            choice = Choice(
                arguments.reason, arguments.limit, arguments.dry_run, arguments.repeated, arguments.since or ""
            )
            print(await replay.run(choice))
            return
        tracing = OFF if archive is not None else tracing_of("ingestor")
        sparing = SparingSender(tracing.sender(producer), settings.kafka)
        delivery = Delivery(archive or sparing, max_refused_share=section.max_refused_share)
        intake = Intake(source, delivery, scope=scope, limits=limits, now=lambda: datetime.now(UTC), stop=stop,
                        tracing=tracing)  # fmt: skip
        serve = OperationsServer if section.mode == "live" else operations_of_job
        stack.enter_context(serve(settings.metrics.port, intake.ready, settings.metrics.host))
        if section.mode == "live":
            await LiveIngest(intake, CursorStore(redis), generator=section.generator).run(
                section.rate, section.max_events
            )
        elif section.start is not None and section.end is not None:
            days = Range(section.start, section.end, section.daily, section.seed)
            cursors = archive or CursorStore(redis)
            with TerminalProgress(days.start, days.end) as progress:
                topics = sparing if archive is None else None
                ingest = HistoryIngest(intake, cursors, progress, topics, generator=section.generator)
                await ingest.run(days, again=section.again, first_read=section.first_read)


def _report(answers: dict[str, str]) -> None:
    for name, answer in answers.items():
        print(f"{name}: {answer}")
    if any(answer != "ok" for answer in answers.values()):
        raise SystemExit(EXIT_FAILED)


def main() -> None:
    arguments = cli.parse()
    cli.to_environment(arguments, os.environ)
    settings = load_settings(IngestorSettings)
    logging.configure("ingestor", settings.log.level, settings.log.format)

    async def guarded(stop: asyncio.Event) -> None:
        try:
            await work(arguments, settings, stop)
        except Stopped:
            log.info("stopped")
        except SourceRefused as error:
            print(f"bad setting {error}", file=sys.stderr)
            raise SystemExit(EXIT_BAD_SETTING) from None
        except (SourceChanged, TooManyRefused, BeginningGone, TransientError) as error:
            log.error("given_up", kind=type(error).__name__, error=str(error))
            raise SystemExit(EXIT_FAILED) from None

    run(guarded, uvloop.run, pulse=Pulse())


if __name__ == "__main__":
    main()
