"""Lists of records in, lists of vectors, letters and re-sent records out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.features.pipeline import (
    BatchResult,
    LogRecord,
    customers_of,
    decode,
    process,
    rerouted_headers,
)
from shared.contracts.events import AsOf
from shared.contracts.headers import header
from shared.contracts.identity import partition_of
from shared.contracts.log import LARGEST_REROUTED_BYTES
from shared.contracts.rejections import InputWarning
from shared.contracts.topics import OUTCOMES
from shared.contracts.transactions import Limits
from shared.feature_definitions import CustomerState, features_of
from tests import factories
from tests.unit.features.records import CUSTOMER, HOME, PARTITIONS, outcome, purchase, raw

COMPUTED_AT = "2026-06-02T00:00:00.000000Z"


def run(
    records: Sequence[LogRecord],
    states: dict[str, CustomerState] | None = None,
    *,
    limits: Limits | None = None,
    outcomes_seen: int = -1,
) -> BatchResult:
    """One batch; `states` are changed in place."""
    limits = limits or Limits()
    states = {} if states is None else states
    decoded = [decode(record, partitions=PARTITIONS, limits=limits) for record in records]
    for name in customers_of(decoded):
        states.setdefault(name, CustomerState())
    return process(records, decoded, states, outcomes_seen=outcomes_seen, computed_at=COMPUTED_AT, limits=limits)


def reasons(result: BatchResult) -> list[str]:
    return [rejection.reason.value for rejection, _ in result.refusals]


def test_each_purchase_gets_a_vector_of_those_before_it_in_the_log() -> None:
    result = run([purchase(n) for n in range(3)])
    assert [vector.features["purchases_30d"] for vector, _ in result.vectors] == [0, 1, 2]
    assert [vector.event_id for vector, _ in result.vectors] == ["event-0", "event-1", "event-2"]
    assert result.results == {"ok": 3}


def test_a_vector_names_the_offsets_that_it_was_made_as_of() -> None:
    result = run([purchase(0, offset=41), purchase(1, offset=42)], outcomes_seen=7)
    assert [vector.as_of for vector, _ in result.vectors] == [
        AsOf(transactions=40, outcomes=7),
        AsOf(transactions=41, outcomes=7),
    ]
    assert {vector.computed_at for vector, _ in result.vectors} == {COMPUTED_AT}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_where_a_batch_is_cut_changes_neither_vectors_nor_states(size: int) -> None:
    records = [purchase(n, customer_id=CUSTOMER) for n in range(12)] + [purchase(3, offset=12)]
    whole_states: dict[str, CustomerState] = {}
    whole = run(records, whole_states)
    cut_states: dict[str, CustomerState] = {}
    cut = [
        vector
        for start in range(0, len(records), size)
        for vector, _ in run(records[start : start + size], cut_states).vectors
    ]
    assert cut == [vector for vector, _ in whole.vectors]
    assert cut_states[CUSTOMER].encode() == whole_states[CUSTOMER].encode()


def test_states_survive_being_stored_between_batches() -> None:
    states: dict[str, CustomerState] = {}
    run([purchase(n) for n in range(60)], states)
    reread = {name: CustomerState.decode(state.encode()) for name, state in states.items()}
    again, straight = run([purchase(60)], reread), run([purchase(60)], states)
    assert [vector for vector, _ in again.vectors] == [vector for vector, _ in straight.vectors]


def test_a_repeat_gets_no_second_vector_and_is_not_counted_twice() -> None:
    states: dict[str, CustomerState] = {}
    result = run([purchase(0), purchase(0, offset=1), purchase(1, offset=2)], states)
    assert [vector.event_id for vector, _ in result.vectors] == ["event-0", "event-1"]
    assert result.vectors[1][0].features["purchases_30d"] == 1
    assert result.results == {"ok": 2, "duplicate": 1}
    assert not result.refusals


def test_a_repeat_in_a_later_batch_is_known_too() -> None:
    states: dict[str, CustomerState] = {}
    run([purchase(0)], states)
    before = states[CUSTOMER].encode()
    result = run([purchase(0, offset=1)], states)
    assert (result.vectors, result.changed, result.results) == ([], {}, {"duplicate": 1})
    assert states[CUSTOMER].encode() == before


def test_another_body_under_a_known_id_is_refused_and_its_offset_noted_for_the_sink() -> None:
    result = run([purchase(0), purchase(0, offset=1, amount=68.0), purchase(1, offset=2)])
    assert reasons(result) == ["conflict"]
    assert result.refused_by_state == [1]
    assert [vector.event_id for vector, _ in result.vectors] == ["event-0", "event-1"]
    assert result.vectors[1][0].features["amount_sum_30d"] == pytest.approx(67.51)


def test_a_refusal_that_follows_from_the_record_alone_is_not_noted() -> None:
    result = run([raw(b"{", offset=5)])
    assert reasons(result) == ["syntax"]
    assert result.refused_by_state == []


def test_poison_leaves_its_neighbours_as_they_would_be_without_it() -> None:
    poison = [raw(b"\xff", offset=1), raw(None, offset=2), raw(b"[]", offset=3), purchase(9, offset=4, amount=-1)]
    mixed = run([purchase(0), *poison, purchase(1, offset=5)])
    clean = run([purchase(0), purchase(1, offset=5)])
    assert [vector for vector, _ in mixed.vectors] == [vector for vector, _ in clean.vectors]
    assert reasons(mixed) == ["utf8", "tombstone", "shape", "range"]
    assert [record for _, record in mixed.refusals] == poison


def test_a_purchase_without_a_key_is_refused() -> None:
    assert reasons(run([purchase(0, key=None)])) == ["key"]


def test_a_purchase_under_another_customers_key_is_refused_and_not_counted_for_either() -> None:
    other = next(f"c{n}" for n in range(100) if partition_of(f"c{n}".encode(), PARTITIONS) == HOME)
    result = run([purchase(0, key=other.encode())])
    assert reasons(result) == ["key"]
    assert result.changed == {}


def test_an_outcome_under_another_customers_key_is_refused() -> None:
    other = next(f"c{n}" for n in range(100) if partition_of(f"c{n}".encode(), PARTITIONS) == HOME)
    record = outcome(0, offset=0)
    result = run([raw(record.value, topic=OUTCOMES.name, key=other.encode())])
    assert reasons(result) == ["key"]
    assert result.changed == {}


@pytest.mark.parametrize("value", [factories.transaction_bytes(), b"{", None], ids=["good", "poison", "tombstone"])
def test_a_record_in_the_wrong_partition_is_sent_on_unread(value: bytes | None) -> None:
    record = raw(value, partition=(HOME + 1) % PARTITIONS)
    result = run([record])
    ((misplaced, passed_on),) = result.reroutes
    assert (misplaced.partition, passed_on) == (HOME, record)
    assert (result.vectors, result.refusals, result.changed) == ([], [], {})
    assert result.warnings == {InputWarning.PARTITION: 1}
    assert result.results == {"rerouted": 1}


def test_a_record_too_large_to_be_sent_again_is_refused_where_it_lies() -> None:
    wrong = (HOME + 1) % PARTITIONS
    result = run([raw(b"x" * LARGEST_REROUTED_BYTES, partition=wrong), purchase(0, offset=1)])
    assert reasons(result) == ["size"]
    assert result.reroutes == []
    assert len(result.vectors) == 1


def test_a_rerouted_record_keeps_its_headers_and_says_where_it_came_from() -> None:
    wrong = (HOME + 1) % PARTITIONS
    record = purchase(0, offset=17, partition=wrong, headers=[("ce_id", b"event-0")])
    headers = rerouted_headers(record)
    assert headers[0] == ("ce_id", b"event-0")
    assert header(headers, "rerouted") == f"bnpl-transactions-{wrong}-17"


def test_the_future_is_judged_by_the_records_own_clock() -> None:
    occurred_ms = factories.START_US // 1000
    skew_ms = Limits().max_future_seconds * 1000
    result = run(
        [
            purchase(0, t_us=factories.START_US, timestamp_ms=occurred_ms - skew_ms - 1),
            purchase(1, t_us=factories.START_US, timestamp_ms=occurred_ms - skew_ms),
        ]
    )
    assert reasons(result) == ["future"]
    assert [vector.event_id for vector, _ in result.vectors] == ["event-1"]
    assert result.warnings[InputWarning.SKEW] == 1


def test_lateness_is_measured_against_the_customers_latest_purchase() -> None:
    limits = Limits(max_lateness_seconds=3600)
    late_us, in_time_us = (
        factories.START_US - 3601 * factories.SECOND_US,
        factories.START_US - 3600 * factories.SECOND_US,
    )
    result = run(
        [purchase(0, t_us=factories.START_US), purchase(1, t_us=late_us), purchase(2, t_us=in_time_us)], limits=limits
    )
    assert result.warnings == {InputWarning.LATE: 1}
    assert len(result.vectors) == 3


def test_a_late_purchase_does_not_see_what_happened_after_it() -> None:
    result = run([purchase(0), purchase(5), purchase(3, offset=6)])
    assert [vector.features["purchases_1h"] for vector, _ in result.vectors] == [0, 1, 1]


def test_warnings_of_the_decoder_are_counted() -> None:
    result = run([purchase(0, amount=0, surprise=1)])
    assert result.warnings == {InputWarning.ZERO_AMOUNT: 1, InputWarning.EXTRA_FIELD: 1}


def test_an_outcome_counts_from_the_day_after_it_was_observed() -> None:
    states: dict[str, CustomerState] = {}
    run([purchase(0)], states)
    run([outcome(0, offset=0, defaulted=True, observed_us=factories.START_US + 14 * factories.DAY_US)], states)
    same_day = factories.accepted(1, t_us=factories.START_US + 14 * factories.DAY_US + 1)
    next_day = factories.accepted(2, t_us=factories.START_US + 15 * factories.DAY_US)
    assert features_of(states[CUSTOMER], same_day)["defaults_known"] == 0
    assert features_of(states[CUSTOMER], next_day)["defaults_known"] == 1


def test_a_repeated_outcome_has_no_second_effect() -> None:
    states: dict[str, CustomerState] = {}
    result = run([outcome(0, offset=0), outcome(0, offset=1), outcome(0, offset=2, defaulted=True)], states)
    assert result.results == {"ok": 2, "duplicate": 1}
    assert states[CUSTOMER].known_outcomes(factories.START_US + 2 * factories.DAY_US) == (1, 0)


def test_a_bad_outcome_is_refused_and_its_neighbours_count() -> None:
    result = run([raw(b'{"event_id": "e"}', topic=OUTCOMES.name, offset=0), outcome(0, offset=1)])
    assert reasons(result) == ["missing"]
    assert list(result.changed) == [CUSTOMER]


def test_an_unknown_schema_version_is_refused() -> None:
    assert reasons(run([purchase(0, headers=[("schema_version", b"99")])])) == ["version"]


def test_states_are_needed_of_each_accepted_customer_once() -> None:
    others = [name for n in range(100) if partition_of((name := f"c{n}").encode(), PARTITIONS) == HOME][:2]
    records = [purchase(n, customer_id=name, key=name.encode()) for n, name in enumerate([*others, others[0]])]
    decoded = [decode(record, partitions=PARTITIONS, limits=Limits()) for record in [*records, raw(b"{")]]
    assert customers_of(decoded) == others
