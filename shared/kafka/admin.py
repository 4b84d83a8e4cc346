"""Create the topics: `python -m shared.kafka.admin create-topics`."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from shared.contracts import topics
from shared.kafka.connection import client_arguments
from shared.kafka.errors import GaveUp, TopicMismatch, TransientError
from shared.kafka.grants import topics_of
from shared.settings import KafkaSettings, ServiceSettings, load_settings
from shared.telemetry import logging

log = structlog.get_logger()

Description = Mapping[str, Any]
"""Of a topic, as the client gives it: `topic`, and `partitions` with their `leader`, -1 where there is none."""

LONGEST_SEGMENT_MS = 7 * topics.DAY_MS
SEGMENTS = 30
"""Of a topic's retention, at least."""
_SET_FOR_THE_TOPIC = 1
"""The source of a configuration's entry, as the protocol numbers them."""

LED_WITHIN_S, LED_POLL_S = 30.0, 0.05
"""For new topics to get leaders: some tens of milliseconds, unless brokers are being elected."""


async def ensure_topics(settings: KafkaSettings, *, alter: bool = False) -> list[str]:
    """Create the declared topics that are missing; give their names. Returns once a broker that is asked knows of a
    leader for each partition of all of them.

    One that was made before a release that declares something else of it, or that somebody has configured, is told of
    in the log; with `alter` it gets what is declared.

    Raises TopicMismatch where one has another partition count, TransientError where the brokers don't answer.
    """
    admin = AIOKafkaAdminClient(**client_arguments(settings))
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        missing = [topic for topic in topics.ALL if topic.name not in existing]
        if missing:
            answer = await admin.create_topics([_new_topic(topic, settings) for topic in missing])
            for name, code, *_ in answer.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    raise TransientError(f"creating {name}: {error.__name__}")
        # Of those that exist as well: somebody else may have created them a moment ago.
        described = await _until_led(admin, [topic.name for topic in topics.ALL])
        _check_counts(settings, [each for each in described if each["topic"] in existing])
        there = [topic for topic in topics.ALL if topic.name in existing]
        configured = await _configs(admin, [topic.name for topic in there]) if there else {}
        for topic in there:
            await _configure(admin, _new_topic(topic, settings), configured.get(topic.name, ()), alter=alter)
    except KafkaError as error:
        raise TransientError(f"brokers at {settings.bootstrap_servers}: {error!r}") from error
    finally:
        await admin.close()
    return [topic.name for topic in missing]


async def _configure(admin: AIOKafkaAdminClient, declared: NewTopic, entries: Sequence[Any], *, alter: bool) -> None:
    """Tell where a topic is configured otherwise, and alter it if that is wanted."""
    values = {entry[0]: entry[1] for entry in entries}
    other = {name: value for name, value in declared.topic_configs.items() if name in values and values[name] != value}
    if not other:
        return
    said = log.info if alter else log.warning
    said(
        "topic_altered" if alter else "topic_configured_otherwise",
        topic=declared.name,
        found=", ".join(f"{name}={values[name]}" for name in other),
        expected=", ".join(f"{name}={value}" for name, value in other.items()),
    )
    if alter:
        # What isn't named goes back to its default: whatever else was set for this topic is set again.
        kept = {entry[0]: entry[1] for entry in entries if entry[3] == _SET_FOR_THE_TOPIC}
        wanted = ConfigResource(ConfigResourceType.TOPIC, declared.name, {**kept, **declared.topic_configs})
        for answer in await admin.alter_configs([wanted]):
            for code, message, *_ in answer.resources:
                if code:
                    raise TransientError(f"altering {declared.name}: {message or for_code(code).__name__}")


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Topic → entries of its configuration: name, value, read-only, source. None where the brokers don't say, to us at
    least."""
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {resource[3]: resource[4] for answer in answers for resource in answer.resources}


async def _until_led(admin: AIOKafkaAdminClient, names: list[str]) -> Sequence[Description]:
    """The topics' descriptions. The controller answers before brokers know: who looked then would find no topic, or one
    without leaders. Raises TransientError."""
    deadline = time.monotonic() + LED_WITHIN_S
    while True:
        described: Sequence[Description] = await admin.describe_topics(names)
        if all(each["partitions"] and all(part["leader"] >= 0 for part in each["partitions"]) for each in described):
            return described
        if time.monotonic() > deadline:
            raise TransientError(f"{', '.join(names)}: without leaders after {LED_WITHIN_S:.0f} s")
        await asyncio.sleep(LED_POLL_S)


async def check_topics(settings: KafkaSettings, service: str) -> None:
    """Raise TopicMismatch where a topic that the service has to do with is missing, or hidden from it, or has another
    partition count; TransientError without brokers."""
    names = [topic.name for topic in topics_of(service)]
    admin = AIOKafkaAdminClient(**client_arguments(settings))
    try:
        await admin.start()
        missing = set(names) - set(await admin.list_topics())
        if missing:
            raise TopicMismatch(
                f"missing topics: {', '.join(sorted(missing))}; create them with `create-topics`, or, where brokers "
                "have rules, let this service see them with `python -m shared.kafka.acls apply`"
            )
        _check_counts(settings, await admin.describe_topics(names) if names else ())
    except KafkaError as error:
        raise TransientError(f"brokers at {settings.bootstrap_servers}: {error!r}") from error
    finally:
        await admin.close()


async def retention_ms(settings: KafkaSettings, *names: str) -> dict[str, int]:
    """How long the brokers keep the records of topics; -1: for ever. Without those of which they don't say, to us at
    least.

    Raises TransientError without brokers.
    """
    admin = AIOKafkaAdminClient(**client_arguments(settings))
    try:
        await admin.start()
        configured = await _configs(admin, names)
    except KafkaError as error:
        raise TransientError(f"brokers at {settings.bootstrap_servers}: {error!r}") from error
    finally:
        await admin.close()
    told = {topic: {entry[0]: entry[1] for entry in entries} for topic, entries in configured.items()}
    return {topic: int(values["retention.ms"]) for topic, values in told.items() if values.get("retention.ms")}


def _check_counts(settings: KafkaSettings, described: Sequence[Description]) -> None:
    for description in described:
        count = len(description["partitions"])
        if count != settings.partitions:
            raise TopicMismatch(
                f"{description['topic']} has {count} partitions, KAFKA__PARTITIONS is {settings.partitions}"
            )


def _new_topic(topic: topics.Topic, settings: KafkaSettings) -> NewTopic:
    return NewTopic(
        topic.name,
        settings.partitions,
        settings.replication_factor,
        topic_configs={
            "retention.ms": str(topic.retention_ms),
            # Records go by whole segments: with Kafka's own week those of a quiet topic would outlive their time by as
            # much, and vectors their claims.
            "segment.ms": str(min(LONGEST_SEGMENT_MS, topic.retention_ms // SEGMENTS)),
            "cleanup.policy": "delete",
            # A producer whose clock is years behind: by its own time nothing that it sends would be old.
            "message.timestamp.before.max.ms": str(topics.OLDEST_RECORD_MS),
            # An acknowledged record has to outlive one broker, where there is more than one.
            "min.insync.replicas": str(max(1, settings.replication_factor - 1)),
        },
    )


class AdminSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.kafka.admin", description="The topics of Flit Risk")
    parser.add_argument("command", choices=["create-topics"])
    parser.add_argument(
        "--alter",
        action="store_true",
        help="also configure topics that exist as declared (else it only says so)",
    )
    arguments = parser.parse_args()
    settings = load_settings(AdminSettings)
    logging.configure("admin", settings.log.level, settings.log.format)
    try:
        created = asyncio.run(ensure_topics(settings.kafka, alter=arguments.alter))
    except GaveUp as error:
        raise SystemExit(str(error)) from None
    log.info("topics_ready", created=created)


if __name__ == "__main__":
    main()
