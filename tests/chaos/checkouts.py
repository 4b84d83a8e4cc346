"""Checkouts beside the stream, whatever happens: what each was told is what the topic says of its event ever after.

A claim that is lost with Redis and a decision that is made anew agree with each other, and with the ledger. Only
whoever was told something before knows better.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx
from aiokafka import TopicPartition

from services.ledger.log_reader import LogReader
from shared.contracts.topics import DECISIONS
from shared.deciding.pipeline import Degraded
from tests import factories
from tests.chaos.crowd import ADMITTED, TOLD_TO_COME_AGAIN

RATE = 5
"""A second: next to nothing beside the stream, and some are under way whatever is hit."""
OURS, REGULARS = "checkout-", 50
"""How the ids of their events begin, and how many customers they are of."""
PATIENCE_S = 30.0
PROVISIONAL = {Degraded.REBUILDING, Degraded.STATE_UNAVAILABLE}
NOTHING_READ = {"transactions": -1, "outcomes": -1}
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Told:
    digest: bytes
    """SHA-256 of the answer."""
    provisional: bool
    """It says of itself that it stands on no topic: the event is decided for good later."""


class Checkouts:
    """Asks while it is open. Use as an async context manager, of a system that runs."""

    def __init__(self, url: str, bootstrap_servers: str) -> None:
        self._url, self._bootstrap_servers = url, bootstrap_servers
        self._told: dict[str, Told] = {}
        self._odd: Counter[tuple[str | None, str]] = Counter()
        """Answers that no checkout may get, by the reason of a refusal."""
        self._decided: dict[str, bytes] = {}
        """Event id → SHA-256 of its first decision on the topic, of our own."""
        self._read: dict[TopicPartition, int] = {}

    async def __aenter__(self) -> Self:
        self._asking = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._asking

    def so_far(self) -> dict[str, Told]:
        """What was told until now, by event, and not asked about before."""
        told, self._told = self._told, {}
        return told

    async def unlike_the_topic(self, told: Mapping[str, Told], refusals: Collection[str] = ()) -> list[str]:
        """Which of these the topic belies, now that all is decided; of none told, that. `refusals`: reasons that a
        purchase may rightly have been refused for meanwhile. Raises KafkaError, TransientError."""
        if self._asking.done():  # it ends by an error alone
            self._asking.result()
        await self._read_on()
        found = judged(told, self._decided)
        found += [f"{count} checkouts got {what}" for (why, what), count in self._odd.items() if why not in refusals]
        self._odd.clear()
        return found

    async def _ask(self) -> None:
        """One each `1 / RATE` seconds, whatever becomes of those before it."""
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http, asyncio.TaskGroup() as calls:
            began, sent = time.monotonic(), 0
            while True:
                calls.create_task(self._call(http, sent))
                sent += 1
                await asyncio.sleep(max(0.0, began + sent / RATE - time.monotonic()))

    async def _call(self, http: httpx.AsyncClient, number: int) -> None:
        event_id, now_us = f"{OURS}{number}", int(time.time() * factories.SECOND_US)
        body = factories.transaction(
            number, t_us=now_us, event_id=event_id, source="checkouts", customer_id=f"regular-{number % REGULARS}"
        )
        try:
            answer = await http.post(f"{self._url}/v1/decisions", json=body)
        except httpx.TransportError:
            return  # cut off, or nobody there: who asks again gets the same, and nobody was told anything
        if answer.status_code == ADMITTED:
            decision = json.loads(answer.content)
            if decision["event_id"] != event_id:
                self._odd[None, "another purchase's decision"] += 1
            self._told[event_id] = Told(hashlib.sha256(answer.content).digest(), provisional(decision))
        elif answer.status_code not in TOLD_TO_COME_AGAIN:
            self._odd[reason_of(answer), f"{answer.status_code} {answer.text[:200]}"] += 1

    async def _read_on(self) -> None:
        """What has come onto the topic since the last time."""
        async with LogReader({"bootstrap_servers": self._bootstrap_servers}) as reader:
            ends = await reader.ends(DECISIONS.name)
            async for record in reader.read(ends, self._read):
                event_id = dict(record.headers)["ce_id"].decode()
                if event_id.startswith(OURS):
                    self._decided.setdefault(event_id, hashlib.sha256(record.value or b"").digest())
            self._read = ends


def reason_of(refusal: httpx.Response) -> str | None:
    """That it names, where it names one."""
    with contextlib.suppress(ValueError):
        body = refusal.json()
        return body.get("reason") if isinstance(body, dict) else None
    return None


def provisional(decision: Mapping[str, Any]) -> bool:
    """Whether an answer says of itself that it stands on no topic."""
    return decision["degraded"] in PROVISIONAL and decision["as_of"] == NOTHING_READ


def judged(told: Mapping[str, Told], decided: Mapping[str, bytes]) -> list[str]:
    """What was told and isn't so, some by name. `decided`: event id → digest of what the topic says."""
    lost = [event_id for event_id in told if event_id not in decided]
    belied = [
        event_id
        for event_id, answer in told.items()
        if not answer.provisional and event_id in decided and decided[event_id] != answer.digest
    ]
    found = [f"{len(names)} checkouts {what}: {names[:SHOWN]}" for what, names in (
        ("have no decision on the topic", lost), ("were told something else than the topic says", belied)
    ) if names]  # fmt: skip
    if all(answer.provisional for answer in told.values()):
        found.append(f"of {len(told)} checkouts none was given a decision for good")
    return found
