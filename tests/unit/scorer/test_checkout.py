from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from services.scorer.checkout import Question, Unavailable
from services.scorer.claims import ANY_BODY, Claim
from services.scorer.idempotency import InFlight
from shared.contracts.events import encode
from shared.contracts.identity import epoch_micros
from shared.contracts.rejections import Rejection
from shared.contracts.topics import DECISIONS, TRANSACTIONS
from shared.contracts.transactions import Door, Limits, decode_transaction
from shared.feature_definitions import CustomerState
from shared.feature_state import Position
from tests.unit.scorer.fakes import FakeClaims, FakeKeys, FakeSender, FakeStates, Outside, field_of
from tests.unit.scorer.parts import NOW, accepted, body_of


def ask(number: int = 1, **changes: object) -> Question:
    return Question(body_of(number, **changes))


def knowing(*numbers: int) -> bytes:
    """The state of a customer who made these purchases."""
    state = CustomerState()
    for number in numbers:
        state.add_purchase(accepted(number, customer_id="cust_000001"))
    return state.encode()


async def test_the_answer_is_on_the_topic_after_its_purchase_and_marked() -> None:
    outside = Outside()
    answer = await outside.checkout().decide(ask())
    assert [record.topic for record in outside.sender.sent] == [TRANSACTIONS.name, DECISIONS.name]
    assert outside.sender.on(DECISIONS.name) == [answer]
    assert outside.sender.on(TRANSACTIONS.name) == [encode(accepted().transaction)]
    assert {record.key for record in outside.sender.sent} == {b"cust_000001"}
    assert outside.claims.held[accepted().transaction.event_id].published


async def test_the_same_purchase_gets_the_same_bytes_and_has_no_second_effect() -> None:
    outside = Outside()
    checkout = outside.checkout()
    answers = {await checkout.decide(ask()) for _ in range(3)}
    assert len(answers) == 1
    assert len(outside.sender.sent) == 2


async def test_callers_at_once_get_the_same_bytes() -> None:
    outside = Outside()
    checkout = outside.checkout()
    answers = await asyncio.gather(*(checkout.decide(ask()) for _ in range(50)))
    assert len(set(answers)) == 1
    assert set(outside.sender.on(DECISIONS.name)) == {answers[0]}


async def test_another_body_under_the_same_event_is_a_conflict() -> None:
    outside = Outside()
    checkout = outside.checkout()
    await checkout.decide(ask(event_id="one"))
    with pytest.raises(Rejection) as refused:
        await checkout.decide(ask(event_id="one", amount=1.0))
    assert (refused.value.reason, refused.value.status) == ("conflict", 422)
    assert len(outside.sender.sent) == 2


async def test_another_body_of_an_event_that_only_the_state_knows_is_a_conflict() -> None:
    outside = Outside(states=FakeStates({"cust_000001": knowing(1)}))
    with pytest.raises(Rejection, match="conflict"):
        await outside.checkout().decide(ask(event_id=accepted(1).transaction.event_id, amount=1.0))


async def test_features_are_those_of_the_state_and_say_up_to_where() -> None:
    outside = Outside(states=FakeStates({"cust_000001": knowing(2, 3)}, Position(41, 7)))
    answer = await outside.checkout().decide(ask())
    assert field_of(answer, "as_of") == {"transactions": 41, "outcomes": 7}
    features = field_of(answer, "features")
    assert isinstance(features, dict)
    assert features["purchases_24h"] == 2.0


async def test_a_claim_that_never_reached_the_topic_is_produced_unchanged() -> None:
    first = Outside()
    answer = await first.checkout().decide(ask())
    event_id = accepted().transaction.event_id
    left = Claim(event_id, accepted().fingerprint, answer)
    outside = Outside(claims=FakeClaims({event_id: left}))
    assert await outside.checkout().decide(ask()) == answer
    assert outside.sender.on(DECISIONS.name) == [answer]
    assert outside.claims.held[event_id].published


async def test_a_purchase_that_the_stream_counted_waits_for_the_streams_decision() -> None:
    outside = Outside(states=FakeStates({"cust_000001": knowing(1)}))
    asking = asyncio.create_task(outside.checkout().decide(ask()))
    await asyncio.sleep(0)
    event_id = accepted().transaction.event_id
    outside.claims.held[event_id] = Claim(event_id, accepted().fingerprint, b"of the stream", published=True)
    assert await asking == b"of the stream"
    assert outside.sender.sent == []


async def test_a_purchase_that_the_stream_does_not_decide_in_time_is_not_decided_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.scorer.checkout.STREAM_PAUSE_S", 0.0)
    outside = Outside(states=FakeStates({"cust_000001": knowing(1)}))
    with pytest.raises(Unavailable) as later:
        await outside.checkout().decide(ask())
    assert later.value.reason == "pending"
    assert outside.claims.held == {}


@pytest.mark.parametrize("outside", [Outside(states=FakeStates(away=True)), Outside(claims=FakeClaims(away=True))])
async def test_without_redis_the_fallback_answers_and_only_the_purchase_is_published(outside: Outside) -> None:
    answer = await outside.checkout().decide(ask())
    assert field_of(answer, "degraded") == "state_unavailable"
    assert field_of(answer, "model_version") == "none"
    assert [record.topic for record in outside.sender.sent] == [TRANSACTIONS.name]
    assert outside.claims.held == {}


async def test_a_feature_of_the_past_is_unknown_and_not_zero_without_redis() -> None:
    answer = await Outside(states=FakeStates(away=True)).checkout().decide(ask())
    features = field_of(answer, "features")
    assert isinstance(features, dict)
    assert features["purchases_24h"] is None
    assert features["amount"] == 67.51


async def test_a_state_of_another_layout_counts_as_unavailable() -> None:
    answer = await Outside(states=FakeStates({"cust_000001": b"\x90"})).checkout().decide(ask())
    assert field_of(answer, "degraded") == "state_unavailable"


@pytest.mark.parametrize("topic", [TRANSACTIONS.name, DECISIONS.name])
async def test_without_kafka_nothing_is_answered_and_asking_again_gives_the_claimed_bytes(topic: str) -> None:
    outside = Outside(sender=FakeSender(refused_topics={topic}))
    checkout = outside.checkout()
    with pytest.raises(Unavailable) as later:
        await checkout.decide(ask())
    assert later.value.reason == "kafka-unavailable"
    claimed = outside.claims.held[accepted().transaction.event_id]
    assert not claimed.published
    outside.sender.refused_topics.clear()
    assert await checkout.decide(ask()) == claimed.decision
    assert set(outside.sender.on(DECISIONS.name)) == {claimed.decision}


async def test_no_decision_reaches_the_topic_before_its_purchase() -> None:
    outside = Outside(sender=FakeSender(refused_topics={TRANSACTIONS.name}))
    with pytest.raises(Unavailable):
        await outside.checkout().decide(ask())
    assert outside.sender.on(DECISIONS.name) == []


async def test_a_mark_that_fails_costs_nothing_since_the_topic_has_the_decision() -> None:
    outside = Outside(claims=FakeClaims(away_for_marks=True))
    answer = await outside.checkout().decide(ask())
    assert outside.sender.on(DECISIONS.name) == [answer]


async def test_an_idempotency_key_is_bound_to_its_first_body_for_its_caller() -> None:
    outside = Outside()
    checkout = outside.checkout()
    first = await checkout.decide(Question(body_of(1), "shop", "key"))
    assert await checkout.decide(Question(body_of(1), "shop", "key")) == first
    with pytest.raises(Rejection) as refused:
        await checkout.decide(Question(body_of(2), "shop", "key"))
    assert (refused.value.reason, refused.value.field) == ("conflict", "Idempotency-Key")
    assert await checkout.decide(Question(body_of(2), "another shop", "key")) != first


async def test_an_idempotency_key_in_flight_is_told_so() -> None:
    outside = Outside(keys=FakeKeys({("shop", "key"): (accepted(1).fingerprint, True, b"")}))
    with pytest.raises(InFlight):
        await outside.checkout().decide(Question(body_of(1), "shop", "key"))


async def test_a_key_is_released_when_the_answer_was_a_failure() -> None:
    outside = Outside(sender=FakeSender(refused_topics={TRANSACTIONS.name}))
    with pytest.raises(Unavailable):
        await outside.checkout().decide(Question(body_of(1), "shop", "key"))
    assert outside.keys.bound["shop", "key"] == (accepted(1).fingerprint, False, b"")


async def test_only_what_the_topic_holds_is_found() -> None:
    outside = Outside()
    checkout = outside.checkout()
    event_id = accepted().transaction.event_id
    assert await checkout.find(event_id) is None
    outside.claims.held[event_id] = Claim(event_id, b"f" * 16, b"{}")
    assert await checkout.find(event_id) is None
    outside.claims.held[event_id] = Claim(event_id, b"f" * 16, b"{}", published=True)
    assert await checkout.find(event_id) == b"{}"
    outside.claims.away = True
    with pytest.raises(Unavailable):
        await checkout.find(event_id)


async def test_the_trace_of_the_caller_travels_with_both_records() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    outside = Outside()
    await outside.checkout().decide(Question(body_of(1), traceparent=trace))
    assert [dict(record.headers)["traceparent"] for record in outside.sender.sent] == [trace.encode()] * 2


async def test_the_future_is_measured_by_the_doors_own_clock() -> None:
    assert epoch_micros(NOW)  # the clock of these tests stands still at noon
    with pytest.raises(Rejection, match="future"):
        await Outside().checkout().decide(ask(occurred_at="2026-06-01T12:05:01Z"))


@pytest.mark.parametrize(
    "outside",
    [Outside(claims=FakeClaims(incomplete=True)), Outside(states=FakeStates(position=None))],
    ids=["claims", "states"],
)
async def test_what_redis_lost_is_made_good_by_the_stream_and_the_answer_says_so(outside: Outside) -> None:
    answer = await outside.checkout().decide(ask())
    assert field_of(answer, "degraded") == "rebuilding"
    assert [record.topic for record in outside.sender.sent] == [TRANSACTIONS.name]
    assert outside.claims.held == {}


async def test_a_decision_that_is_known_is_given_while_states_are_rebuilt() -> None:
    outside = Outside()
    answer = await outside.checkout().decide(ask())
    outside.states.position = None
    assert await outside.checkout().decide(ask()) == answer


async def restored(outside: Outside) -> tuple[str, bytes]:
    """The event of `ask()`, decided, lost with all of Redis, and restored from the topic."""
    answer = await outside.checkout().decide(ask())
    event_id = accepted().transaction.event_id
    outside.claims.held = {event_id: Claim(event_id, ANY_BODY, answer, published=True)}
    return event_id, answer


async def test_a_restored_claim_answers_its_own_purchase() -> None:
    outside = Outside()
    _, answer = await restored(outside)
    assert await outside.checkout().decide(ask()) == answer


@pytest.mark.parametrize(
    "changes",
    [
        {"customer_id": "cust_other"},
        {"transaction_id": "txn_other"},
        {"occurred_at": "2026-06-01T11:58:00Z"},
        {"amount": 9_999.0},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_restored_claim_gives_its_decision_to_no_other_purchase(changes: dict[str, Any]) -> None:
    outside = Outside()
    event_id, _ = await restored(outside)
    with pytest.raises(Rejection, match="conflict"):
        await outside.checkout().decide(ask(event_id=event_id, **changes))


async def test_a_restored_claim_answers_no_body_that_the_state_contradicts() -> None:
    outside = Outside(states=FakeStates({"cust_000001": knowing(1)}))
    event_id, _ = await restored(Outside())
    outside.claims.held[event_id] = Claim(event_id, ANY_BODY, b"{}", published=True)
    with pytest.raises(Rejection, match="conflict"):
        await outside.checkout().decide(ask(event_id=event_id, device={"id": "another"}))


async def test_who_may_only_decide_finds_the_decisions_that_it_asked_for() -> None:
    outside = Outside()
    checkout = outside.checkout()
    asked = Question(body_of(), caller="shop-a", noted=True)
    answer = await checkout.decide(asked)
    event_id = accepted().transaction.event_id
    assert await checkout.find(event_id, "shop-a") == answer
    assert await checkout.find(event_id, "shop-b") is None
    with pytest.raises(Rejection):
        await checkout.decide(Question(body_of(event_id=event_id, amount=1), caller="shop-b", noted=True))
    assert await checkout.find(event_id, "shop-b") is None, "a guess made it the guesser's own"
    await checkout.decide(Question(body_of(), caller="shop-b", noted=True))
    assert await checkout.find(event_id, "shop-b") == answer


async def test_nothing_is_noted_of_who_may_look_up_all() -> None:
    outside = Outside()
    await outside.checkout().decide(Question(body_of(), caller="back-office"))
    assert outside.askers.noted == set()


@pytest.mark.parametrize("keys", [0, 170], ids=["few", "as many as are allowed"])
async def test_fields_and_values_that_nobody_knows_go_on_to_the_topic(keys: int) -> None:
    """Unless what identifies the purchase would then be one key too many: a decision without its purchase is worse."""
    outside = Outside()
    extra = {"loyalty": "gold", "device": {"type": "fridge", "battery": 7}} | {f"x{n}": n for n in range(keys)}
    body = msgspec.json.decode(body_of(1, **extra))
    del body["customer"]
    spare = 200 - keys_of(body) if keys else 0
    raw = msgspec.json.encode(body | {f"y{n}": n for n in range(spare)})
    await outside.checkout().decide(Question(raw))
    (value,) = outside.sender.on(TRANSACTIONS.name)
    read = decode_transaction(value, door=Door.TOPIC, received_us=epoch_micros(NOW), limits=Limits())
    sent = decode_transaction(raw, door=Door.REST, received_us=epoch_micros(NOW), limits=Limits())
    assert read.transaction == sent.transaction
    if keys:
        assert value == encode(sent.transaction)
    else:
        assert msgspec.json.decode(value)["loyalty"] == "gold"
        assert msgspec.json.decode(value)["device"] == {"type": "fridge", "battery": 7}


def keys_of(document: dict[str, Any]) -> int:
    return sum(1 + (keys_of(value) if isinstance(value, dict) else 0) for value in document.values())
