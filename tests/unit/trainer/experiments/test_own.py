"""What policy and model alone would have decided, from a decision and its reasons: in SQL, as the emulator takes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product

import duckdb
from bqemulator.sql.translator import SQLTranslator

from services.trainer.experiments.exposures import _OWN
from shared.contracts.events import Reason, Verdict
from shared.deciding.pipeline import MAX_REASONS
from shared.policy import Circumstances, Policy, apply
from tests import factories
from tests.unit.policy.test_exploration import policy_with

RISKS = (0.02, 0.06, 0.1, 0.9, None)
"""Approved, reviewed, declined and within what chance may approve, declined beyond it; and nobody can tell."""

MODELS_OWN = Reason(code="amount", text='The purchase amounts to 2000.00 USD, "policy" or not.')


def policy() -> Policy:
    """With rules of both kinds, more of them than a decision has room for."""
    rules = [
        {"code": f"policy_{verdict}_{number}", "when": f"amount_usd > {number}", "verdict": verdict, "text": "x" * 10}
        for number, verdict in ((200, "review"), (300, "decline"), (400, "decline"), (500, "decline"), (600, "decline"))
    ]
    values = policy_with("0.5").model_dump(mode="json") | {"rules": rules}
    return Policy.model_validate(values)


def own(decisions: Sequence[tuple[Verdict, list[Reason] | None]]) -> list[str | None]:
    with duckdb.connect() as database:
        database.execute("CREATE TABLE decided (number INT, decision TEXT, reasons JSON)")
        for number, (decision, reasons) in enumerate(decisions):
            told = None if reasons is None else json.dumps([{"code": r.code, "text": r.text} for r in reasons])
            database.execute("INSERT INTO decided VALUES (?, ?, ?)", [number, decision.value, told])
        sql = SQLTranslator().translate(f"SELECT {_OWN} AS own FROM decided ORDER BY number").value
        return [row[0] for row in database.execute(sql).fetchall()]


def test_it_is_what_the_policy_says_in_ordinary_circumstances() -> None:
    asked = policy()
    circumstances = [Circumstances(*each) for each in product((False, True), repeat=4)]
    made: list[tuple[Verdict, list[Reason]]] = []
    expected: list[str | None] = []
    for amount, risk, held in product((50.0, 250.0, 350.0, 1000.0), RISKS, circumstances):
        transaction = factories.accepted(1, amount=amount).transaction
        why = None if risk is not None else "no_model"
        alone = apply(asked, transaction, {}, risk, why).decision
        if held.over_limit and alone is Verdict.DECLINE:
            continue  # nothing is reserved for it, so that no limit is asked
        found = apply(asked, transaction, {}, risk, why, held)
        made.append((found.decision, [*found.policy_reasons, MODELS_OWN][:MAX_REASONS]))
        expected.append(None if held.over_limit else alone.value)
    assert {Verdict.APPROVE.value, Verdict.REVIEW.value, Verdict.DECLINE.value, None} == set(expected)
    assert own(made) == expected


def test_without_reasons_it_is_the_decision() -> None:
    assert own([(Verdict.APPROVE, None), (Verdict.DECLINE, [])]) == ["approve", "decline"]
