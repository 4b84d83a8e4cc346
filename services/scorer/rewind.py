"""`rewind`: a scorer that is stopped takes vectors in again, when it is started. For a decision that is missing.

What is decided finds its claim, and stays as it is. So nothing may be taken in that is older than claims live: it would
be decided a second time.
"""

from __future__ import annotations

import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from services.scorer.metrics import SERVICE
from shared.contracts.topics import FEATURES
from shared.kafka.connection import client_arguments
from shared.kafka.errors import GaveUp, TransientError
from shared.kafka.grants import OUR_PREFIX
from shared.kafka.groups import running
from shared.settings import KafkaSettings

GROUP = f"{OUR_PREFIX}{SERVICE}"
MARGIN_S = 3600
"""Claims that expire within so long are as good as gone: the scorer has to get there first."""


class NotRewound(GaveUp):
    """Why the offset stays what it was."""


async def rewind(kafka: KafkaSettings, partition: int, offset: int, *, claim_ttl_s: int) -> int:
    """Commit `offset` of the vectors as the group's next; the one before is given.

    Raises NotRewound while a scorer runs, and for an offset that claims or the log don't reach back to, or that would
    pass vectors over; TransientError without brokers.
    """
    if not 0 <= partition < kafka.partitions:
        raise NotRewound(f"partition {partition}: expected 0 to {kafka.partitions - 1}")
    place = TopicPartition(FEATURES.name, partition)
    consumer = AIOKafkaConsumer(**client_arguments(kafka), group_id=GROUP, enable_auto_commit=False)
    try:
        if count := await running(kafka, GROUP):
            raise NotRewound(f"{count} scorer(s) run: stop them first")
        await consumer.start()
        consumer.assign([place])
        committed = await consumer.committed(place)
        end = (await consumer.end_offsets([place]))[place]
        before: int = end if committed is None else committed
        since_ms = int((time.time() - claim_ttl_s + MARGIN_S) * 1000)
        claimed = (await consumer.offsets_for_times({place: since_ms}))[place]
        first = max(
            (await consumer.beginning_offsets([place]))[place],
            end if claimed is None else claimed.offset,
        )
        if not first <= offset <= before:
            raise NotRewound(
                f"offset {offset}: expected {min(first, before)}, as far back as claims and the log reach, to "
                f"{before}, which is the next"
            )
        await consumer.commit({place: OffsetAndMetadata(offset, "")})
    except KafkaError as error:
        raise TransientError(f"brokers at {kafka.bootstrap_servers}: {error!r}") from error
    finally:
        await consumer.stop()
    return before
