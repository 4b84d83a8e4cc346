"""`python -m services.sink [run | reconcile | repair | erase | load FOLDER] [--check]`: the composition root."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from aiokafka import TopicPartition
from redis.asyncio import Redis

from services.sink import memory
from services.sink.bigquery import PartitionWriter, Warehouse
from services.sink.gate import Gate
from services.sink.lane import SERVICE, Batching, Lane
from services.sink.letters import LetterReader
from services.sink.loop import SinkLoop
from services.sink.pipeline import Rules
from services.sink.reconcile import reconcile
from services.sink.settings import SinkSettings
from services.sink.streams import RedisStreamNames
from shared.contracts import topics
from shared.contracts.pseudonyms import Kind
from shared.feature_state import FeatureStateStore, PartitionCountMismatch
from shared.kafka.admin import check_topics
from shared.kafka.errors import TransientError
from shared.kafka.watchdog import keep_watch
from shared.redis_primary import leaving_replicas
from shared.settings import EXIT_BAD_SETTING, load_settings
from shared.telemetry import logging, process
from shared.telemetry.operations import OperationsServer
from shared.telemetry.pulse import Pulse
from shared.telemetry.tracing import tracing_of
from shared.warehouse.clients import bigquery_client
from shared.warehouse.schema import Change, SchemaConflict, WarehouseUnreachable, pending_changes
from shared.warehouse.tables import tables_of
from shared.warehouse.writing import WriteClients, write_client

log = structlog.get_logger()

REDIS_TIMEOUT_S = 5.0


def rules_of(settings: SinkSettings) -> Rules:
    return Rules(settings.kafka.partitions, settings.limits.limits(), settings.privacy.pseudonyms())


async def serve(settings: SinkSettings, stop: asyncio.Event) -> None:
    """Run until `stop` is set or something failed that no retry can mend."""
    memory.give_back()
    async with AsyncExitStack() as stack:
        redis = leaving_replicas(
            Redis.from_url(
                settings.redis.address, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
            )
        )
        stack.push_async_callback(redis.aclose)
        states = FeatureStateStore(redis, pseudonyms=settings.privacy.pseudonyms().mark)
        threads = ThreadPoolExecutor(settings.sink.threads, thread_name_prefix="bigquery")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        warehouse = Warehouse(
            bigquery_client(settings.bigquery), WriteClients(settings.bigquery), RedisStreamNames(redis), threads
        )
        letters = LetterReader(settings.kafka, warehouse.client)
        section, rules, tracing = settings.sink, rules_of(settings), tracing_of(SERVICE)
        batching = Batching(section.linger_ms / 1000, section.max_rows, section.buffer_bytes)

        def make_lane(owner: SinkLoop, at: TopicPartition) -> Lane:
            writers = [PartitionWriter(warehouse, table, at.topic, at.partition) for table in tables_of(at.topic)]
            gate = Gate(states, at.partition, letters) if at.topic == topics.TRANSACTIONS.name else None
            end_of_log = functools.partial(owner.end_of_log, at)
            return Lane(at.topic, at.partition, writers, rules, batching, threads, end_of_log, gate, tracing)

        loop = SinkLoop(settings.kafka, make_lane)
        operations = stack.enter_context(OperationsServer(settings.metrics.port, loop.ready, settings.metrics.host))
        await process.patiently(lambda: states.check_partitions(settings.kafka.partitions), stop)
        await process.patiently(lambda: prepared(settings), stop)
        log.info("started", operations_port=operations.port)
        async with asyncio.TaskGroup() as parts:
            parts.create_task(loop.run(stop))
            parts.create_task(keep_watch(loop, settings.kafka, SERVICE, stop))


async def of_this_system(settings: SinkSettings, states: FeatureStateStore) -> None:
    """End where the partition count or the key of pseudonyms is another than the system's: a command with the wrong
    settings would look in the wrong places, find nothing, and say that it is done."""
    try:
        await states.compare_partitions(settings.kafka.partitions)
    except PartitionCountMismatch as mismatch:
        print(f"bad setting: {mismatch}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_SETTING) from None


async def prepared(settings: SinkSettings) -> None:
    """Raise SchemaConflict unless the tables are as declared; TransientError where it doesn't answer. Views of a newer
    release don't matter: nothing is written into them, and an older sink may have to come back beside them."""
    try:
        missing: list[Change] = await asyncio.to_thread(pending_changes, settings.bigquery)
    except WarehouseUnreachable as away:
        raise TransientError(str(away)) from away
    missing = [change for change in missing if change.kind != "replace view"]
    if missing:
        raise SchemaConflict(
            f"run `python -m shared.warehouse create` first: {', '.join(str(change) for change in missing)}"
        )


async def check(settings: SinkSettings, _: asyncio.Event) -> None:
    """Try Redis, the topics and the warehouse once."""
    states = FeatureStateStore.connect(settings.redis.address, pseudonyms=settings.privacy.pseudonyms().mark)
    await check_topics(settings.kafka, SERVICE)
    await states.compare_partitions(settings.kafka.partitions)
    await states.close()
    await prepared(settings)
    log.info("check_passed")


async def audit(settings: SinkSettings, _: asyncio.Event, *, days: float | None) -> None:
    """Compare log and warehouse; exit status 1 where they don't balance."""
    from services.sink.report import print_report  # only here: the running sink draws no tables

    states = FeatureStateStore.connect(
        settings.redis.address
    )  # only its refusals: whose states they are doesn't matter
    try:
        report = await reconcile(settings.kafka, bigquery_client(settings.bigquery), states, rules_of(settings), days)
    finally:
        await states.close()
    print_report(report)
    if not all(part.balanced for part in report):
        raise SystemExit(process.EXIT_FAILED)


async def mend(settings: SinkSettings, _: asyncio.Event) -> None:
    """Repair what doesn't balance, then compare all of it again; exit status 1 where something is left."""
    from services.sink.repair import StillBuffered, repair  # only here: the running sink repairs nothing
    from services.sink.report import print_report

    client, writes = bigquery_client(settings.bigquery), write_client(settings.bigquery)
    states = FeatureStateStore.connect(settings.redis.address, pseudonyms=settings.privacy.pseudonyms().mark)
    rules = rules_of(settings)
    try:
        await of_this_system(settings, states)
        try:
            done = await repair(settings.kafka, client, writes, states, rules)
        except StillBuffered as buffered:
            raise SystemExit(f"{buffered}: BigQuery lets them go after 90 minutes; run the repair again then") from None
        after = await reconcile(settings.kafka, client, states, rules)
    finally:
        await states.close()
    print_report(after)
    print(f"{done.deleted} rows deleted, {done.written} written")
    if not all(part.balanced for part in after):
        raise SystemExit(process.EXIT_FAILED)


async def forget_customer(settings: SinkSettings, _: asyncio.Event, *, patience_s: float) -> None:
    """Erase the customer whose id is the first line of standard input: there no process list or history shows it."""
    from services.sink.erasure import EXIT_UNFINISHED, Parts, erase  # only here: the running sink erases nobody

    customer_id = sys.stdin.readline().rstrip("\r\n")
    if not customer_id:
        print("no customer id on standard input", file=sys.stderr)
        raise SystemExit(EXIT_BAD_SETTING)
    redis = Redis.from_url(
        settings.redis.address, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
    )
    try:
        await of_this_system(settings, FeatureStateStore(redis, pseudonyms=settings.privacy.pseudonyms().mark))
        parts = Parts(settings.kafka, redis, bigquery_client(settings.bigquery), patience_s)
        done = await erase(parts, customer_id, also=[settings.privacy.pseudonyms().of(Kind.CUSTOMER, customer_id)])
    finally:
        await redis.aclose()
    print("\n".join(done.lines()))
    if not done.complete:
        raise SystemExit(EXIT_UNFINISHED)


async def load_history(settings: SinkSettings, stop: asyncio.Event, *, folder: Path) -> None:
    """Load days of history that `python -m services.ingestor backfill --to FOLDER` has read."""
    from services.sink.load import LoadRefused, load  # only here: the running sink loads nothing
    from services.sink.report import LoadProgress
    from shared.archive import ArchiveDamaged

    await prepared(settings)
    with LoadProgress() as progress:
        try:
            written = await asyncio.to_thread(
                load,
                settings.bigquery,
                rules_of(settings),
                folder,
                processes=settings.sink.load_processes,
                stop=stop.is_set,
                done=progress.day_loaded,
            )
        except (LoadRefused, ArchiveDamaged) as refused:
            log.error("load_refused", reason=str(refused))
            raise SystemExit(process.EXIT_FAILED) from None
    log.info("loaded" if not stop.is_set() else "load_interrupted", rows=written)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.sink", description="Every topic into the warehouse")
    parser.add_argument("command", nargs="?", choices=["run", "reconcile", "repair", "erase", "load"], default="run")
    parser.add_argument("folder", nargs="?", type=Path, help="load: of the days that `ingestor backfill --to` has read")
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="erase: for what the services have still to take in (60)",
    )
    parser.add_argument(
        "--days", type=float, metavar="N", help="reconcile: records of the last N days alone (default: all of the log)"
    )
    parser.add_argument("--check", action="store_true", help="try settings and connections, then exit")
    arguments = parser.parse_args()
    if (arguments.command == "load") != (arguments.folder is not None):
        parser.error("load takes a folder, and nothing else does")
    settings = load_settings(SinkSettings)
    logging.configure(SERVICE, settings.log.level, settings.log.format)
    works: dict[str, Callable[[SinkSettings, asyncio.Event], Awaitable[None]]] = {
        "run": serve,
        "reconcile": functools.partial(audit, days=arguments.days),
        "repair": mend,
        "erase": functools.partial(forget_customer, patience_s=arguments.wait),
        "load": functools.partial(load_history, folder=arguments.folder),
    }
    work = check if arguments.check else works[arguments.command]
    # The others may wait for a person, or work on one thing for as long as it takes.
    process.run(functools.partial(work, settings), pulse=Pulse() if work is serve else None)


if __name__ == "__main__":
    main()
