"""What the log says of a refused request."""

from __future__ import annotations

import httpx
import pytest
import structlog

from tests.unit.scorer.rest import JSON, LOOPBACK, STRANGER, URL, Asked, an_app

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("caller", "trace", "status", "logged"),
    [
        pytest.param(LOOPBACK, TRACE, 400, True, id="a caller's"),
        pytest.param(LOOPBACK, "junk", 400, False, id="no trace"),
        pytest.param(STRANGER, TRACE, 403, False, id="a stranger's"),
    ],
)
async def test_the_trace_is_in_the_log_and_not_in_the_answer(
    caller: tuple[str, int], trace: str, status: int, logged: bool
) -> None:
    transport = httpx.ASGITransport(app=an_app(Asked()), client=caller)
    with structlog.testing.capture_logs() as lines:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answer = await client.post(f"{URL}?a=b", content=b"{}", headers=JSON | {"traceparent": trace})
    assert answer.status_code == status
    told = [line["trace_id"] for line in lines if line["event"] == "problem_answered"]
    assert told == ([TRACE_ID] if logged else [])
    assert TRACE_ID not in answer.text and all(TRACE_ID not in value for value in answer.headers.values())
