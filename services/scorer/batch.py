"""Many purchases in one request: each decided as it would be alone, the answers in the order of the questions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import structlog

from services.scorer.checkout import Checkout, Question, Unavailable
from services.scorer.door import problem_of
from services.scorer.idempotency import KeyGuard
from services.scorer.metrics import CHECKOUTS, SERVICE
from services.scorer.problems import body_of
from shared.contracts.rejections import MALFORMED, Rejection, RejectionReason
from shared.contracts.wire import text_of
from shared.telemetry.metrics import INPUT_WARNINGS

log = structlog.get_logger()

MOST = 1000
AT_ONCE = 16
"""Of one batch. More are no faster, and a checkout beside it would wait for them."""

_EXPECTED = f"a JSON array of 1 to {MOST} transactions"
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


class Batch:
    def __init__(self, checkout: Checkout, keys: KeyGuard) -> None:
        self._checkout = checkout
        self._keys = keys

    def split(self, body: bytes) -> list[bytes]:
        """The bytes of each purchase. What is in them is not looked at yet. Raises `Rejection`."""
        body, warnings = text_of(body, _EXPECTED)
        for rule in warnings:
            INPUT_WARNINGS.labels(SERVICE, rule.value).inc()
        try:
            parts = _ARRAY.decode(body)
        except msgspec.ValidationError:
            raise Rejection(RejectionReason.SHAPE, "", _EXPECTED) from None
        except RecursionError:
            raise Rejection(RejectionReason.DEPTH, "", _EXPECTED, status=MALFORMED) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Rejection(RejectionReason.SYNTAX, "", f"{_EXPECTED}: {error}", status=MALFORMED) from None
        if not 1 <= len(parts) <= MOST:
            raise Rejection(RejectionReason.SIZE, "", f"{_EXPECTED}, got {len(parts)}")
        return [bytes(part) for part in parts]

    async def decide(self, question: Question, purchases: Sequence[bytes]) -> bytes:
        """A JSON array of decisions and problems.

        Raises `Rejection` (conflict) for a key that was used with another batch, InFlight for one whose first request
        isn't answered.
        """
        fingerprint = hashlib.sha256(question.body).digest()[:16]
        async with self._keys.held(question.caller, question.idempotency_key, fingerprint):
            return b"[" + b",".join(await self._all(question, purchases)) + b"]"

    async def _all(self, question: Question, purchases: Sequence[bytes]) -> list[bytes]:
        answers: list[bytes] = [b""] * len(purchases)
        waiting = iter(enumerate(purchases))
        away: list[Unavailable] = []

        async def work() -> None:
            for number, purchase in waiting:
                alone = replace(question, body=purchase, idempotency_key=None)
                try:
                    # Where Kafka is away, the others would each wait for it as long as the first one did.
                    if away:
                        raise away[0]
                    answers[number] = await self._checkout.decide(alone)
                    CHECKOUTS.labels("200").inc()
                except (Rejection, Unavailable) as error:
                    if isinstance(error, Unavailable) and error.reason == "kafka-unavailable":
                        away.append(error)
                    problem = problem_of(error)
                    CHECKOUTS.labels(str(problem.status)).inc()
                    answers[number] = body_of(problem)

        await asyncio.gather(*(work() for _ in range(min(AT_ONCE, len(purchases)))))
        return answers
