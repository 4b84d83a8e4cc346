from __future__ import annotations

from services.features.pipeline import LogRecord, decode
from services.scorer.vectors import read_vector
from services.sink.pipeline import Rules, rows_of
from shared.contracts import topics
from shared.contracts.headers import RECORDED_TIME_HEADER, header, schema_version_of
from shared.contracts.identity import partition_of
from shared.contracts.transactions import AcceptedTransaction, Limits
from tests.bench.events import CUSTOMERS, EVENT_ID, purchases, vectors
from tests.unit.sink.records import PARTITIONS, record

NUMBERS = range(CUSTOMERS - 2, CUSTOMERS + 2)
"""Over the end of the customers: the first ones have a second event."""


def test_the_scorer_takes_each_vector_for_an_event_of_its_own() -> None:
    sent = list(vectors(NUMBERS))
    read = [read_vector(each.value, each.key, schema_version_of(each.headers)).vector for each in sent]
    assert [vector.event_id for vector in read] == [f"{number:032x}" for number in NUMBERS]
    assert [header(each.headers, EVENT_ID) for each in sent] == [vector.event_id for vector in read]
    assert all(header(each.headers, RECORDED_TIME_HEADER) for each in sent)
    assert all(vector.features["purchases_30d"] for vector in read), "vectors of customers without a past"


def test_customers_of_another_round_are_others_and_buy_the_same() -> None:
    one, other = list(vectors(NUMBERS)), list(vectors(NUMBERS, first=CUSTOMERS))
    bought = [
        [read_vector(each.value, each.key, schema_version_of(each.headers)).vector for each in of]
        for of in (one, other)
    ]
    assert all(each.partition == partition_of(each.key or b"", PARTITIONS) for each in (*one, *other))
    assert not {vector.customer_id for vector in bought[0]} & {vector.customer_id for vector in bought[1]}
    assert [vector.features for vector in bought[0]] == [vector.features for vector in bought[1]]
    assert not {each.key for each in purchases(NUMBERS)} & {each.key for each in purchases(NUMBERS, first=CUSTOMERS)}


def test_the_sink_makes_a_row_of_each_vector() -> None:
    for number, each in enumerate(vectors(NUMBERS)):
        assert each.key is not None
        read = record(topics.FEATURES, each.value, offset=number, key=each.key.decode(), headers=each.headers)
        ((table, row),) = rows_of(read, Rules(PARTITIONS, Limits()))
        assert (table.id, row["kafka_offset"]) == ("flit_ml_raw.features", number)


def test_the_features_service_takes_each_purchase() -> None:
    for number, each in enumerate(purchases(NUMBERS)):
        assert each.key is not None
        home = partition_of(each.key, PARTITIONS)
        read = LogRecord(each.topic, home, number, 1_800_000_000_000, each.key, each.value, each.headers)
        assert isinstance(decode(read, partitions=PARTITIONS, limits=Limits()), AcceptedTransaction)
