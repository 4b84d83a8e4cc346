from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.local.kafka import Kafka, Node
from deploy.local.ports import free_ports
from services.ingestor.pipeline import Refused, letter_of, read_line
from services.ingestor.replay import MEMORY_KEY, Choice, Replay
from services.ingestor.simtom import Run
from shared.contracts.dead_letters import dead_letter
from shared.contracts.events import encode
from shared.contracts.headers import header
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.transactions import Limits
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests.integration.ingestor.conftest import Rig
from tests.unit.ingestor import recorded

pytestmark = pytest.mark.integration

EVERYTHING = Choice()
CACHE_DIR = Path(__file__).parents[3] / ".cache"


@pytest.fixture(scope="module")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of this module's own: a replay takes every letter there is, and these records are no transactions."""
    port, controller_port = free_ports(2)
    kafka = Kafka(tmp_path_factory.mktemp("replay"), [Node(1, port, controller_port)], CACHE_DIR)
    kafka.start()
    yield kafka.bootstrap_servers
    kafka.stop()


async def send(rig: Rig, *records: OutgoingRecord) -> None:
    producer = ReliableProducer(rig.kafka)
    await producer.start()
    await producer.send_all(records)
    await producer.stop()


def refused_record(unique: str, offset: int, **changes: Any) -> OutgoingRecord:
    """The letter that the features service would write of a record with this test's key."""
    values: dict[str, Any] = {"partition": 3, "value": f'{{"refused": "{unique}"}}'.encode(), "headers": []} | changes
    letter = dead_letter(
        Rejection(RejectionReason.RANGE, "amount", "zero or more"), service="features",
        topic="bnpl-transactions", offset=offset, received_at="2026-11-23T08:00:00.000000Z", key=unique.encode(),
        **values,
    )  # fmt: skip
    return OutgoingRecord("dead-letters", None, encode(letter))


async def replay(rig: Rig, choice: Choice = EVERYTHING) -> Counter[str]:
    """What became of the letters."""
    producer = ReliableProducer(rig.kafka)
    await producer.start()
    try:
        one = Replay(producer, rig.redis, kafka=rig.kafka, scope="profile", limits=Limits())
        return (await one.run(choice)).counts
    finally:
        await producer.stop()


async def sent_again(rig: Rig, unique: str) -> list[str]:
    return sorted(
        header(record.headers, "replayed_from") or ""
        for record in await rig.records("bnpl-transactions")
        if record.key == unique.encode()
    )


async def test_letters_are_sent_again_once_however_often_they_are_replayed(rig: Rig, unique: str) -> None:
    offset = rig.seed
    twice = refused_record(unique, offset)
    await send(rig, twice, twice, refused_record(unique, offset + 1))
    assert (await replay(rig, Choice(reason="range", dry_run=True)))["would be sent"] == 2
    assert await sent_again(rig, unique) == []
    assert await replay(rig, Choice(reason="enum")) == Counter()
    assert await sent_again(rig, unique) == []
    assert await replay(rig, Choice(reason="range")) == {"sent": 2, "replayed before": 1}
    expected = [f"bnpl-transactions-3-{offset}", f"bnpl-transactions-3-{offset + 1}"]
    assert await sent_again(rig, unique) == expected
    assert await replay(rig, Choice(reason="range")) == {"replayed before": 3}
    assert await sent_again(rig, unique) == expected
    assert await rig.redis.zscore(MEMORY_KEY, expected[0]) is not None


async def test_the_limit_leaves_the_others_for_the_next_time(rig: Rig, unique: str) -> None:
    await replay(rig)  # what other tests left
    await send(rig, *(refused_record(unique, rig.seed + number) for number in range(5)))
    assert (await replay(rig, Choice(limit=2)))["sent"] == 2
    assert len(await sent_again(rig, unique)) == 2
    await replay(rig)
    assert len(await sent_again(rig, unique)) == 5


async def test_a_day_leaves_what_was_refused_before_it(rig: Rig, unique: str) -> None:
    await replay(rig)
    await send(rig, refused_record(unique, rig.seed))
    assert await replay(rig, Choice(since="2026-11-23T08:00:00.000001Z")) == Counter()
    assert (await replay(rig, Choice(since="2026-11-23T08:00:00.000000Z")))["sent"] == 1


async def test_what_was_refused_again_is_only_sent_on_demand(rig: Rig, unique: str) -> None:
    again = refused_record(unique, rig.seed, headers=[("replayed_from", b"bnpl-transactions-3-1")])
    await send(rig, again)
    await replay(rig)
    assert await sent_again(rig, unique) == []
    await replay(rig, Choice(repeated=True))
    assert await sent_again(rig, unique) == [f"bnpl-transactions-3-{rig.seed}"]


async def test_a_refused_line_of_the_source_is_mapped_anew(rig: Rig, unique: str) -> None:
    run = Run("bnpl", f"2026-06-01.{rig.seed}")
    line = recorded.lines("history-4-days")[5]
    refused = read_line(line, recorded.reading(run, limits=Limits(max_amount=1)))
    assert isinstance(refused, Refused)
    letter = letter_of(refused, recorded.reading(run))
    await send(rig, OutgoingRecord(letter.topic, letter.key, letter.value, letter.headers))
    await replay(rig)
    await replay(rig)
    [transaction] = await rig.transactions(run.source)
    assert transaction["transaction_id"] == orjson.loads(line.raw[6:])["transaction_id"]


async def test_the_command_says_what_became_of_the_letters(rig: Rig, unique: str) -> None:
    await replay(rig)
    await send(rig, refused_record(unique, rig.seed))
    async with rig.ingestor("http://127.0.0.1:9", "replay-dead-letters", "--limit", "1") as process:
        said, _ = await process.communicate()
        assert process.returncode == 0
    assert "1 sent" in said.decode()
    assert await sent_again(rig, unique) == [f"bnpl-transactions-3-{rig.seed}"]
