"""After a poll that failed: what it took is read again, and what somebody has sought meanwhile counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.kafka.rereading import RereadingConsumer

ONE, TWO = TopicPartition("t", 1), TopicPartition("t", 2)


def state(position: int) -> SimpleNamespace:
    return SimpleNamespace(position=position, has_valid_position=True)


async def test_only_what_the_poll_itself_has_moved_is_moved_back(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, states = RereadingConsumer(), {ONE: state(5), TWO: state(5)}

    def seek(_: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
        states[partition].position = offset

    monkeypatch.setattr(AIOKafkaConsumer, "seek", seek)
    monkeypatch.setattr(consumer, "_states", lambda: dict(states))
    reached = consumer.reached()
    states[ONE].position = states[TWO].position = 9  # polled
    consumer.back_to(reached)
    assert (states[ONE].position, states[TWO].position) == (5, 5)

    reached = consumer.reached()
    states[ONE].position = states[TWO].position = 9
    consumer.seek(ONE, 2)  # while the poll was waiting: from 2 on it is to be read again
    consumer.back_to(reached)
    assert (states[ONE].position, states[TWO].position) == (2, 5)

    reached = consumer.reached()
    states[ONE] = state(3)  # taken away, and given anew with what is committed
    del states[TWO]
    consumer.back_to(reached)
    assert states[ONE].position == 3 and TWO not in states
    await consumer.stop()
