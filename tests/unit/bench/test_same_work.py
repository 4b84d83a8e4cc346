"""A comparison is only worth something where both sides do the same."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pandas as pd
import pytest

from services.features.pipeline import LogRecord, decode, process
from shared.contracts.topics import DEFAULT_PARTITIONS
from shared.contracts.transactions import Limits
from shared.feature_definitions import CustomerState
from tests.bench import history, purchases
from tests.bench.pandas_features import features_of_everybody
from tests.bench.peers.vectors import vector_of


def records(count: int, customers: int) -> list[LogRecord]:
    return [
        LogRecord(sent.topic, sent.partition or 0, offset, purchases.START_US // 1000 + 10**10, sent.key, sent.value)
        for offset, sent in enumerate(purchases.purchases(range(count), customers))
    ]


def test_a_peer_makes_the_vectors_that_our_service_makes_but_for_when() -> None:
    ours: dict[bytes | None, CustomerState] = {}
    theirs: dict[bytes | None, CustomerState] = {}
    for record in records(60, customers=3):
        customer = (record.key or b"").decode()
        state = ours.setdefault(record.key, CustomerState())
        decoded = [decode(record, partitions=DEFAULT_PARTITIONS, limits=Limits())]
        made = process([record], decoded, {customer: state}, outcomes_seen=-1, computed_at="now", limits=Limits())
        vector = vector_of(record, theirs.setdefault(record.key, CustomerState()))
        assert vector is not None
        assert [one for one, _ in made.vectors] == [msgspec.structs.replace(vector, computed_at="now")]
    assert {key: state.encode() for key, state in ours.items()} == {key: s.encode() for key, s in theirs.items()}


def test_a_peer_makes_no_second_vector_of_a_purchase() -> None:
    (record,) = records(1, customers=1)
    state = CustomerState()
    assert vector_of(record, state) is not None
    assert vector_of(replace(record, offset=1), state) is None


def test_the_same_purchases_are_sent_whenever_they_are_asked_for() -> None:
    assert list(purchases.purchases(range(5, 9), 100)) == list(purchases.purchases(range(9), 100))[5:]


def test_pandas_has_the_features_that_the_history_runner_has() -> None:
    history.check_same(history.purchases(customers=2, each=12))


def test_another_feature_anywhere_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(frame: pd.DataFrame) -> pd.DataFrame:
        made = features_of_everybody(frame)
        made.loc[made.index[-1], "amount_std_30d"] = 0.01
        return made

    monkeypatch.setattr(history, "features_of_everybody", wrong)
    with pytest.raises(AssertionError, match="amount_std_30d"):
        history.check_same(history.purchases(customers=1, each=12))
