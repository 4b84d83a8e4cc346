"""What a ledger's report has to vouch for before a run of chaos counts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.audited import LOOKED_AT, shortcomings

CHAIN = {"older_rows": 0, "begins": 0, "links": 40, "beside": 0}
INVARIANTS = {f"P{number}": {"checked": 40} for number in range(1, 9)}
WHOLE: dict[str, Any] = {
    "invariants": INVARIANTS,
    "rest_answers_compared": 200,
    "chain": {"risk-decisions-0": CHAIN, "risk-decisions-1": CHAIN},
}


def test_a_report_that_looked_at_chain_and_answers_lacks_nothing() -> None:
    assert shortcomings(WHOLE) == []
    assert shortcomings({**WHOLE, "rest_answers_gone": 0}) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"chain": {}}, "no link"),
        ({"invariants": INVARIANTS | {"P1": {"checked": 0}}}, "P1 looked at nothing"),
        ({"invariants": {name: each for name, each in INVARIANTS.items() if name != "P8"}}, "P8 looked at nothing"),
        ({"chain": {"risk-decisions-0": {**CHAIN, "links": 0}}}, "no link"),
        ({"chain": {"risk-decisions-0": {**CHAIN, "older_rows": 3}}}, "risk-decisions-0: 3 rows without a link"),
        ({"chain": {"risk-decisions-0": {**CHAIN, "beside": 2}}}, "2 beside the chain"),
        ({"rest_answers_compared": 0}, "no answer of REST was compared"),
        ({"rest_answers_gone": 4}, "4 decisions"),
    ],
)
def test_what_it_did_not_look_at_is_named(changed: dict[str, Any], said: str) -> None:
    (found,) = shortcomings({**WHOLE, **changed})
    assert said in found


def test_where_nothing_was_refused_there_is_no_letter_to_look_at() -> None:
    assert shortcomings({**WHOLE, "invariants": INVARIANTS | {"P5": {"checked": 0}}}) == []


def test_a_report_of_nothing_is_short_of_all() -> None:
    assert len(shortcomings({"balanced": True})) == len(LOOKED_AT) + 2
