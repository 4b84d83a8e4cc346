"""Both doors keep a customer within his limit, whatever happens between reservation, claim and topic."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord, TopicPartition

from services.scorer.checkout import Question, Unavailable
from services.scorer.claims import Claim, IndexIncomplete
from services.scorer.reserving import Reserving, standing_of
from services.scorer.stream import StreamDoor
from shared.contracts.events import Decision, Verdict, encode
from shared.contracts.identity import epoch_micros, partition_of
from shared.contracts.topics import DAY_MS, DECISIONS, FEATURES, TRANSACTIONS
from shared.deciding.onnx_model import OnnxModel
from shared.exposure import Reservation, Standing
from shared.exposure.store import PENDING_MS
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from shared.kafka.refusal_limit import RefusalLimit
from shared.model_artifact.registry import ModelRegistry
from shared.policy import circumstances_of
from tests.unit.scorer.fakes import FakeClaims, FakeExposures, FakeSender, Outside, clock
from tests.unit.scorer.parts import a_vector, accepted, body_of, register

NOW_MS = int(clock().timestamp() * 1000)
NOW_DAY = NOW_MS // DAY_MS
SAFE = {"customer": {"tenure_days": 3000, "credit_score_range": "excellent"}}
PARTITION = partition_of(b"cust_000001", 4)


def outside_with_a_model(tmp_path: Path) -> Outside:
    outside = Outside()
    registry = ModelRegistry(str(tmp_path))
    outside.slot.put(OnnxModel(registry.load(register(registry))))
    return outside


def bodies(count: int, amount: float) -> list[bytes]:
    return [body_of(1, transaction_id=f"txn_{i}", amount=amount, **SAFE) for i in range(count)]


def account(outside: Outside) -> dict[str, tuple[int, Reservation]]:
    return outside.exposures.accounts[PARTITION, "cust_000001"]


async def decided(outside: Outside, *asked: bytes) -> list[Decision]:
    checkout = outside.checkout()
    answers = await asyncio.gather(*(checkout.decide(Question(body)) for body in asked))
    return [msgspec.json.decode(answer, type=Decision) for answer in answers]


async def test_checkouts_at_once_do_not_pass_the_limit_together(tmp_path: Path) -> None:
    outside = outside_with_a_model(tmp_path)
    decisions = await decided(outside, *bodies(200, 99.0))
    approved = [decision for decision in decisions if decision.decision is Verdict.APPROVE]
    assert len(approved) == 20
    for decision in decisions:
        beyond = decision.decision is Verdict.REVIEW
        assert beyond == circumstances_of(decision.reasons).over_limit
    counted = [held.cents for standing, held in account(outside).values() if standing == 0]
    assert sum(counted) == 20 * 9_900
    assert len(account(outside)) == 200, "what is in review can still be let through"


async def test_a_declined_purchase_takes_nothing(tmp_path: Path) -> None:
    outside = outside_with_a_model(tmp_path)
    risky = body_of(1, customer={"tenure_days": 0, "credit_score_range": "poor"})
    (decision,) = await decided(outside, risky)
    assert decision.decision is Verdict.DECLINE
    assert [standing for standing, _ in account(outside).values()] == [Standing.RELEASED.value]


async def test_the_loser_of_a_race_leaves_the_winners_account(tmp_path: Path) -> None:
    outside = outside_with_a_model(tmp_path)
    checkout, body = outside.checkout(), bodies(1, 99.0)[0]
    answers = await asyncio.gather(*(checkout.decide(Question(body)) for _ in range(20)))
    assert len(set(answers)) == 1
    ((standing, held),) = account(outside).values()
    assert (standing, held.cents) == (0, 9_900)


async def test_the_reservation_of_a_purchase_that_is_never_recorded_ends(tmp_path: Path) -> None:
    outside = outside_with_a_model(tmp_path)
    outside.sender = FakeSender(refused_topics={TRANSACTIONS.name})
    checkout, body = outside.checkout(), bodies(1, 99.0)[0]
    with pytest.raises(Unavailable):
        await checkout.decide(Question(body))
    ((standing, _),) = account(outside).values()
    assert standing == NOW_MS + PENDING_MS
    outside.sender.refused_topics.clear()
    await checkout.decide(Question(body))
    ((standing, _),) = account(outside).values()
    assert standing == 0


async def test_a_claim_that_is_published_was_settled(tmp_path: Path) -> None:
    """Where the account can't be written, the claim stays unmarked: the stream then settles it, and marks it."""

    class Forgetful(FakeExposures):
        async def settle(self, decided: object) -> None:
            self.away = True
            await self._answer()

    outside = outside_with_a_model(tmp_path)
    outside.exposures = Forgetful()
    event = accepted(1, transaction_id="txn_0", amount=99.0).transaction.event_id
    await outside.checkout().decide(Question(bodies(1, 99.0)[0]))
    assert not outside.claims.held[event].published
    assert len(outside.sender.on(DECISIONS.name)) == 1


async def test_without_redis_nothing_is_reserved_and_the_fallback_answers() -> None:
    outside = Outside(claims=FakeClaims(away=True), exposures=FakeExposures(away=True))
    (decision,) = await decided(outside, bodies(1, 99.0)[0])
    assert decision.degraded == "state_unavailable"
    assert outside.exposures.accounts == {}


async def test_the_record_of_a_decision_tells_what_the_purchase_adds(tmp_path: Path) -> None:
    outside = outside_with_a_model(tmp_path)
    await decided(outside, bodies(1, 99.0)[0])
    (record,) = (record for record in outside.sender.sent if record.topic == DECISIONS.name)
    day = (NOW_MS - 60_000) // 86_400_000
    assert dict(record.headers)["ce_exposure"] == f"9900 {day} 14 4".encode()


async def test_the_standing_follows_from_the_decisions_own_bytes(tmp_path: Path) -> None:
    outside = outside_with_a_model(tmp_path)
    within, *_, beyond = await decided(outside, *bodies(30, 99.0))
    review = msgspec.structs.replace(within, decision=Verdict.REVIEW)
    decline = msgspec.structs.replace(within, decision=Verdict.DECLINE)
    found = [standing_of(encode(decision), 1_000) for decision in (within, review, decline, beyond)]
    until = epoch_micros(review.decided_at) // 1000 + 1_000 + DAY_MS
    assert found == [Standing.COUNTS, until, Standing.RELEASED, Standing.RELEASED]


async def test_whoever_publishes_a_claim_settles_it_first() -> None:
    outside = Outside()
    reserving = Reserving(outside.decider(), outside.exposures)
    placed = reserving.place(PARTITION, accepted().transaction)
    claim = Claim("event", bytes(16), b'{"decision":"approve","reasons":[]}')
    await reserving.settle([(placed, claim)])
    assert [standing for standing, _ in account(outside).values()] == [0]


class Interrupted(FakeSender):
    """The first decision isn't acknowledged in time; before that is known, something else happens."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> list[Any]:
        if self.meanwhile is not None and records[0].topic == DECISIONS.name:
            happens, self.meanwhile = self.meanwhile, None
            await happens()
            raise TransientError("not acknowledged in time")
        return await super().send_all(records, deadline_s=deadline_s)


async def by_rest(outside: Outside) -> None:
    await outside.checkout().decide(Question(bodies(1, 99.0)[0]))


async def by_stream(outside: Outside) -> None:
    changes: dict[str, Any] = {"transaction_id": "txn_0", "amount": 99.0, **SAFE}
    vector = a_vector(1, **changes)
    record: Any = ConsumerRecord(
        FEATURES.name, PARTITION, 0, NOW_MS, 0, vector.customer_id.encode(), encode(vector), None, 0, 0, []
    )
    await StreamDoor(
        outside.decider(),
        outside.claims,
        outside.sender,
        outside.exposures,
        confirm=ready,
        refusals=RefusalLimit(1, 0),
        halt_seconds=60,
        chunk_records=8,
    ).handle({TopicPartition(FEATURES.name, PARTITION): [record]})


async def ready() -> None:
    return None


@pytest.mark.parametrize("publish", [by_rest, by_stream])
async def test_a_checkout_that_gives_up_after_another_has_published_leaves_the_purchase_on_the_account(
    tmp_path: Path, publish: Callable[[Outside], Awaitable[None]]
) -> None:
    outside = outside_with_a_model(tmp_path)
    outside.sender = sender = Interrupted()
    sender.meanwhile = lambda: publish(outside)
    with pytest.raises(Unavailable):
        await by_rest(outside)
    (claim,) = outside.claims.held.values()
    assert claim.published
    assert [standing for standing, _ in account(outside).values()] == [0]


async def test_what_is_on_its_topic_counts_though_its_decision_was_told_to_nobody(tmp_path: Path) -> None:
    """The stream is bound to publish it: what comes meanwhile has to leave room for it."""
    outside = outside_with_a_model(tmp_path)
    outside.sender = FakeSender(refused_topics={DECISIONS.name})
    checkout = outside.checkout()
    for body in bodies(40, 99.0)[:20]:
        with pytest.raises(Unavailable):
            await checkout.decide(Question(body))
    assert [standing for standing, _ in account(outside).values()] == [Standing.COUNTS] * 20
    for body in bodies(40, 99.0)[20:]:
        with pytest.raises(Unavailable):
            await checkout.decide(Question(body))
    outside.sender.refused_topics.clear()
    assert sum(held.cents for standing, held in account(outside).values() if standing >= 0) == 20 * 9_900


async def test_what_was_claimed_a_while_ago_passes_the_limit_no_more_than_anything_else(tmp_path: Path) -> None:
    outside = outside_with_a_model(tmp_path)
    outside.sender = FakeSender(refused_topics={TRANSACTIONS.name})
    checkout, waves = outside.checkout(), (bodies(40, 99.0)[:20], bodies(40, 99.0)[20:])
    for wave in waves:
        for event, (_, held) in list(outside.exposures.accounts.get((PARTITION, "cust_000001"), {}).items()):
            account(outside)[event] = (NOW_MS - 1, held)  # a minute later
        for body in wave:
            with pytest.raises(Unavailable):
                await checkout.decide(Question(body))
    outside.sender.refused_topics.clear()
    for body in waves[1]:
        await checkout.decide(Question(body))
    for body in waves[0]:
        with pytest.raises(Unavailable) as later:
            await checkout.decide(Question(body))
        assert later.value.reason == "limit-reached"
    assert len(outside.sender.on(DECISIONS.name)) == 20
    assert sum(held.cents for standing, held in account(outside).values() if standing == 0) == 20 * 9_900


async def test_who_stood_still_after_his_claim_passes_the_limit_no_more_than_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = outside_with_a_model(tmp_path)

    class Paused(FakeClaims):
        """Before its answer is heard the reservation has ended, and others have taken its place."""

        async def claim(self, wanted: Sequence[Claim]) -> list[Claim]:
            held = await super().claim(wanted)
            account(outside).clear()
            account(outside)["another"] = (Standing.COUNTS.value, Reservation("another", 200_000, NOW_DAY, 14, 4))
            return held

    outside.claims = Paused()
    monkeypatch.setattr("services.scorer.checkout.SENDING_S", 60.0)  # so that no reservation is young enough
    with pytest.raises(Unavailable) as refused:
        await outside.checkout().decide(Question(bodies(1, 99.0)[0]))
    assert refused.value.reason == "limit-reached"
    assert outside.sender.sent == []


@pytest.mark.parametrize("door", [by_rest, by_stream])
async def test_what_was_reserved_on_accounts_that_may_be_empty_is_taken_back(
    tmp_path: Path, door: Callable[[Outside], Awaitable[None]]
) -> None:
    class Emptied(FakeClaims):
        async def claim(self, wanted: Sequence[Claim]) -> list[Claim]:
            raise IndexIncomplete("claims may be missing")

    outside = outside_with_a_model(tmp_path)
    outside.claims = Emptied()
    with suppress(TransientError):
        await door(outside)
    assert account(outside) == {}


async def test_a_caller_that_cannot_be_noted_gets_the_decision_all_the_same(tmp_path: Path) -> None:
    outside = outside_with_a_model(tmp_path)
    outside.askers.away = True
    answer = await outside.checkout().decide(Question(bodies(1, 99.0)[0], caller="shop", noted=True))
    (claim,) = outside.claims.held.values()
    assert (claim.decision, claim.published) == (answer, True)
