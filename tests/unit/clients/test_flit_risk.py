from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import httpx
import pytest
from flit_risk import Decision, FlitRisk, Problem, Unavailable

from shared.contracts.events import Decision as OnTheTopic

PURCHASE = {"transaction_id": "1"}


def body() -> dict[str, Any]:
    return {field.name: None for field in fields(Decision)} | {"event_id": "1", "decision": "approve", "features": {}}


def problem(status: int, reason: str, **headers: str) -> httpx.Response:
    told = {"status": status, "reason": reason, "detail": "why", "field": "amount", "expected": "0 to 1"}
    return httpx.Response(status, json=told, headers=headers)


class Service:
    """Gives its answers one after the other, the last one for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited, on a clock of its own."""
    waited: list[float] = []
    monkeypatch.setattr("flit_risk.time.sleep", waited.append)
    monkeypatch.setattr("flit_risk.time.monotonic", lambda: sum(waited))
    return waited


def client(*answers: httpx.Response | Exception) -> tuple[FlitRisk, Service]:
    service = Service(*answers)
    return FlitRisk("http://risk", "flit_key", transport=httpx.MockTransport(service)), service


def test_a_decision_is_typed_and_later_fields_are_left_out() -> None:
    risk, service = client(httpx.Response(200, json=body() | {"new": 1}))
    with risk:
        decision = risk.decide(PURCHASE, idempotency_key="k", deadline_ms=100)
    assert (decision.event_id, decision.decision) == ("1", "approve")
    (request,) = service.requests
    assert json.loads(request.content) == PURCHASE
    told = {name: request.headers[name] for name in ("authorization", "idempotency-key", "deadline-ms")}
    assert told == {"authorization": "Bearer flit_key", "idempotency-key": "k", "deadline-ms": "100"}


def test_its_decision_has_fields_of_the_contracts() -> None:
    assert {field.name for field in fields(Decision)} <= set(OnTheTopic.__struct_fields__)


@pytest.mark.parametrize(
    "passing",
    [
        problem(503, "kafka-unavailable"),
        problem(429, "rate"),
        problem(409, "in-flight"),
        httpx.Response(502, text="<html>Bad Gateway</html>"),
        httpx.Response(503, json={"status": "error"}),
        httpx.Response(503, json={"status": {"code": 200}}),
        httpx.Response(504, headers={"Retry-After": "Wed, 01 Jul 2026 12:00:00 GMT"}),
        httpx.ConnectError("refused"),
    ],
)
def test_what_passes_is_tried_again(passing: httpx.Response | Exception, pauses: list[float]) -> None:
    risk, service = client(passing, passing, httpx.Response(200, json=body()))
    assert risk.decide(PURCHASE).decision == "approve"
    assert len(service.requests) == 3
    assert len({request.content for request in service.requests}) == 1
    assert 0 < pauses[0] < pauses[1]


def test_it_waits_as_long_as_it_is_told(pauses: list[float]) -> None:
    risk, _ = client(problem(503, "overloaded", **{"retry-after": "3"}), httpx.Response(200, json=body()))
    risk.decide(PURCHASE)
    assert 3 <= pauses[0] <= 3.1


def test_its_patience_ends(pauses: list[float]) -> None:
    risk, _ = client(problem(503, "overloaded", **{"retry-after": "1"}))
    with pytest.raises(Unavailable) as raised:
        risk.decide(PURCHASE)
    assert raised.value.reason == "overloaded"
    assert sum(pauses) <= 10.0


@pytest.mark.parametrize(
    ("status", "reason"), [(422, "conflict"), (400, "syntax"), (401, "unauthorized"), (403, "scope")]
)
def test_a_refusal_is_not_tried_again(status: int, reason: str, pauses: list[float]) -> None:
    risk, service = client(problem(status, reason))
    with pytest.raises(Problem) as raised:
        risk.decide(PURCHASE)
    assert not isinstance(raised.value, Unavailable)
    assert (raised.value.status, raised.value.reason, raised.value.field) == (status, reason, "amount")
    assert (len(service.requests), pauses) == (1, [])


def test_an_answer_that_is_no_problem_details_is_a_problem_all_the_same() -> None:
    risk, _ = client(httpx.Response(418, text="<html>"))
    with pytest.raises(Problem) as raised:
        risk.decide(PURCHASE)
    assert raised.value.status == 418


def test_a_batch_gives_decisions_and_problems_in_order() -> None:
    refused = {"status": 422, "reason": "range", "detail": "", "field": "amount", "expected": ""}
    risk, service = client(httpx.Response(200, json=[body(), refused, body()]))
    first, second, third = risk.decide_batch([PURCHASE] * 3)
    assert isinstance(second, Problem)
    assert (first, second.reason) == (third, "range")
    assert service.requests[0].url.path == "/v1/decisions/batch"


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda risk: risk.find("a/b"), "/v1/decisions/a%2Fb"),
        (lambda risk: risk.explain("1"), "/v1/decisions/1/explanation"),
        (lambda risk: risk.customer_features("1"), "/v1/customers/1/features"),
    ],
)
def test_what_is_not_there_is_none(call: Callable[[FlitRisk], Any], path: str) -> None:
    risk, service = client(problem(404, "not-found"))
    assert call(risk) is None
    assert service.requests[0].url.raw_path.decode() == path


def test_updates_say_what_they_were_given_and_no_more() -> None:
    risk, service = client(httpx.Response(202, json={"update_id": "1"}))
    risk.cancel("1")
    risk.verdict("1", "decline", actor="anna", idempotency_key="k")
    assert [json.loads(request.content) for request in service.requests] == [
        {},
        {"verdict": "decline", "actor": "anna"},
    ]
    assert service.requests[1].headers["idempotency-key"] == "k"


def test_an_update_that_is_sent_again_is_the_same_update() -> None:
    risk, service = client(problem(503, "state-unavailable", **{"Retry-After": "0"}), httpx.Response(202, json={}))
    risk.verdict("1", "decline")
    risk.verdict("1", "approve")
    first, again, other = (request.headers["idempotency-key"] for request in service.requests)
    assert first == again != other


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, text="<html>Internal Server Error</html>"),
        httpx.Response(200, content=b'{"update_id": "1", "kin'),
        httpx.Response(200, json=["update"]),
        problem(422, "conflict"),
        problem(404, "not-found"),
        problem(503, "state-unavailable"),
        httpx.ReadTimeout("late"),
        httpx.DecodingError("no gzip"),
    ],
)
@pytest.mark.parametrize(
    "update",
    [
        lambda risk, key: risk.cancel("1", idempotency_key=key),
        lambda risk, key: risk.verdict("1", "decline", idempotency_key=key),
    ],
    ids=["cancel", "verdict"],
)
def test_whatever_an_update_met_it_can_be_asked_for_again_as_the_same_one(
    update: Callable[[FlitRisk, str | None], Any], answer: httpx.Response | Exception, pauses: list[float]
) -> None:
    risk, service = client(answer)
    key = None
    for _ in range(2):
        with pytest.raises(Problem) as raised:
            update(risk, key)
        key = raised.value.idempotency_key
    assert {request.headers["idempotency-key"] for request in service.requests} == {key}


def test_a_problem_of_what_is_no_update_has_no_key() -> None:
    risk, _ = client(problem(400, "syntax"))
    with pytest.raises(Problem) as raised:
        risk.decide(PURCHASE)
    assert raised.value.idempotency_key is None


def timeouts(service: Service) -> list[float]:
    return [request.extensions["timeout"]["read"] for request in service.requests]


def test_an_attempt_takes_no_longer_than_what_is_left_of_the_patience(pauses: list[float]) -> None:
    service = Service(problem(503, "overloaded", **{"Retry-After": "2"}))
    risk = FlitRisk("http://risk", timeout_s=3.0, patience_s=5.0, transport=httpx.MockTransport(service))
    with pytest.raises(Unavailable):
        risk.decide(PURCHASE)
    first, second, third = timeouts(service)
    assert first == 3.0 and second == pytest.approx(5.0 - pauses[0]) and third == pytest.approx(5.0 - sum(pauses))


def test_a_batch_has_the_time_that_it_needs(pauses: list[float]) -> None:
    risk, service = client(httpx.Response(200, json=[body()] * 1000))
    assert len(risk.decide_batch([PURCHASE] * 1000)) == 1000
    assert timeouts(service) == [20.0]


def test_no_patience_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="patience_s"):
        FlitRisk("http://risk", patience_s=0)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>Sign in</html>", headers={"Content-Type": "text/html"}),
        httpx.Response(200, content=b"\xff"),
        httpx.Response(200, json=[body()]),
        httpx.Response(200, json="approve"),
        httpx.Response(200, json={name: value for name, value in body().items() if name != "reasons"}),
        httpx.Response(204),
    ],
)
def test_a_success_that_is_no_decision_is_a_problem(answer: httpx.Response) -> None:
    risk, service = client(answer)
    for call in (risk.decide, lambda _: risk.find("1")):
        with pytest.raises(Problem) as raised:
            call(PURCHASE)
        assert raised.value.reason == "answer" and not isinstance(raised.value, Unavailable)
    assert len(service.requests) == 2, "it was the answer: asked again it would be the same"


@pytest.mark.parametrize("answers", [{}, [], [body(), body()], ["decision"], [{"decision": "approve"}]])
def test_a_success_that_answers_no_batch_is_a_problem(answers: Any) -> None:
    risk, _ = client(httpx.Response(200, json=answers))
    with pytest.raises(Problem, match="answer"):
        risk.decide_batch([PURCHASE])


def test_an_answer_that_cannot_be_unpacked_is_a_problem() -> None:
    risk, _ = client(httpx.Response(200, stream=httpx.ByteStream(b"no gzip"), headers={"Content-Encoding": "gzip"}))
    with pytest.raises(Problem, match="answer"):
        risk.decide(PURCHASE)


def test_a_cancellation_waits_for_the_decision(pauses: list[float]) -> None:
    risk, service = client(problem(404, "not-found"), problem(404, "not-found"), httpx.Response(202, json={"a": 1}))
    assert risk.cancel("1") == {"a": 1}
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 1
    never, _ = client(problem(404, "not-found"))
    with pytest.raises(Problem) as raised:
        never.cancel("1")
    assert (raised.value.status, raised.value.reason) == (404, "not-found")
    assert sum(pauses) > 7.5, "the last pause, which would have been too long, takes at most 2.5 s"


def test_a_verdict_waits_for_none(pauses: list[float]) -> None:
    risk, _ = client(problem(404, "not-found"))
    with pytest.raises(Problem):
        risk.verdict("1", "approve")
    assert pauses == []


def test_of_a_batch_what_may_be_asked_again_says_so() -> None:
    items = [{"status": status, "reason": reason} for status, reason in ((503, "pending"), (422, "range"))]
    risk, _ = client(httpx.Response(200, json=items))
    assert [type(answer) for answer in risk.decide_batch([PURCHASE, PURCHASE])] == [Unavailable, Problem]
