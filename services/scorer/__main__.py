"""The scorer's composition root: `python -m services.scorer [run | new-key OWNER | rewind PARTITION OFFSET]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import socket
import sys
from contextlib import AsyncExitStack
from typing import cast

import structlog
import uvloop
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.scorer.admission import Admission, Heartbeat
from services.scorer.api import BodyLimits, UseCases, build_app
from services.scorer.askers import Askers
from services.scorer.batch import Batch
from services.scorer.check import check, tell_of_claims_that_outlive_their_topic
from services.scorer.checkout import Checkout
from services.scorer.claims import ClaimStore
from services.scorer.connections import ConnectionLimits
from services.scorer.customers import Customers
from services.scorer.decider import Decider
from services.scorer.door import Door
from services.scorer.explanation import Explanations
from services.scorer.gathering import GatheringRedis
from services.scorer.guard import PartitionGuard, Readiness
from services.scorer.idempotency import IdempotencyKeys, KeyGuard
from services.scorer.keys import Access, KeysFileError, KeysReloader, Scope, new_key
from services.scorer.library import ModelLibrary, PolicyLibrary
from services.scorer.limiter import Limiter
from services.scorer.memory import watch_memory
from services.scorer.metrics import SERVICE
from services.scorer.models import Models
from services.scorer.policies import PolicyReloader, PolicySlot
from services.scorer.ports import Ports
from services.scorer.rate import Rate
from services.scorer.reload import ModelReloader
from services.scorer.restore import ClaimRestorer
from services.scorer.rewind import rewind
from services.scorer.server import listen, serve
from services.scorer.settings import ScorerSettings
from services.scorer.slot import ModelSlot
from services.scorer.stream import StreamDoor
from services.scorer.updates import Updates
from shared.contracts import topics
from shared.contracts.pseudonyms import Kind
from shared.exposure import ExposureStore
from shared.feature_state import FeatureStateStore
from shared.kafka.consumer import BatchConsumer
from shared.kafka.errors import GaveUp, TransientError
from shared.kafka.producer import ReliableProducer
from shared.kafka.refusal_limit import RefusalLimit
from shared.kafka.watchdog import keep_watch
from shared.model_artifact.opening import open_registry
from shared.model_artifact.registry import ModelRegistry, RegistryAway, RegistryUnsupported
from shared.model_artifact.signing import KeyFileError, ManifestVerifier
from shared.policy import Policy, PolicyFileError, load_policy
from shared.redis_primary import leaving_replicas
from shared.settings import EXIT_BAD_SETTING, load_settings
from shared.telemetry import logging
from shared.telemetry.operations import OperationsServer
from shared.telemetry.process import EXIT_FAILED, run
from shared.telemetry.pulse import Pulse
from shared.telemetry.tracing import tracing_of

log = structlog.get_logger()

STREAM_TIMEOUT_S = 5.0
"""The stream can wait for Redis; a checkout can't (SCORER__REDIS_TIMEOUT_MS)."""

RECONNECT_S = 1.0
"""After so long without an answer the connection that checkouts share is taken for dead and made anew."""


def _redis(url: str) -> Redis:
    """For what is done once, or in the background: it waits, and without retries of the client's own."""
    return leaving_replicas(
        Redis.from_url(
            url, socket_timeout=STREAM_TIMEOUT_S, socket_connect_timeout=STREAM_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
    )


def _gathering_redis(url: str, patience_s: float, reconnect_s: float) -> GatheringRedis:
    """For a door. Checkouts are many at once, and none of them waits for long; a step of the stream asks for each
    partition by itself, and waits, without retries of the client's own, since the whole batch is given again."""
    made = GatheringRedis.from_url(
        url, socket_timeout=None, socket_connect_timeout=reconnect_s, retry=Retry(NoBackoff(), 0)
    )
    client = leaving_replicas(cast(GatheringRedis, made))
    client.patience_s, client.reconnect_s = patience_s, reconnect_s
    return client


async def work(
    settings: ScorerSettings,
    policy: Policy,
    access: Access,
    registry: ModelRegistry,
    listener: socket.socket,
    stop: asyncio.Event,
) -> None:
    """Build the parts, and run both doors and the model watch until `stop` is set."""
    section, partitions = settings.scorer, settings.kafka.partitions
    async with AsyncExitStack() as stack:
        patient = _redis(settings.redis.address)
        of_stream = _gathering_redis(settings.redis.address, STREAM_TIMEOUT_S, STREAM_TIMEOUT_S)
        hasty = _gathering_redis(settings.redis.address, section.redis_timeout_ms / 1000, RECONNECT_S)
        for client in (patient, of_stream, hasty):
            stack.push_async_callback(client.aclose)
        producer = ReliableProducer(settings.kafka, linger_ms=0)
        stack.push_async_callback(producer.stop)
        tracing = tracing_of(SERVICE)
        sender = tracing.sender(producer)
        slot = ModelSlot()
        reloader = ModelReloader(registry, slot, interval_s=section.reload_seconds)
        await reloader.look()  # before the first decision: one with the model rather than without
        await reloader.look_at_trials()
        policies = PolicySlot(policy)
        pseudonyms = settings.privacy.pseudonyms()
        policy_reloader = PolicyReloader(
            section.policy_file, policies, registry, interval_s=section.reload_seconds, pseudonyms=pseudonyms.on
        )
        decider, limiter = Decider(slot, policies), Limiter()
        states = FeatureStateStore(hasty, pseudonyms=pseudonyms.mark)
        restorer = ClaimRestorer(
            patient,
            settings.kafka,
            ttl_s=section.claim_ttl_seconds,
            settle_s=2 * section.publish_timeout_ms / 1000,  # the purchase first, then its decision
            debts_s=section.debt_days * 86_400,
        )
        heartbeat = Heartbeat()
        admission = Admission(
            most=section.max_in_flight, within_s=section.answer_within_ms / 1000, late_s=heartbeat.late_s
        )
        door = StreamDoor(
            decider,
            ClaimStore(of_stream, ttl_s=section.claim_ttl_seconds, on_incomplete=restorer.wake),
            sender,
            ExposureStore(of_stream),
            confirm=PartitionGuard(FeatureStateStore(patient, pseudonyms=pseudonyms.mark), partitions).confirm,
            chunk_records=section.chunk_records,
            refusals=RefusalLimit(section.max_refused_share, section.refusals_per_minute),
            halt_seconds=section.halt_seconds,
            limiter=limiter,
            judged_for_s=section.claim_ttl_seconds,
            quiet=lambda: admission.quiet,
            tracing=tracing,
        )
        confirm = PartitionGuard(states, partitions).confirm
        exposures = ExposureStore(hasty)
        claims = ClaimStore(hasty, ttl_s=section.claim_ttl_seconds, on_incomplete=restorer.wake)
        idempotency = IdempotencyKeys(
            hasty, ttl_s=section.idempotency_ttl_seconds, in_flight_s=2 * section.publish_timeout_ms / 1000 + 1
        )
        askers = Askers(hasty, ttl_s=section.claim_ttl_seconds)
        publish_timeout_s = section.publish_timeout_ms / 1000
        checkout = Checkout(
            Ports(
                states=states,
                claims=claims,
                keys=idempotency,
                askers=askers,
                sender=sender,
                exposures=exposures,
                confirm=confirm,
            ),
            decider,
            limits=settings.limits.limits(),
            partitions=partitions,
            publish_timeout_s=publish_timeout_s,
            pseudonyms=pseudonyms,
            judged_for_s=section.claim_ttl_seconds,
            limiter=limiter,
            behind_s=section.states_behind_seconds,
        )
        consumer = BatchConsumer(
            settings.kafka, service=SERVICE, topics=[topics.FEATURES.name], max_records=section.batch_records
        )
        ready = Readiness(consumer, stop)
        stack.enter_context(OperationsServer(settings.metrics.port, ready.reason, settings.metrics.host))
        library, guard = ModelLibrary(registry, slot), KeyGuard(idempotency)
        earlier = PolicyLibrary(registry, policies)
        use_cases = UseCases(
            decisions=checkout,
            batches=Batch(checkout, guard),
            explanations=Explanations(checkout, library, earlier),
            updates=Updates(
                checkout,
                guard,
                producer,
                exposures,
                earlier,
                partitions=partitions,
                publish_timeout_s=publish_timeout_s,
            ),
            customers=Customers(states, confirm, partitions=partitions, pseudonyms=pseudonyms),
            models=Models(registry, library, reloader),
        )
        rest_door = Door(
            access,
            admission,
            Rate(section.rate_per_second, section.rate_burst),
            read_seconds=section.read_seconds,
            max_arriving=section.max_in_flight,
            deadline_s=section.deadline_ms / 1000,
        )
        stack.push_async_callback(rest_door.finish)
        limits = BodyLimits(settings.limits.max_body_bytes, section.max_batch_bytes)
        app = tracing.app(build_app(use_cases, rest_door, ready.reason, limits))
        connections = ConnectionLimits(
            section.max_connections, section.read_seconds, section.keep_alive_seconds, admission
        )
        with contextlib.suppress(RedisError, OSError):
            await hasty.ping()  # so that the first checkout doesn't wait for the connection
        # What was loaded by now stays for good: collections that go through it again would stop both doors for 50 ms.
        gc.collect()
        gc.freeze()
        log.info("serving", address=listener.getsockname()[:2], policy=policy.name)
        async with heartbeat.beating(), asyncio.TaskGroup() as doors:
            doors.create_task(serve(app, listener, stop, connections, section.drain_seconds))
            doors.create_task(consumer.run(door.handle, stop))
            doors.create_task(keep_watch(consumer, settings.kafka, SERVICE, stop))
            doors.create_task(reloader.run(stop))
            doors.create_task(policy_reloader.run(stop))
            doors.create_task(limiter.run(policies, stop))
            if section.api_keys_file is not None:
                keys = KeysReloader(section.api_keys_file, access, interval_s=section.reload_seconds)
                doors.create_task(keys.run(stop))
            doors.create_task(restorer.run(stop))
            doors.create_task(watch_memory(patient, stop))
            doors.create_task(tell_of_claims_that_outlive_their_topic(settings.kafka, section.claim_ttl_seconds))
    log.info("stopped")


def main() -> None:
    arguments = _parse()
    if arguments.check:  # whatever else is asked for is not done
        arguments.command = None
    if arguments.command == "new-key":
        try:
            key, line = new_key(arguments.owner, arguments.scope or [Scope.DECIDE, Scope.READ], arguments.expires)
        except ValueError as error:
            raise SystemExit(str(error)) from None
        print(f"key, to be given to {arguments.owner} and kept nowhere else:\n{key}")
        print(f"line for the file of SCORER__API_KEYS_FILE:\n{line}")
        return
    settings = load_settings(ScorerSettings)
    if arguments.command == "pseudonym":
        pseudonyms = settings.privacy.pseudonyms()
        for line in sys.stdin:
            print(pseudonyms.of(arguments.kind, line.rstrip("\n")))
        return
    if arguments.command == "rewind":
        partition, offset, ttl = arguments.partition, arguments.offset, settings.scorer.claim_ttl_seconds
        try:
            before = asyncio.run(rewind(settings.kafka, partition, offset, claim_ttl_s=ttl))
        except (GaveUp, TransientError) as error:
            raise SystemExit(str(error)) from None
        print(f"vectors of partition {partition} are taken in from {offset} on, again up to {before}")
        return
    try:
        policy = load_policy(settings.scorer.policy_file, pseudonyms=settings.privacy.pseudonyms().on)
        access = Access.load(settings.scorer.api_keys_file)
        trusted = settings.model_registry.public_keys_file
        verifier = None if trusted is None else ManifestVerifier.from_file(trusted)
        registry = open_registry(settings.model_registry, verifier=verifier)
    except PolicyFileError as error:
        raise SystemExit(_bad_setting("SCORER__POLICY_FILE", error)) from None
    except KeysFileError as error:
        raise SystemExit(_bad_setting("SCORER__API_KEYS_FILE", error)) from None
    except KeyFileError as error:
        raise SystemExit(_bad_setting("MODEL_REGISTRY__PUBLIC_KEYS_FILE", error)) from None
    except (RegistryUnsupported, RegistryAway) as error:
        raise SystemExit(_bad_setting("MODEL_REGISTRY__URI", error)) from None
    if arguments.check:
        logging.configure(SERVICE, settings.log.level, settings.log.format)
        asyncio.run(_check(settings, registry))
        return
    try:
        listener = listen(settings.scorer.http_host, settings.scorer.http_port)
    except OSError as error:
        raise SystemExit(_bad_setting("SCORER__HTTP_HOST or SCORER__HTTP_PORT", error)) from None
    logging.configure(SERVICE, settings.log.level, settings.log.format)
    run(lambda stop: work(settings, policy, access, registry, listener, stop), uvloop.run, pulse=Pulse())


async def _check(settings: ScorerSettings, registry: ModelRegistry) -> None:
    states = FeatureStateStore(_redis(settings.redis.address), pseudonyms=settings.privacy.pseudonyms().mark)
    answers = await check(settings.kafka, states, registry, claim_ttl_s=settings.scorer.claim_ttl_seconds)
    await states.close()
    for name, answer in answers.items():
        print(f"{name}: {answer}")
    if any(not answer.startswith("ok") for answer in answers.values()):
        raise SystemExit(EXIT_FAILED)


def _bad_setting(name: str, error: Exception) -> int:
    print(f"bad setting {name}: {error}", file=sys.stderr)
    return EXIT_BAD_SETTING


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m services.scorer",
        description="Decides purchases, from the stream and over REST.",
        epilog="Settings come from the environment (see services/scorer/README.md).",
    )
    parser.add_argument("--check", action="store_true", help="try settings and connections, then exit")
    commands = parser.add_subparsers(dest="command", metavar="{run,new-key,pseudonym,rewind}")
    commands.add_parser("run", help="serve both doors (the default)")
    new = commands.add_parser("new-key", help="make an API key, and the line for the keys file")
    new.add_argument("owner", help="name of the caller")
    new.add_argument(
        "--scope", action="append", type=Scope, choices=list(Scope), help="may be repeated; default: decide and read"
    )
    new.add_argument("--expires", metavar="DAY", help="such as 2027-01-01, or a time; never by default")
    named = commands.add_parser("pseudonym", help="what ids on standard input, one a line, are called under pseudonyms")
    named.add_argument("kind", type=Kind, choices=[Kind.CUSTOMER, Kind.DEVICE, Kind.PAYMENT_METHOD])
    again = commands.add_parser("rewind", help="while it is stopped: take vectors in again, for a missing decision")
    again.add_argument("partition", type=int)
    again.add_argument("offset", type=int, help="of the first vector")
    return parser.parse_args()


if __name__ == "__main__":
    main()
