from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest

from services.scorer.checkout import Question, Unavailable
from services.scorer.idempotency import InFlight
from services.scorer.metrics import CHECKOUTS
from shared.contracts.rejections import RejectionReason
from shared.contracts.topics import DECISIONS
from tests.unit.scorer.fakes import FakeSender, FakeStates, Outside
from tests.unit.scorer.parts import a_purchase, accepted, body_of
from tests.unit.scorer.rest import JSON, URL, Asked, assert_problem, client_of


@pytest.fixture
async def client(outside: Outside) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(outside.checkout()) as found:
        yield found


async def test_the_answer_is_the_decisions_own_bytes(client: httpx.AsyncClient, outside: Outside) -> None:
    answer = await client.post(URL, content=body_of(), headers=JSON)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert outside.sender.on(DECISIONS.name) == [answer.content]
    found = await client.get(f"{URL}/{accepted().transaction.event_id}")
    assert (found.status_code, found.content) == (200, answer.content)


async def test_bytes_pass_through_as_they_are() -> None:
    async with client_of(Asked()) as client:
        assert (await client.post(URL, content=b"{}", headers=JSON)).content == b'{"as": "it is" }'


async def test_the_same_event_with_another_body_is_a_conflict(client: httpx.AsyncClient) -> None:
    await client.post(URL, content=body_of(event_id="one"), headers=JSON)
    assert_problem(await client.post(URL, content=body_of(event_id="one", amount=1), headers=JSON), 422, "conflict")


async def test_the_same_key_with_another_body_is_a_conflict(client: httpx.AsyncClient) -> None:
    headers = JSON | {"Idempotency-Key": "k-1"}
    assert (await client.post(URL, content=body_of(1), headers=headers)).status_code == 200
    problem = assert_problem(await client.post(URL, content=body_of(2), headers=headers), 422, "conflict")
    assert problem["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("key", "status", "reason"), [("k" * 129, 422, "length"), ("", 422, "length"), ("a\tb", 422, "control")]
)
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, key: str, status: int, reason: str) -> None:
    answer = await client.post(URL, content=body_of(), headers=JSON | {"Idempotency-Key": key})
    assert_problem(answer, status, reason)


async def test_two_keys_at_once_are_refused(client: httpx.AsyncClient) -> None:
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert_problem(await client.post(URL, content=body_of(), headers=headers), 400, "duplicate-key")


@pytest.mark.parametrize("name", ["Host", "Authorization", "Content-Type", "Schema-Version", "Idempotency-Key"])
async def test_what_says_who_asks_or_how_the_body_is_meant_is_sent_once(name: str) -> None:
    use_case = Asked()
    given = {"Host": "localhost", "Authorization": "Bearer a", "Content-Type": "application/json"}
    own = given.get(name, "1")
    headers = [*((JSON | {name: own}).items()), (name, own)]
    async with client_of(use_case) as client:
        answer = await client.post(URL, content=b"{}", headers=headers)
    assert assert_problem(answer, 400, "duplicate-key")["field"] == name
    assert use_case.questions == []


def raising(error: Exception) -> Callable[[Question], None]:
    def does(_: Question) -> None:
        raise error

    return does


@pytest.mark.parametrize(
    ("error", "status", "reason", "retry"),
    [
        (InFlight(), 409, "in-flight", "1"),
        (Unavailable("kafka-unavailable", "away", retry_after_s=3), 503, "kafka-unavailable", "3"),
        (Unavailable("pending", "not yet"), 503, "pending", "1"),
        (RuntimeError("a secret"), 500, "internal", None),
    ],
)
async def test_what_the_use_case_cannot_answer_is_a_problem(
    error: Exception, status: int, reason: str, retry: str | None
) -> None:
    async with client_of(Asked(raising(error))) as client:
        answer = await client.post(URL, content=b"{}", headers=JSON)
    assert_problem(answer, status, reason)
    assert answer.headers.get("retry-after") == retry
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, 200), (InFlight(), 409), (Unavailable("pending", "not yet"), 503), (RuntimeError("ours"), 500)],
)
async def test_checkouts_are_counted_by_what_they_are_answered_and_others_are_not(
    error: Exception | None, status: int
) -> None:
    def counted() -> dict[str, float]:
        (metric,) = CHECKOUTS.collect()
        return {sample.labels["status"]: sample.value for sample in metric.samples if sample.name.endswith("_total")}

    async with client_of(Asked(raising(error) if error else None)) as client:
        before = counted()
        await client.post(URL, content=b"{}", headers=JSON)
        after = counted()
        assert after == {**before, str(status): before.get(str(status), 0.0) + 1}
        await client.get(f"{URL}/one")
        assert counted() == after


async def test_without_redis_the_answer_is_200_and_says_that_it_is_degraded() -> None:
    async with client_of(Outside(states=FakeStates(away=True)).checkout()) as client:
        answer = await client.post(URL, content=body_of(), headers=JSON)
    assert (answer.status_code, answer.json()["degraded"]) == (200, "state_unavailable")


async def test_without_kafka_the_answer_is_503_with_retry_after() -> None:
    outside = Outside(sender=FakeSender(refused_topics={DECISIONS.name}))
    async with client_of(outside.checkout()) as client:
        answer = await client.post(URL, content=body_of(), headers=JSON)
    assert_problem(answer, 503, "kafka-unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_beyond_the_limit_of_requests_at_once_the_answer_is_503_at_once() -> None:
    class Slow(Asked):
        def __init__(self) -> None:
            super().__init__()
            self.full, self.go_on = asyncio.Event(), asyncio.Event()

        async def decide(self, question: Question) -> bytes:
            self.questions.append(question)
            if len(self.questions) == 2:
                self.full.set()
            await self.go_on.wait()
            return b"{}"

    slow = Slow()
    async with client_of(slow, max_in_flight=2) as client:
        first = [asyncio.create_task(client.post(URL, content=b"{}", headers=JSON)) for _ in range(2)]
        await slow.full.wait()
        answer = await client.post(URL, content=b"{}", headers=JSON)
        assert_problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        slow.go_on.set()
        assert [answer.status_code for answer in await asyncio.gather(*first)] == [200, 200]
        assert (await client.post(URL, content=b"{}", headers=JSON)).status_code == 200


class Slow(Asked):
    """Answers once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on, self.finished = asyncio.Event(), asyncio.Event()

    async def decide(self, question: Question) -> bytes:
        await self.go_on.wait()
        self.finished.set()
        return b"{}"


@pytest.mark.parametrize("own", [None, "40"])
async def test_what_is_not_answered_in_time_is_told_so_and_finished_all_the_same(own: str | None) -> None:
    slow = Slow()
    headers = JSON if own is None else JSON | {"Deadline-Ms": own}
    async with client_of(slow, deadline_s=0.04 if own is None else 30.0) as client:
        answer = await client.post(URL, content=body_of(), headers=headers)
        assert_problem(answer, 503, "deadline")
        assert answer.headers["retry-after"] == "1"
        slow.go_on.set()
        await slow.finished.wait()


async def test_what_is_not_answered_in_time_keeps_its_place_until_it_is_done() -> None:
    slow = Slow()
    headers = JSON | {"Deadline-Ms": "1"}
    async with client_of(slow, max_in_flight=2) as client:
        reasons = [(await client.post(URL, content=body_of(), headers=headers)).json()["reason"] for _ in range(4)]
        assert reasons == ["deadline", "deadline", "overloaded", "overloaded"]
        slow.go_on.set()
        await slow.finished.wait()
        await asyncio.sleep(0)
        assert (await client.post(URL, content=body_of(), headers=JSON)).status_code == 200


async def test_a_shorter_deadline_of_the_service_stands() -> None:
    async with client_of(Slow(), deadline_s=0.02) as client:
        answer = await client.post(URL, content=body_of(), headers=JSON | {"Deadline-Ms": "60000"})
        assert_problem(answer, 503, "deadline")


@pytest.mark.parametrize(
    "value", ["0", "-1", "1.5", "60001", "x", "", "9" * 30, f"{10:09}{0:0400}", "1" * 5000, "\u0663"]
)
async def test_a_deadline_that_is_none_is_refused(value: str) -> None:
    headers = [*JSON.items(), ("Deadline-Ms", value.encode())]
    async with client_of(Asked()) as client:
        answer = await client.post(URL, content=body_of(), headers=headers)  # type: ignore[arg-type]
        assert assert_problem(answer, 422, "range")["field"] == "Deadline-Ms"


@pytest.mark.parametrize("event_id", ["shop/4711", "a/explanation", "/", "a//b/", "a%2Fb", "x\u00e9/\u20ac"])
async def test_an_id_may_hold_slashes(event_id: str) -> None:
    asked = Asked()
    async with client_of(asked) as client:
        assert_problem(await client.get(f"{URL}/{quote(event_id, safe='')}"), 404, "not-found")
    assert [event for event, _ in asked.looked_up] == [event_id]


@pytest.mark.parametrize("path", [URL, f"{URL}/x"])
async def test_query_parameters_are_refused(client: httpx.AsyncClient, path: str) -> None:
    call = client.get(path + "?a=1&a=2") if path != URL else client.post(path + "?a=1", content=b"{}", headers=JSON)
    assert_problem(await call, 400, "query")


@pytest.mark.parametrize(
    ("event_id", "status", "reason"),
    [
        ("unknown", 404, "not-found"),
        ("x" * 129, 422, "length"),
        ("%00", 422, "control"),
        ("%E2%80%AE", 422, "unicode"),
        ("..%2F..%2Fetc", 404, "not-found"),
    ],
)
async def test_an_event_that_is_none_is_not_found(
    client: httpx.AsyncClient, event_id: str, status: int, reason: str
) -> None:
    assert_problem(await client.get(f"{URL}/{event_id}"), status, reason)


async def test_a_lookup_without_redis_says_so() -> None:
    async with client_of(Asked(raising(Unavailable("state-unavailable", "away")))) as client:
        assert_problem(await client.get(f"{URL}/one"), 503, "state-unavailable")


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [("GET", "/nowhere", 404, "not-found"), ("PUT", URL, 405, "method"), ("DELETE", f"{URL}/x", 405, "method")],
)
async def test_the_frameworks_own_refusals_have_the_same_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int, reason: str
) -> None:
    assert_problem(await client.request(method, path), status, reason)


async def test_no_answer_about_a_purchase_is_kept_on_its_way(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.post(URL, content=body_of(), headers=JSON),
        await client.get(f"{URL}/{accepted().transaction.event_id}"),
        await client.post(URL, content=b"{", headers=JSON),
        await client.get(f"{URL}/unknown"),
    ):
        assert answer.headers["cache-control"] == "no-store", answer.status_code
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("trace", "kept"), [("00-" + "a" * 32 + "-" + "b" * 16 + "-01", True), ("00-x\r\ny", False), ("junk", False)]
)
async def test_only_a_real_trace_is_passed_on(trace: str, kept: bool) -> None:
    use_case = Asked()
    async with client_of(use_case) as client:
        await client.post(URL, content=b"{}", headers=JSON | {"traceparent": trace})
    assert use_case.questions[0].traceparent == (trace if kept else None)


async def test_the_description_fits_what_is_sent_and_what_is_answered(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert {"/v1/decisions", "/v1/decisions/{event_id}", "/live", "/ready"} <= set(document["paths"])

    def valid(name: str, body: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(body)

    valid("TransactionRequest", a_purchase())
    valid("Decision", (await client.post(URL, content=body_of(), headers=JSON)).json())
    valid("Problem", (await client.post(URL, content=b"{", headers=JSON)).json())
    for reason in RejectionReason:
        assert reason.value in document["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"]


async def test_the_page_for_people_says_all_and_loads_nothing_from_anywhere(client: httpx.AsyncClient) -> None:
    document, page = (await client.get("/openapi.json")).json(), await client.get("/docs")
    assert page.status_code == 200
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in page.text
    for name in document["components"]["schemas"]:
        assert f"id='{name}'" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    loads = re.findall(r"<(?:script|link|img|iframe|form)|src=|on\w+=|href='([^'#]+)", page.text)
    assert loads == ["/openapi.json"]
