"""From simtom's flat event to our transaction and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingestor.simtom import Run, transaction_document
from services.sink.flat import FLAT_NAMES, flat_body, naive_time
from shared.contracts import enumerations
from shared.contracts.identity import EPOCH, epoch_micros
from shared.contracts.transactions import LABELS, Door, Limits, decode_transaction
from tests.factories import START_US, transaction
from tests.unit.ingestor.recorded import RECORDED_ON, RECORDED_US, flat_events

BOOKKEEPING = frozenset({"_record_id", "_generator"}) | LABELS
"""What the ingestor takes off: counters that start again on every stream, and the labels."""

RUN = Run("bnpl", "2026-06-01.1")


def round_trip(flat: dict[str, Any]) -> dict[str, Any]:
    document, _ = transaction_document(flat, run=RUN, scope="source", server_day=RECORDED_ON)
    return flat_body(document, epoch_micros(document["occurred_at"]))


@pytest.mark.parametrize("name", ["history-4-days", "live-1000"])
def test_every_recorded_event_comes_back_field_by_field(name: str) -> None:
    for event in flat_events(name):
        expected = {field: value for field, value in event.items() if field not in BOOKKEEPING}
        tenure = event["customer_tenure_days"]
        event_day = datetime.fromisoformat(event["_timestamp"]).date()
        expected["customer_tenure_days"] = max(0, tenure - (RECORDED_ON - event_day).days)
        assert round_trip(event) == expected


def test_every_field_of_every_block_has_a_flat_name() -> None:
    declared = {(block, field) for block, kind in enumerations.BLOCK_TYPES.items() for field in kind.__struct_fields__}
    assert FLAT_NAMES.keys() == declared
    assert len(set(FLAT_NAMES.values())) == len(declared)


texts = st.text(max_size=8)
names = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=6)


@given(
    top=st.dictionaries(names.map(lambda name: f"new_{name}"), texts, max_size=4),
    inner=st.dictionaries(st.sampled_from(sorted(enumerations.BLOCK_TYPES)), st.dictionaries(names, texts, max_size=3)),
)
def test_no_unknown_field_is_lost_or_overwrites_another(top: dict[str, str], inner: dict[str, dict[str, str]]) -> None:
    known = transaction()
    unknown = {
        block: {field: value for field, value in fields.items() if (block, field) not in FLAT_NAMES}
        for block, fields in inner.items()
    }
    added: dict[str, Any] = {**top, **unknown}
    flat = flat_body(transaction(**added), START_US)
    plain = flat_body(known, START_US)
    assert {field: flat[field] for field in plain} == plain
    extra = sorted(value for field, value in flat.items() if field not in plain)
    assert extra == sorted([*top.values(), *(value for fields in unknown.values() for value in fields.values())])


def test_an_unknown_field_never_takes_a_known_ones_name() -> None:
    document = transaction(risk_score="mine", customer={"segment": "a"}, customer_segment="b", _timestamp="x")
    flat = flat_body(document, START_US)
    assert flat["risk_score"] == 0.35
    assert flat["extra_risk_score"] == "mine"
    assert {flat["customer_segment"], flat["extra_customer_segment"]} == {"a", "b"}
    assert flat["_timestamp"] == "2026-06-01T00:06:06"
    assert flat["extra__timestamp"] == "x"


def test_a_block_that_spells_a_label_out_does_not_make_one() -> None:
    flat = flat_body(transaction(installments={"x": 1}), START_US)
    assert not LABELS & flat.keys()
    assert not LABELS & flat_body(transaction(will_default=True), START_US).keys()


def test_the_document_is_kept_as_it_came_not_as_it_was_normalised() -> None:
    document = transaction(amount=-0.0, customer={"credit_score_range": "splendid"})
    raw = decode_transaction(json.dumps(document).encode(), door=Door.TOPIC, received_us=RECORDED_US, limits=Limits())
    flat = flat_body(raw.document, raw.occurred_us)
    assert raw.transaction.customer is not None
    assert raw.transaction.customer.credit_score_range == "unknown"
    assert flat["customer_credit_score_range"] == "splendid"


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 12, 31)))  # noqa: DTZ001 - naive is what is written
def test_a_time_reads_back_as_the_same_moment(moment: datetime) -> None:
    micros = (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    assert datetime.fromisoformat(naive_time(micros)) == moment
