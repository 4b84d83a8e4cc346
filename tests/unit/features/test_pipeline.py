"""Records in, vectors and letters out: the features service without Kafka and Redis."""

from __future__ import annotations

import json
from typing import Any

from services.features.pipeline import (
    BatchResult,
    DecodedOutcome,
    LogRecord,
    Misplaced,
    customers_of,
    decode,
    process,
    rerouted_headers,
)
from shared.contracts.events import AsOf
from shared.contracts.identity import partition_of
from shared.contracts.rejections import InputWarning, Rejection
from shared.contracts.transactions import Limits
from shared.feature_definitions import CustomerState
from tests.factories import DAY_US, START_US, outcome, transaction

PARTITIONS = 4
NOW_MS = START_US // 1000 + 365 * 86_400_000
COMPUTED_AT = "2026-06-02T00:00:00.000000Z"


def record(offset: int, body: dict[str, Any] | bytes | None, **changes: Any) -> LogRecord:
    key = changes.get("key", b"cust_000001")
    fields: dict[str, Any] = {
        "topic": "bnpl-transactions",
        "partition": partition_of(key or b"", PARTITIONS),
        "offset": offset,
        "timestamp_ms": NOW_MS,
        "key": key,
        "value": body if isinstance(body, bytes) or body is None else json.dumps(body).encode(),
    }
    return LogRecord(**(fields | changes))


def run(*records: LogRecord, states: dict[str, CustomerState] | None = None, outcomes_seen: int = -1) -> BatchResult:
    decoded = [decode(one, partitions=PARTITIONS, limits=Limits()) for one in records]
    held = states if states is not None else {}
    for name in customers_of(decoded):
        held.setdefault(name, CustomerState())
    return process(records, decoded, held, outcomes_seen=outcomes_seen, computed_at=COMPUTED_AT, limits=Limits())


def reasons(result: BatchResult) -> list[str]:
    return [rejection.reason.value for rejection, _ in result.refusals]


def test_each_purchase_gets_a_vector_that_does_not_count_itself() -> None:
    result = run(record(5, transaction(0)), record(6, transaction(1)))
    first, second = (vector for vector, _ in result.vectors)
    assert first.features["purchases_30d"] == 0
    assert second.features["purchases_30d"] == 1


def test_as_of_names_the_records_that_are_in_a_vector() -> None:
    result = run(record(5, transaction(0)), record(9, transaction(1)), outcomes_seen=3)
    assert [vector.as_of for vector, _ in result.vectors] == [
        AsOf(transactions=4, outcomes=3),
        AsOf(transactions=8, outcomes=3),
    ]


def test_a_repeat_gets_no_second_vector_and_changes_nothing() -> None:
    states = {"cust_000001": CustomerState()}
    run(record(0, transaction(0)), states=states)
    before = states["cust_000001"].encode()
    result = run(record(1, transaction(0)), states=states)
    assert result.vectors == []
    assert result.results["duplicate"] == 1
    assert states["cust_000001"].encode() == before


def test_another_body_under_a_known_event_id_is_refused_and_noted_for_the_sink() -> None:
    result = run(record(0, transaction(0)), record(1, transaction(0, amount=99.0)))
    assert reasons(result) == ["conflict"]
    assert result.refused_by_state == [1]
    assert len(result.vectors) == 1


def test_a_poison_record_leaves_its_neighbours_alone() -> None:
    result = run(record(0, transaction(0)), record(1, b"{broken"), record(2, transaction(2)))
    assert [vector.event_id for vector, _ in result.vectors] == ["event-0", "event-2"]
    assert reasons(result) == ["syntax"]
    assert result.refused_by_state == []


def test_a_tombstone_is_refused() -> None:
    assert reasons(run(record(0, None))) == ["tombstone"]


def test_a_key_that_is_not_the_customer_is_refused() -> None:
    result = run(record(0, transaction(0), key=b"someone-else"), record(1, transaction(1), key=None))
    assert reasons(result) == ["key", "key"]


def test_a_record_in_a_wrong_partition_is_sent_on_and_not_counted() -> None:
    home = partition_of(b"cust_000001", PARTITIONS)
    lost = record(7, transaction(0), partition=(home + 1) % PARTITIONS, headers=[("ce_id", b"event-0")])
    result = run(lost)
    assert result.vectors == []
    assert result.reroutes == [(Misplaced(home), lost)]
    assert result.warnings[InputWarning.PARTITION] == 1
    assert dict(rerouted_headers(lost))["rerouted"] == f"bnpl-transactions-{lost.partition}-7".encode()


def test_the_future_is_judged_by_the_record_s_own_time() -> None:
    ahead = transaction(0, t_us=NOW_MS * 1000 + 3600 * 1_000_000)
    assert reasons(run(record(0, ahead))) == ["future"]
    assert reasons(run(record(0, ahead, timestamp_ms=NOW_MS + 3_600_000))) == []


def test_an_outcome_counts_from_the_day_after_it_could_be_known() -> None:
    states = {"cust_000001": CustomerState()}
    known = outcome(0, defaulted=True, observed_us=START_US + 14 * DAY_US)
    run(record(0, transaction(0)), states=states)
    run(record(0, known, topic="bnpl-outcomes"), states=states)
    same_day = run(record(1, transaction(1, t_us=START_US + 14 * DAY_US)), states=states)
    day_after = run(record(2, transaction(2, t_us=START_US + 15 * DAY_US)), states=states)
    assert same_day.vectors[0][0].features["defaults_known"] == 0
    assert day_after.vectors[0][0].features["defaults_known"] == 1


def test_a_bad_outcome_is_refused_without_a_note_for_the_sink() -> None:
    result = run(record(0, {"event_id": "e"}, topic="bnpl-outcomes"))
    assert reasons(result) == ["missing"]
    assert result.refused_by_state == []


def test_a_late_event_is_warned_about_and_still_answered_as_of_its_own_moment() -> None:
    now = START_US + 60 * DAY_US
    limits_days = Limits().max_lateness_seconds // 86_400
    result = run(record(0, transaction(0, t_us=now)), record(1, transaction(1, t_us=now - (limits_days + 1) * DAY_US)))
    assert result.warnings[InputWarning.LATE] == 1
    assert result.vectors[1][0].features["purchases_30d"] == 0


def test_decoding_tells_whose_states_are_needed() -> None:
    decoded = [
        decode(record(0, transaction(0)), partitions=PARTITIONS, limits=Limits()),
        decode(record(1, b"?"), partitions=PARTITIONS, limits=Limits()),
        decode(
            record(2, outcome(0, observed_us=START_US), topic="bnpl-outcomes"), partitions=PARTITIONS, limits=Limits()
        ),
    ]
    assert isinstance(decoded[1], Rejection)
    assert isinstance(decoded[2], DecodedOutcome)
    assert customers_of(decoded) == ["cust_000001"]
