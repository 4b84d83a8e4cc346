"""The REST door in a test's own process, and what its refusals look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from fastapi import FastAPI

from services.scorer.admission import Admission
from services.scorer.api import BodyLimits, UseCases, build_app
from services.scorer.checkout import Question
from services.scorer.door import Door
from services.scorer.keys import Access
from services.scorer.rate import Rate

URL = "/v1/decisions"
JSON = {"Content-Type": "application/json"}
LIMIT, BATCH_LIMIT = 65_536, 262_144
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

    async def find(self, event_id: str, asked_by: str | None, *, on_its_way: bool = False) -> bytes | None:
        self.looked_up.append((event_id, asked_by))
        if self._does is not None:
            self._does(Question(event_id.encode()))
        return None


def an_app(use_case: Any, access: Access | None = None, **more: Any) -> FastAPI:
    """`more`: the limits, and other use cases beside the one for single purchases."""
    places = more.pop("max_in_flight", 8)
    door = Door(
        access or Access(None),
        Admission(most=places, within_s=60.0),
        more.pop("rate", Rate(1000.0, 1000)),
        read_seconds=more.pop("read_seconds", 5.0),
        max_arriving=places,
        deadline_s=more.pop("deadline_s", 30.0),
    )
    limits = BodyLimits(more.pop("max_body_bytes", LIMIT), more.pop("max_batch_bytes", BATCH_LIMIT))
    ready = more.pop("ready", lambda: None)
    others = {name: more.pop(name, None) for name in ("batches", "explanations", "updates", "customers", "models")}
    assert not more, more
    return build_app(UseCases(use_case, **others), door, ready, limits)


def client_of(
    use_case: Any, access: Access | None = None, address: tuple[str, int] = LOOPBACK, **more: Any
) -> httpx.AsyncClient:
    app = an_app(use_case, access, **more)
    transport = httpx.ASGITransport(app, client=address, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


def assert_problem(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["reason"]) == (status, status, reason), body
    assert set(body) == {"type", "title", "status", "detail", "reason", "field", "expected"}
    assert body["type"] == f"urn:flit-risk:problem:{reason}"
    return body
