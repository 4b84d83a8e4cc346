"""How far an audit judges."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition

from services.ledger.audit import _began, _settled_ends
from shared.contracts.topics import DECISIONS, FEATURES, OUTCOMES, TRANSACTIONS

BOUGHT, REPAID = TopicPartition(TRANSACTIONS.name, 0), TopicPartition(OUTCOMES.name, 0)


class Slow:
    """A log whose features service takes in the rest of its inputs right after it was waited for."""

    def __init__(self) -> None:
        self.taken_in = 40

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        return {TopicPartition(topic, 0): 100 if topic == TRANSACTIONS.name else self.taken_in}

    async def caught_up(self, group: str, ends: Mapping[TopicPartition, int], deadline: float) -> dict[Any, int]:
        if group != "flit-features":
            return {}
        lacking = {place: end - 40 for place, end in ends.items() if end > 40}
        self.taken_in = 100
        return lacking


async def test_what_is_taken_in_late_is_late_and_not_judged() -> None:
    ends, lag = await _settled_ends(Slow(), 0.0)  # type: ignore[arg-type]
    assert lag == {"flit-features": 60}
    assert (ends[TRANSACTIONS.name], ends[OUTCOMES.name]) == ({BOUGHT: 40}, {REPAID: 40})
    assert ends[FEATURES.name].keys() | ends[DECISIONS.name].keys() == {
        TopicPartition(FEATURES.name, 0), TopicPartition(DECISIONS.name, 0),
    }  # fmt: skip


async def test_an_audit_knows_what_lay_there_when_it_began() -> None:
    before_ms = time.time() * 1000 - 1
    began = await _began(Slow())  # type: ignore[arg-type]
    assert began.outcomes == {0: 40}
    assert before_ms <= began.at_ms <= time.time() * 1000
