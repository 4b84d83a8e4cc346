"""The catalogue of bad inputs at the REST door of a running scorer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from services.scorer.keys import Scope, new_key
from shared.contracts import topics
from shared.contracts.rejections import InputWarning
from tests.bad_inputs.doors import PAIRS, REQUESTS
from tests.bad_inputs.purchases import PURCHASES
from tests.bad_inputs.rows import BadInput, BadRequest, Subject
from tests.factories import SECOND_US
from tests.integration.scorer.conftest import Rig, Scorer

FUTURE = {"LIMITS__MAX_FUTURE_SECONDS": "300"}
JSON = {"Content-Type": "application/json"}
INJECTED = b"GET /v1/decisions/x HTTP/1.1\r\nHost: h\r\nTraceparent: 00-a\r\n b\r\nX-A: 1\x00\r\n\r\n"


def subject(number: int) -> Subject:
    """Of a row: nobody else's event. Its time is the clock's: REST has no other to measure the future against."""
    return Subject(5_000_000 + number * 10, f"cust_{number:06d}", int(time.time()) * SECOND_US)


async def ask(http: httpx.AsyncClient, scorer: Scorer, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return await http.post(f"{scorer.url}/v1/decisions", content=body, headers=JSON | headers)


async def test_every_bad_body_gets_the_stated_answer_and_only_good_ones_a_decision(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    warnings: Counter[InputWarning] = Counter()
    accepted = set()
    async with rig.scorer(**FUTURE) as scorer:
        for number, bad in enumerate(PURCHASES):
            one = subject(number)
            marks = {} if bad.schema_version is None else {"Schema-Version": bad.schema_version}
            answer = await ask(http, scorer, bad.make(one), marks)
            assert_stated(answer, bad)
            warnings.update(bad.warnings)
            if bad.reason is None:
                accepted.add(answer.json()["event_id"])
        for warning, count in warnings.items():
            sample = f'flit_input_warnings_total{{rule="{warning.value}",service="scorer"}}'
            assert scorer.metric(sample) == count, warning
        assert_nothing_broke(rig, scorer)
    decided = {
        dict(record.headers)["ce_id"].decode()
        for record in await rig.records(topics.DECISIONS.name)
        if dict(record.headers)["ce_id"].startswith(b"event-5")
    }
    assert decided == accepted


def assert_stated(answer: httpx.Response, bad: BadInput) -> None:
    assert answer.status_code == bad.status, (bad, answer.text)
    if bad.reason is None:
        assert answer.json()["decision"] in ("approve", "review", "decline")
        return
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["reason"], problem.get("field") or "", problem["status"]) == (
        bad.reason.value,
        bad.field,
        bad.status,
    ), bad


async def test_every_bad_request_gets_the_stated_answer(rig: Rig, http: httpx.AsyncClient) -> None:
    async with rig.scorer(**FUTURE) as scorer:
        for number, bad in enumerate(REQUESTS):
            answer = await send(http, scorer, bad, subject(1_000 + number))
            assert answer.status_code == bad.status, (bad, answer.text)
            assert answer.json()["reason"] == bad.reason, bad
            assert answer.headers["content-type"] == "application/problem+json"
        assert_nothing_broke(rig, scorer)


async def send(http: httpx.AsyncClient, scorer: Scorer, bad: BadRequest, one: Subject) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        body = bad.body(one)
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    content = pieces() if bad.chunked else bad.body(one) if bad.method == "POST" else None
    return await http.request(bad.method, scorer.url + bad.path, content=content, headers=JSON | dict(bad.headers))


async def test_the_second_of_two_bodies_of_one_event_gets_the_first_ones_decision_or_a_refusal(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    async with rig.scorer(**FUTURE) as scorer:
        for number, pair in enumerate(PAIRS):
            first, second = pair.make(subject(2_000 + number))
            one, other = await ask(http, scorer, first, {}), await ask(http, scorer, second, {})
            assert one.status_code == 200, pair
            assert other.status_code == pair.status, (pair, other.text)
            if pair.reason is not None:
                assert other.json()["reason"] == pair.reason.value
            if pair.repeated:
                assert other.content == one.content, pair


async def test_headers_cannot_be_injected_and_a_broken_request_ends_only_its_connection(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    async with rig.scorer(**FUTURE) as scorer:
        address = httpx.URL(scorer.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(INJECTED)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400")
        writer.close()
        trace = {"Traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01 x"}
        assert (await ask(http, scorer, subject(3_000).purchase(), trace)).status_code == 200
        assert_nothing_broke(rig, scorer)


async def test_beyond_a_keys_rate_the_answer_is_429_with_the_time_to_wait_and_other_keys_go_on(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    (hasty, hasty_line), (other, other_line) = (new_key(owner, list(Scope)) for owner in ("hasty", "other"))
    (rig.folder / "keys").write_text(f"{hasty_line} rate=0.01 burst=2\n{other_line}\n")
    async with rig.scorer(**FUTURE, SCORER__API_KEYS_FILE=str(rig.folder / "keys")) as scorer:
        body = subject(4_000).purchase()
        answers = [await ask(http, scorer, body, {"Authorization": f"Bearer {hasty}"}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert answers[-1].json()["reason"] == "rate"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 100
        assert (await ask(http, scorer, body, {"Authorization": f"Bearer {other}"})).content == answers[0].content
        assert_nothing_broke(rig, scorer)


def assert_nothing_broke(rig: Rig, scorer: Scorer) -> None:
    assert scorer.process.running
    logs = "".join(path.read_text() for path in Path(rig.folder).glob("scorer-*.log"))
    assert "Traceback" not in logs
    assert "request_failed" not in logs
