"""The catalogue of bad inputs, as the decoder answers them: reason, field and REST status, or a warning."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.contracts.records import decode_outcome
from shared.contracts.rejections import MALFORMED, UNPROCESSABLE, InputWarning, Rejection, RejectionReason
from shared.contracts.transactions import NOT_NEGATIVE, AcceptedTransaction, Door, Limits, decode_transaction
from tests.bad_inputs.doors import ELSEWHERE, LINES, PAIRS, RECORDS, REQUESTS
from tests.bad_inputs.outcomes import OUTCOMES
from tests.bad_inputs.purchases import PURCHASES, TEXTS
from tests.bad_inputs.rows import ACCEPTED, BadInput, BadLine, BadPair, BadRecord, BadRequest, Subject
from tests.deployment import REPOSITORY
from tests.factories import transaction

SUBJECT = Subject()


def decode(raw: bytes | None, **options: Any) -> AcceptedTransaction:
    fields: dict[str, Any] = {"door": Door.TOPIC, "received_us": SUBJECT.now_us, "limits": Limits()}
    return decode_transaction(raw, **(fields | options))


def refused(raw: bytes | None) -> tuple[str, str, int]:
    with pytest.raises(Rejection) as caught:
        decode(raw)
    return caught.value.reason.value, caught.value.field, caught.value.status


@pytest.mark.parametrize("door", Door)
@pytest.mark.parametrize("bad", PURCHASES, ids=str)
def test_a_bad_purchase_gets_what_the_catalogue_says(bad: BadInput, door: Door) -> None:
    def verdict() -> frozenset[InputWarning]:
        return frozenset(decode(bad.make(SUBJECT), schema_version=bad.schema_version, door=door).warnings)

    _check(bad, verdict)


@pytest.mark.parametrize("bad", OUTCOMES, ids=str)
def test_a_bad_outcome_gets_what_the_catalogue_says(bad: BadInput) -> None:
    _check(bad, lambda: frozenset(decode_outcome(bad.make(SUBJECT), schema_version=bad.schema_version).warnings))


def _check(bad: BadInput, verdict: Any) -> None:
    if bad.reason is None:
        assert verdict() == bad.warnings
        assert bad.status == ACCEPTED
        return
    with pytest.raises(Rejection) as caught:
        verdict()
    assert (caught.value.reason, caught.value.field, caught.value.status) == (bad.reason, bad.field, bad.status)


def test_a_null_value_is_a_tombstone() -> None:
    assert refused(None) == ("tombstone", "", UNPROCESSABLE)
    with pytest.raises(Rejection, match="tombstone"):
        decode_outcome(None)


def test_every_row_of_the_catalogue_has_an_input() -> None:
    rows = {str(one).split()[0] for rows in (PURCHASES, RECORDS, PAIRS, REQUESTS, LINES) for one in rows}
    assert rows | set(ELSEWHERE) == {str(number) for number in range(1, 47)} | {"39a"}


TABLE = REPOSITORY / "docs/reference/bad-inputs.md"
LISTS: dict[str, tuple[BadInput | BadRecord | BadPair | BadRequest | BadLine, ...]] = {
    "P": PURCHASES,
    "O": OUTCOMES,
    "T": RECORDS,
    "D": PAIRS,
    "R": REQUESTS,
    "L": LINES,
}


def test_the_table_names_every_row_and_where_it_is_tried() -> None:
    rows = re.findall(r"^\| (\d+a?) \|.*\| ([^|]+) \|$", TABLE.read_text(), re.M)
    assert [row for row, _ in rows] == [*map(str, range(1, 40)), "39a", *map(str, range(40, 47))]
    for row, tried in rows:
        named = set(re.findall(r"\b[PODTRL]\b", re.sub(r"\[.*?\]\(.*?\)", "", tried)))
        held = {letter for letter, entries in LISTS.items() if any(one.row == row for one in entries)}
        assert named == held, f"row {row}: the table says {sorted(named)}, the lists hold {sorted(held)}"
        assert held or "](" in tried, f"row {row} is tried nowhere"


def test_what_the_table_leads_to_is_there() -> None:
    leads = re.findall(r"\]\(([^)]+)\)", TABLE.read_text())
    assert len(leads) > 8
    assert not [lead for lead in leads if not (TABLE.parent / lead).exists()]


def test_no_two_inputs_have_the_same_name() -> None:
    for rows in (PURCHASES, OUTCOMES, RECORDS, PAIRS, REQUESTS, LINES):
        names = [str(one) for one in rows]
        assert len(names) == len(set(names))


def test_every_reason_and_every_warning_has_an_input() -> None:
    bodies = (*PURCHASES, *OUTCOMES)
    reasons = {row.reason for row in bodies} | {row.reason for row in RECORDS} | {row.reason for row in PAIRS}
    assert reasons - {None} == set(RejectionReason)
    # An old version can't be made while there is only one; the partition is a matter of the record.
    made = {warning for row in bodies for warning in row.warnings} | {one for row in PAIRS for one in row.warnings}
    assert made == set(InputWarning) - {InputWarning.OLD_VERSION, InputWarning.PARTITION}


@pytest.mark.parametrize(("block", "field"), NOT_NEGATIVE)
@pytest.mark.parametrize("value", [-1, -0.01])
def test_what_counts_or_measures_may_not_be_negative(block: str, field: str, value: float) -> None:
    changes: dict[str, Any] = {block: {field: value}}
    assert refused(SUBJECT.purchase(**changes)) == ("range", f"{block}.{field}", UNPROCESSABLE)


def test_every_amount_time_and_count_of_a_purchase_is_kept_from_being_negative() -> None:
    measured = {
        (block, field)
        for block, parts in transaction(0).items()
        if isinstance(parts, dict)
        for field, value in parts.items()
        if type(value) in (int, float)
    }
    free = {("installments", "count"), ("checkout", "economic_stress_factor"), ("source_scores", "risk_score")}
    assert measured - free <= set(NOT_NEGATIVE)


def test_an_ordinary_event_has_no_warning() -> None:
    assert decode(SUBJECT.purchase()).warnings == ()


def test_the_odd_values_are_mended() -> None:
    assert decode(SUBJECT.purchase_with("67.51,", "67.5100000001,")).transaction.amount == 67.51
    assert str(decode(SUBJECT.purchase_with('"amount": 67.51', '"amount": -0.0')).transaction.amount) == "0.0"
    unknown = decode(SUBJECT.purchase(product={"category": "toys"}))
    assert unknown.transaction.product is not None
    assert unknown.transaction.product.category == "unknown"
    assert unknown.document["product"]["category"] == "toys"


@pytest.mark.parametrize("text", ["🛒 ok", *TEXTS])
def test_free_text_is_data_like_any_other(text: str) -> None:
    accepted = decode(SUBJECT.purchase(product={"brand": text}))
    assert accepted.transaction.product is not None
    assert accepted.transaction.product.brand == text


def test_a_stream_that_is_too_deep_for_the_parser_is_too_large_first() -> None:
    assert refused(b"[" * 100_000 + b"]" * 100_000) == ("size", "", 413)
    assert refused(b"[" * 30_000) == ("depth", "", MALFORMED)
