"""Consumer groups: who is in one, and where it goes on.

`python -m shared.kafka.groups rewind SERVICE TOPIC PARTITION OFFSET` has a service that is stopped take records in
again. What they have done already has no second effect, so it may begin too early.
"""

from __future__ import annotations

import argparse
import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from shared.contracts.topics import BY_NAME
from shared.kafka.connection import SESSION_TIMEOUT_MS, client_arguments
from shared.kafka.errors import GaveUp, TransientError
from shared.kafka.grants import OUR_PREFIX, topics_of
from shared.settings import KafkaSettings, ServiceSettings, load_settings

REWOUND = ("scorer",)
"""Features and sink don't go by what their groups have committed, but by what Redis and BigQuery hold."""


class NotRewound(GaveUp):
    """Why the offset stays what it was."""


async def members(kafka: KafkaSettings, group: str) -> int:
    """How many processes are in the group now. Raises KafkaError."""
    admin = AIOKafkaAdminClient(**client_arguments(kafka))
    try:
        await admin.start()
        (answer,) = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    return sum(len(described[5]) for described in answer.groups)


async def rewind(kafka: KafkaSettings, group: str, place: TopicPartition, offset: int) -> int:
    """Commit `offset` as the group's next; the one before is given.

    Raises NotRewound for a group that has members, for what the log doesn't hold any more, and for an offset that would
    pass records over; TransientError without brokers.
    """
    consumer = AIOKafkaConsumer(**client_arguments(kafka), group_id=group, enable_auto_commit=False)
    try:
        if running := await members(kafka, group):
            raise NotRewound(
                f"{running} process(es) of {group} run: stop them first; one that has ended is forgotten after "
                f"{SESSION_TIMEOUT_MS // 1000} seconds"
            )
        await consumer.start()
        consumer.assign([place])
        first = (await consumer.beginning_offsets([place]))[place]
        committed = await consumer.committed(place)
        before: int = first if committed is None else committed
        if not first <= offset <= before:
            raise NotRewound(f"offset {offset}: expected {first}, where the log begins, to {before}, which is the next")
        await consumer.commit({place: OffsetAndMetadata(offset, "")})
    except KafkaError as error:
        raise TransientError(f"brokers at {kafka.bootstrap_servers}: {error!r}") from error
    finally:
        await consumer.stop()
    return before


class GroupSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.kafka.groups", description="Consumer groups of Flit Risk")
    commands = parser.add_subparsers(dest="command", required=True)
    rewinding = commands.add_parser("rewind", help="have a service that is stopped take records in again")
    rewinding.add_argument("service", choices=REWOUND)
    rewinding.add_argument("topic", choices=sorted(BY_NAME))
    rewinding.add_argument("partition", type=int)
    rewinding.add_argument("offset", type=int, help="of the first record that is to be taken in again")
    given = parser.parse_args()
    kafka = load_settings(GroupSettings).kafka
    if BY_NAME[given.topic] not in topics_of(given.service):
        parser.error(f"{given.service} doesn't read {given.topic}")
    if not 0 <= given.partition < kafka.partitions:
        parser.error(f"partition {given.partition}: expected 0 to {kafka.partitions - 1}")
    place = TopicPartition(given.topic, given.partition)
    try:
        before = asyncio.run(rewind(kafka, f"{OUR_PREFIX}{given.service}", place, given.offset))
    except (GaveUp, TransientError) as error:
        raise SystemExit(str(error)) from None
    print(f"{given.service} takes in {given.topic}/{given.partition} from {given.offset} on, again up to {before}")  # noqa: T201


if __name__ == "__main__":
    main()
