"""The REST door in a test's own process, and what its refusals look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from services.scorer.admission import Admission
from services.scorer.api import build_app
from services.scorer.checkout import Question
from services.scorer.keys import Access
from services.scorer.rate import Rate

URL = "/v1/decisions"
JSON = {"Content-Type": "application/json"}
LIMIT = 65_536
LOOPBACK, STRANGER = ("127.0.0.1", 5), ("192.0.2.7", 5)


class Asked:
    """A use case that does what it is told, and remembers what it was asked."""

    def __init__(self, does: Callable[[Question], Any] | None = None) -> None:
        self.questions: list[Question] = []
        self.looked_up: list[tuple[str, str | None]] = []
        self._does = does

    async def decide(self, question: Question) -> bytes:
        self.questions.append(question)
        if self._does is not None:
            self._does(question)
        return b'{"as": "it is" }'

    async def find(self, event_id: str, asked_by: str | None) -> bytes | None:
        self.looked_up.append((event_id, asked_by))
        if self._does is not None:
            self._does(Question(event_id.encode()))
        return None


def client_of(
    use_case: Any, access: Access | None = None, address: tuple[str, int] = LOOPBACK, **more: Any
) -> httpx.AsyncClient:
    places = more.pop("max_in_flight", 8)
    app = build_app(
        use_case,
        access or Access(None),
        more.pop("ready", lambda: None),
        max_body_bytes=LIMIT,
        read_seconds=more.pop("read_seconds", 5.0),
        max_arriving=places,
        admission=Admission(most=places, within_s=60.0),
        rate=more.pop("rate", Rate(1000.0, 1000)),
    )
    transport = httpx.ASGITransport(app, client=address, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


def assert_problem(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["reason"]) == (status, status, reason), body
    assert set(body) == {"type", "title", "status", "detail", "reason", "field", "expected"}
    assert body["type"] == f"urn:flit-risk:problem:{reason}"
    return body
