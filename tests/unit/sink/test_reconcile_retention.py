"""Retention moves on while log and warehouse are compared: nothing that was written rightly may seem made up."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from services.sink import reconcile, verdicts
from services.sink.pipeline import Rules
from services.sink.reconcile import Told, _partition, _undisturbed
from services.sink.verdicts import Verdicts
from shared.contracts.topics import DECISIONS
from shared.contracts.transactions import Limits
from shared.warehouse.tables import tables_of
from tests.unit.sink.log import OnePartition

AT = TopicPartition(DECISIONS.name, 0)
END = 30


class Consumer(OnePartition):
    """A log of which retention takes more each time that somebody begins to read it; twice, then it rests."""

    def __init__(self, first: int, *later: int, raises: bool) -> None:
        super().__init__(END)
        self.first, self.later, self.raises = first, list(later), raises

    def seek(self, at: TopicPartition, offset: int) -> None:
        super().seek(at, offset)
        if self.later:
            self.first = self.later.pop(0)

    async def getmany(self, at: TopicPartition, **_: Any) -> Mapping[TopicPartition, list[Any]]:
        if self.at < self.first:
            if self.raises:
                raise OffsetOutOfRangeError({at: self.at})
            self.at = self.first
        records = [ConsumerRecord(at.topic, 0, n, 0, 0, b"k", b"%d" % n, None, 0, 0, ()) for n in range(self.at, END)]
        self.at = END
        return {at: records}


@pytest.mark.parametrize("raises", [True, False])
async def test_what_is_gone_before_it_was_read_is_not_called_unexpected(
    monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    tables = tables_of(AT.topic)

    def build(topic: str, records: list[Any], rules: Rules, refused: frozenset[int]) -> Any:
        rows = [{"kafka_offset": each.offset, "event_id": str(each.offset), "kafka_timestamp": 0} for each in records]
        return SimpleNamespace(refused={}, rows=dict.fromkeys(tables, rows))

    def held(client: Any, table: Any, at: TopicPartition, low: int, high: int) -> list[tuple[int, Told]]:
        return [(offset, (str(offset), 0)) for offset in range(low, high)]

    monkeypatch.setattr(verdicts, "build", build)
    monkeypatch.setattr(reconcile, "rows_between", held)
    consumer: Any = Consumer(0, 10, 12, raises=raises)
    unused = cast(Any, None)
    read = partial(_partition, consumer, AT, unused, Verdicts(Rules(4, Limits()), unused), None)
    balances = await _undisturbed(consumer, AT, read)
    assert all(balance.balanced for balance in balances), balances
    assert {(balance.first, balance.records) for balance in balances} == {(12, END - 12)}
