from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.scorer.checkout import Question
from services.scorer.limiter import LONGEST_MINUTES, Limiter
from services.scorer.metrics import LIMITER_HOLDS
from services.scorer.policies import PolicySlot
from shared.contracts.events import Decision, Verdict, encode
from shared.deciding import Lineup, decide
from shared.deciding.onnx_model import OnnxModel
from shared.model_artifact.registry import ModelRegistry
from shared.policy import ORDINARY, Circumstances, Policy, circumstances_of, load_policy
from shared.policy.file import Exploration
from shared.policy.reasons import PolicyReason
from tests.unit.scorer.fakes import Outside
from tests.unit.scorer.parts import NOW, a_vector, body_of, register

RISKY: dict[str, Any] = {"customer": {"tenure_days": 0, "credit_score_range": "poor"}}
SAFE: dict[str, Any] = {"customer": {"tenure_days": 3000, "credit_score_range": "excellent"}}


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def policy_with(**limits: Any) -> Policy:
    policy = load_policy()
    assert policy.limiter is not None
    return policy.model_copy(update={"limiter": policy.limiter.model_copy(update=limits)})


STRICT = policy_with(window_minutes=10, most_declined=Decimal("0.5"), at_least=10, most_approved_usd=Decimal("1000"))


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    registry = ModelRegistry(str(tmp_path))
    return OnnxModel(registry.load(register(registry)))


def decided(model: OnnxModel, circumstances: Circumstances = ORDINARY, **changes: Any) -> Decision:
    lineup = Lineup({model.feature_set_version: model})
    (decision,) = decide(
        [a_vector(1, **changes)], lineup, STRICT, channel="rest", decided_at=NOW, circumstances=circumstances
    )
    return decision


def test_declines_are_held_beyond_their_share_and_let_go_when_the_window_has_passed(model: OnnxModel) -> None:
    clock = Clock()
    limiter = Limiter(clock)
    declined, approved = decided(model, **RISKY), decided(model, **SAFE)
    assert (declined.decision, approved.decision) == (Verdict.DECLINE, Verdict.APPROVE)
    for _ in range(9):
        limiter.note(declined, 0)
    assert limiter.circumstances(STRICT) == ORDINARY, "nine say nothing yet"
    limiter.note(declined, 0)
    assert limiter.circumstances(STRICT).declines_held
    assert LIMITER_HOLDS.labels("declines")._value.get() == 1
    for _ in range(10):
        limiter.note(approved, 0)
    assert not limiter.circumstances(STRICT).declines_held, "half of them is not more than half"
    limiter.note(declined, 0)
    assert limiter.circumstances(STRICT).declines_held
    clock.now_s += 600
    assert limiter.circumstances(STRICT) == ORDINARY


async def test_what_is_held_is_let_go_where_no_purchase_comes_any_more(model: OnnxModel) -> None:
    clock, stop = Clock(), asyncio.Event()
    limiter = Limiter(clock)
    for _ in range(20):
        limiter.note(decided(model, **RISKY), 0)
    assert limiter.circumstances(STRICT).declines_held
    clock.now_s += 600
    judging = asyncio.create_task(limiter.run(PolicySlot(STRICT), stop))
    await asyncio.sleep(0)  # its turn
    assert LIMITER_HOLDS.labels("declines")._value.get() == 0
    stop.set()
    await judging


def test_what_is_held_still_counts_as_a_decline(model: OnnxModel) -> None:
    limiter = Limiter(Clock())
    for _ in range(100):
        limiter.note(decided(model, limiter.circumstances(STRICT), **RISKY), 0)
    held = decided(model, limiter.circumstances(STRICT), **RISKY)
    assert held.decision is Verdict.REVIEW
    assert held.reasons[0].code == "policy_decline_rate"


async def test_what_a_rule_has_declined_is_no_decline_of_the_score(model: OnnxModel) -> None:
    """Somebody on a list who asks again and again must not send everybody else's declines to people."""
    lists = load_policy().lists | {"blocked_customers": ["cust_blocked"]}
    outside = Outside()
    outside.slot.put(model)
    checkout = outside.checkout(
        PolicySlot(load_policy().model_copy(update={"limiter": STRICT.limiter, "lists": lists}))
    )
    customers, verdicts = ["cust_blocked"] * 12 + ["cust_000001"], []
    for number, customer_id in enumerate(customers):
        body = body_of(number, transaction_id=f"txn_{number}", customer_id=customer_id, **RISKY)
        verdicts.append(msgspec.json.decode(await checkout.decide(Question(body)))["decision"])
    assert verdicts == ["decline"] * 13


@pytest.mark.parametrize("by_rule", [200, 20_000])
def test_who_is_on_a_list_neither_holds_declines_nor_lets_them_go(model: OnnxModel, by_rule: int) -> None:
    clock = Clock()
    limiter = Limiter(clock)
    for _ in range(100):
        limiter.note(decided(model, limiter.circumstances(STRICT), **RISKY), 0)
    assert limiter.circumstances(STRICT).declines_held
    on_a_list = msgspec.structs.replace(
        decided(model, limiter.circumstances(STRICT), **RISKY), decision=Verdict.DECLINE
    )
    for _ in range(by_rule):
        limiter.note(on_a_list, 0, by_rule=True)
    assert limiter.circumstances(STRICT).declines_held, "half of all were declined, but all of those that were scored"
    clock.now_s += 60 * LONGEST_MINUTES
    for _ in range(by_rule):
        limiter.note(on_a_list, 0, by_rule=True)
    assert not limiter.circumstances(STRICT).declines_held


def test_approvals_are_held_beyond_their_sum(model: OnnxModel) -> None:
    limiter = Limiter(Clock())
    approved = decided(model, **SAFE)
    for _ in range(10):
        limiter.note(approved, 10_000)
    assert limiter.circumstances(STRICT) == ORDINARY
    limiter.note(approved, 1)
    held = decided(model, limiter.circumstances(STRICT), **SAFE)
    assert (held.decision, held.reasons[0].code) == (Verdict.REVIEW, "policy_approved_volume")
    assert limiter.circumstances(policy_with(most_approved_usd=None)) == ORDINARY


def test_a_policy_without_a_limiter_holds_nothing(model: OnnxModel) -> None:
    limiter = Limiter(Clock())
    for _ in range(1000):
        limiter.note(decided(model, **RISKY), 0)
    assert limiter.circumstances(STRICT.model_copy(update={"limiter": None})) == ORDINARY


@pytest.mark.parametrize("changes", [RISKY, SAFE])
@pytest.mark.parametrize(
    "circumstances",
    [Circumstances(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)],
)
def test_a_decision_tells_the_circumstances_that_made_it(
    model: OnnxModel, circumstances: Circumstances, changes: dict[str, Any]
) -> None:
    made = decided(model, circumstances, **changes)
    assert encode(decided(model, circumstances_of(made.reasons), **changes)) == encode(made)


def test_a_rule_declines_whatever_is_held(model: OnnxModel) -> None:
    policy = STRICT.model_copy(update={"everything": "decline"})
    lineup = Lineup({model.feature_set_version: model})
    held = Circumstances(declines_held=True)
    (made,) = decide([a_vector(1)], lineup, policy, channel="rest", decided_at=NOW, circumstances=held)
    assert made.decision is Verdict.DECLINE


async def test_a_checkout_is_held_by_what_was_decided_before_it(model: OnnxModel) -> None:
    outside = Outside()
    outside.slot.put(model)
    checkout = outside.checkout(PolicySlot(STRICT))
    verdicts = []
    for number in range(12):
        body = body_of(number, transaction_id=f"txn_{number}", **RISKY)
        verdicts.append(msgspec.json.decode(await checkout.decide(Question(body)))["decision"])
    assert verdicts == ["decline"] * 10 + ["review"] * 2


def test_the_budget_of_exploration_ends_it_for_a_day(model: OnnxModel) -> None:
    clock = Clock()
    limiter = Limiter(clock)
    exploration = Exploration(share="0.5", salt="a secret of ours", up_to_loss_rate="0.9", most_expected_loss_usd="10")  # type: ignore[arg-type]  # read from text, as in the file
    policy = load_policy().model_copy(update={"exploration": exploration, "limiter": None})
    assert limiter.circumstances(policy) == Circumstances(exploring=True)
    explored = msgspec.structs.replace(
        decided(model, **SAFE), probability_of_default=0.5, reasons=[PolicyReason.EXPLORATION.reason]
    )
    for _ in range(3):
        limiter.note(explored, 1_000)  # 0.5 x 0.60 x 10 USD
    assert limiter.circumstances(policy).exploring
    limiter.note(explored, 1_000)
    assert not limiter.circumstances(policy).exploring
    clock.now_s += 86_400
    assert limiter.circumstances(policy).exploring
