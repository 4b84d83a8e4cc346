"""What a request is told whose process ends before it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.scorer.server import Farewell

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/v1/decisions", "headers": []}


async def cut_off(app: ASGIApp) -> list[Message]:
    """What was sent to a caller whose request is cancelled in the middle."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    asking = asyncio.create_task(_asked(Farewell(app, asyncio.Event()), receive, send))
    await asyncio.sleep(0)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert asking.cancelled()
    return sent


async def _asked(app: ASGIApp, receive: Receive, send: Send) -> None:
    await app(dict(SCOPE), receive, send)


async def test_who_has_no_answer_yet_is_told_to_ask_again() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    head, body = await cut_off(app)
    assert head["status"] == 503
    assert {(b"retry-after", b"1"), (b"connection", b"close")} <= set(head["headers"])
    assert json.loads(body["body"])["reason"] == "deadline"


async def test_an_answer_that_has_begun_is_not_followed_by_another() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    assert [message["type"] for message in await cut_off(app)] == ["http.response.start"]
