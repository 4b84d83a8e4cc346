"""Whatever is done to the rows of a chain, the place is named; and nothing else is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.ledger import chain
from services.ledger.book import Book
from services.ledger.chain import ChainRow, Followed, KeptRecord, beginning, examine, expired_records, follow, heads_of
from services.ledger.checks import Finding, Mirrored
from services.ledger.content import of_record
from services.ledger.expired import Expired
from services.ledger.settings import LedgerSection
from services.sink.chain import chained
from tests.unit.sink.fakes import PARTITION, decisions

Rows = list[ChainRow]
BEGIN = beginning(PARTITION)


def written(offsets: range | list[int]) -> Rows:
    """As the sink links them: what follows the chain shares no code with what makes it."""
    rows = chained(decisions(list(offsets)), BEGIN)
    return [ChainRow(row["kafka_offset"], row["record_sha256"], row["chain_sha256"]) for row in rows]


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_rows_of_the_sink_follow_each_other() -> None:
    found = follow(BEGIN, reversed(written([3, 4, 9])))
    assert (found.begins, found.links, found.beside, found.breaks) == (3, 3, [], [])
    assert found.last == (9, written([3, 4, 9])[-1].chain_sha256)


def test_no_rows_are_no_chain() -> None:
    assert follow(BEGIN, []) == Followed()


def test_rows_from_before_the_chain_are_counted_apart() -> None:
    found = follow(BEGIN, [ChainRow(0, None, None), ChainRow(1, None, None), *written([5, 6])])
    assert (found.older, found.begins, found.links, found.beside, found.breaks) == ([0, 1], 5, 2, [], [])


@given(st.integers(2, 40), st.data())
def test_a_changed_hash_is_named_alone(count: int, data: st.DataObject) -> None:
    rows = written(range(count))
    at = data.draw(st.integers(0, count - 1))
    column = data.draw(st.sampled_from(["record_sha256", "chain_sha256"]))
    other = hashed("another")
    changed = {
        "record_sha256": rows[at]._replace(record_sha256=other),
        "chain_sha256": rows[at]._replace(chain_sha256=other),
    }
    rows[at] = changed[column]
    found = follow(BEGIN, rows)
    assert found.breaks == [(at, at - 1 if at else None)]
    assert found.beside == []


@given(st.integers(3, 40), st.data())
def test_rows_taken_out_are_missed_between_their_neighbours(count: int, data: st.DataObject) -> None:
    rows = written(range(count))
    first = data.draw(st.integers(0, count - 2))
    last = data.draw(st.integers(first, count - 2))
    found = follow(BEGIN, rows[:first] + rows[last + 1 :])
    assert found.breaks == [(last + 1, first - 1 if first else None)]
    assert found.beside == []


@given(st.integers(2, 30), st.integers(1, 5), st.sampled_from(["linked", "made up", "no link"]), st.data())
def test_rows_put_in_are_named_however_they_are_linked(count: int, added: int, how: str, data: st.DataObject) -> None:
    rows = written(range(0, 10 * count, 10))
    at = data.draw(st.integers(0, count - 2))
    before, put_in = str(rows[at].chain_sha256), list[ChainRow]()
    for offset in range(10 * at + 1, 10 * at + 1 + added):
        before = hashed(f"{before}:{offset}:forged") if how == "linked" else hashed(f"made up {offset}")
        put_in.append(ChainRow(offset, "forged", None if how == "no link" else before))
    found = follow(BEGIN, rows + put_in)
    assert found.beside == [row.offset for row in put_in]
    assert (found.breaks, found.links) == ([], count)


def test_a_chain_made_up_altogether_is_not_searched_at_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "MOST_BREAKS", 3)
    rows = [ChainRow(offset, "a", hashed(f"made up {offset}")) for offset in range(50)]
    found = follow(BEGIN, rows)
    assert len(found.breaks) == 50


def book(log: dict[int, str], *, first: int = 0, end: int | None = None) -> Book:
    """`log`: offset → what the record says; what lies before `first` is gone."""
    scope = {} if end is None else {(chain.TOPIC, PARTITION): end}
    made = Book(4, scope, expired=Expired({(chain.TOPIC, PARTITION): first} if first else {}))
    for offset, value in log.items():
        body = {"event_id": value, "degraded": None, "model_version": "m", "channel": "stream"}
        record = json.dumps(body).encode()
        made.add(ConsumerRecord(chain.TOPIC, PARTITION, offset, 0, 0, b"c", record, None, 0, 0, ()))
    return made


def rows_of(made: Book) -> Rows:
    places = sorted((place[2], digest.hex()) for found in made.decisions.values() for place, digest, *_ in found)
    rows, before = [], BEGIN
    for offset, digest in places:
        before = hashed(f"{before}:{offset}:{digest}")
        rows.append(ChainRow(offset, digest, before, digest))
    return rows


def examined(made: Book, rows: Rows, earlier: dict[int, tuple[int, str]] | None = None) -> Finding:
    finding = Finding("P3", "")
    examine(finding, made, {PARTITION: rows}, earlier or {})
    return finding


def test_a_sound_chain_of_the_logs_own_records_has_no_violation() -> None:
    made = book({0: "a", 1: "b", 4: "c"})
    finding = examined(made, rows_of(made))
    assert (finding.balanced, finding.checked) == (True, 3)


Tamper = Callable[[Rows], Rows]
FORGED = hashed("forged")


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (lambda rows: [rows[0]._replace(record_sha256=FORGED, kept_sha256=FORGED), *rows[1:]], "(2, 0)"),
        (
            lambda rows: [rows[0], rows[1]._replace(kept_sha256=FORGED), *rows[2:]],
            "record_json of risk-decisions (2, 1)",
        ),
        (lambda rows: [rows[0], *rows[2:]], "between (2, 0) and (2, 2)"),
        (lambda rows: [*rows[:3], ChainRow(3, FORGED, None)], "a row of risk-decisions (2, 3) that neither"),
        (lambda rows: [*rows, ChainRow(9, FORGED, hashed(f"{rows[-1].chain_sha256}:9:{FORGED}"))], ""),
    ],
    ids=["changed", "its record changed", "taken out", "put in", "put in behind the end"],
)
def test_what_was_done_to_a_row_is_named_with_its_place(tamper: Tamper, named: str) -> None:
    made = book({0: "a", 1: "b", 2: "c"}, end=9)
    told = examined(made, tamper(rows_of(made))).violations
    if named:
        assert any(named in each for each in told), told
    else:
        assert told == []  # a record that came after the audit began may be there; the next audit knows


def test_a_chain_that_was_made_anew_over_a_changed_row_is_told_by_the_log() -> None:
    honest, forged = book({0: "a", 1: "b", 2: "c"}), book({0: "a", 1: "x", 2: "c"})
    assert examined(honest, rows_of(forged)).violations == [
        f"{chain.TABLE}: record_sha256 of risk-decisions (2, 1) isn't the record's"
    ]


def test_where_the_log_is_gone_it_is_told_by_what_an_earlier_audit_saw() -> None:
    honest, forged = rows_of(book({0: "a", 1: "b", 2: "c"})), rows_of(book({0: "a", 1: "x", 2: "c"}))
    seen = follow(BEGIN, honest).last
    assert seen is not None
    gone = book({}, first=3)
    assert examined(gone, honest, {PARTITION: seen}).violations == []
    assert examined(gone, forged).violations == []
    for fewer in (forged, honest[:2], []):
        (told,) = examined(gone, fewer, {PARTITION: seen}).violations
        assert "(2, 2) that an earlier audit saw" in told


def test_a_row_before_the_chain_is_the_logs_to_judge_while_that_reaches_back() -> None:
    made = book({4: "a", 7: "b"})
    honest = [ChainRow(4, None, None), ChainRow(7, None, None)]
    assert examined(made, honest).balanced is True
    (told,) = examined(made, [*honest, ChainRow(5, None, None)]).violations
    assert "a row of risk-decisions (2, 5) that neither" in told
    assert examined(book({7: "b"}, first=6), [*honest, ChainRow(5, None, None)]).balanced is True


def test_a_row_beside_the_chain_is_the_logs_to_judge_and_nobodys_when_that_is_gone() -> None:
    made = book({0: "a", 1: "b", 2: "c"})
    rows = rows_of(book({0: "a", 2: "c"}))
    late = ChainRow(1, rows_of(made)[1].record_sha256, None)  # as a repair writes what another release had refused
    assert examined(made, [*rows, late]).balanced is True
    finding = examined(book({2: "c"}, first=2), [*rows, late])
    assert finding.balanced is None
    assert "(2, 1) isn't in the chain" in finding.not_checkable[0]


RECORD: dict[str, Any] = {"event_id": "e", "decision": "approve", "features": {"amount": 1.5}, "reasons": []}


@pytest.mark.parametrize(
    ("changed", "features", "violations"),
    [({}, '{"amount":1.5}', 0), ({"decision": "decline"}, '{"amount":1.5}', 1), ({}, '{"amount":15}', 1)],
)
def test_an_expired_records_row_has_to_say_what_its_own_record_says(
    changed: dict[str, Any], features: str, violations: int
) -> None:
    finding = Finding("P3", "")
    row = Mirrored("e", of_record(chain.TOPIC, RECORD | changed)[chain.TABLE])
    kept = KeptRecord(PARTITION, 7, json.dumps(RECORD), features, False)
    expired_records(finding, [kept], {(PARTITION, 7): [row]})
    assert len(finding.violations) == violations


def test_an_expired_record_that_nobody_keeps_is_not_checkable_unless_its_customer_was_erased() -> None:
    finding = Finding("P3", "")
    expired_records(finding, [KeptRecord(2, 7, None, None, False), KeptRecord(2, 8, None, "{}", True)], {})
    assert finding.not_checkable == [f"{chain.TABLE}: risk-decisions (2, 7) is gone, and its row doesn't hold it"]


def test_the_last_links_of_a_report_are_those_that_the_next_audit_asks_for(tmp_path: Path) -> None:
    followed = {0: Followed(), PARTITION: follow(BEGIN, written([3, 4]))}
    report = tmp_path / "ledger.json"
    report.write_text(json.dumps({"chain": chain.shown(followed)}))
    section = LedgerSection(earlier_report=report)
    assert section.earlier_heads() == {PARTITION: followed[PARTITION].last}
    assert heads_of({}) == {}
    report.write_text("{}")
    with pytest.raises(ValidationError, match="report of an audit"):
        LedgerSection(earlier_report=report)
