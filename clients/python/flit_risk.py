"""A client of Flit Risk's checkout door: one file, httpx alone. Install this folder, or copy the file.

    FlitRisk                the calls
    Decision                what was decided
    Problem(Exception)      a refusal; `status`, `reason`, `field`, `expected` as the service says them; of an update
                            also its `idempotency_key`
      Unavailable           nothing was answered in time: asking again later is safe, an update with its key

Every call may be sent again: one event has one decision, whichever request asked first, and one `Idempotency-Key` one
update. So a lost connection, 429, 502, 503, 504 (the service's own, or a proxy's) and the 409 of a request that is
still being answered are tried again, for as long as `patience_s` lasts. What is answered 200 and is none of the
service's answers is a Problem with the reason `answer`.

A Problem doesn't say that an update wasn't recorded: a proxy's 500, or half an answer, may stand for one that was.
Whoever asks for it again gives the Problem's `idempotency_key`, or a second cancellation or verdict may be recorded.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx

Verdict = Literal["approve", "review", "decline"]

MOST_IN_A_BATCH = 1000
SECONDS_FOR_ONE_IN_A_BATCH = 0.02
"""That a batch may take for each of its purchases, on a busy service."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
SHORTEST_ATTEMPT_S = 0.001
"""Where next to nothing is left of the patience: no time at all would be no timeout to httpx' transports."""
_LATER = frozenset({429, 502, 503, 504})
_NOT_FOUND = "not-found"


class Problem(Exception):
    """A refusal, as RFC 9457 problem details."""

    idempotency_key: str | None = None
    """Of an update, given or made: whoever asks for it again gives it, or it may be recorded a second time."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.status: int = body.get("status", 0)
        self.reason: str = body.get("reason", "")
        self.field: str = body.get("field", "")
        self.expected: str = body.get("expected", "")
        self.detail: str = body.get("detail", "")
        super().__init__(f"{self.status} {self.reason}: {self.detail}")


class Unavailable(Problem):
    """Not now: the service was away, overloaded or too slow for as long as the client's patience lasted."""


@dataclass(frozen=True)
class Decision:
    """Of one purchase. Fields that later releases add are left out."""

    event_id: str
    customer_id: str
    transaction_id: str
    decision: Verdict
    probability_of_default: float | None
    """Calibrated; None where no model was asked (`degraded` says why)."""
    expected_loss: float | None
    """In the purchase's currency."""
    reasons: list[dict[str, str]]
    """At most four, each with `code` and `text`; never empty on review or decline."""
    model_version: str
    policy_version: str
    variant: str
    degraded: str | None
    occurred_at: str
    decided_at: str

    @staticmethod
    def of(body: Any) -> Decision:
        """Raises Problem where it isn't a decision."""
        missing = [field.name for field in fields(Decision) if field.name not in _object(body)]
        if missing:
            raise _no_answer(f"a decision without {', '.join(missing)}")
        return Decision(**{field.name: body[field.name] for field in fields(Decision)})


class FlitRisk:
    """Use it as a context manager, and for many requests: connections are kept."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 2.0,
        patience_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`key`: from `python -m services.scorer new-key`; without one only the service's own machine may ask.
        `patience_s`: of a call with all of its attempts. `timeout_s`: of one attempt, and never more than what is left
        of the patience. httpx counts it anew for each phase of an attempt (connecting, sending, each wait for more of
        the answer), so that an attempt whose answer comes drop by drop may take longer than either."""
        if patience_s <= 0:
            raise ValueError("patience_s: more than 0; with a short one there is time for one attempt only")
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, transport=transport)
        self._timeout_s, self._patience_s = timeout_s, patience_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def decide(
        self, purchase: Mapping[str, Any], *, idempotency_key: str | None = None, deadline_ms: int | None = None
    ) -> Decision:
        """The purchase's decision. `deadline_ms`: of each attempt, shorter than the service's own. Raises Problem."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        if deadline_ms is not None:
            headers["Deadline-Ms"] = str(deadline_ms)
        return Decision.of(self._call("POST", "/v1/decisions", json=purchase, headers=headers))

    def decide_batch(self, purchases: Sequence[Mapping[str, Any]]) -> list[Decision | Problem]:
        """In the order of the purchases, of which there are at most `MOST_IN_A_BATCH`. One attempt may take as long as
        the batch needs, where that is longer than the client's patience. Raises Problem for the whole."""
        # Sent again while the first one is under way it would be a thousand purchases more to answer.
        timeout_s = max(self._timeout_s, SECONDS_FOR_ONE_IN_A_BATCH * len(purchases))
        answers = self._call("POST", "/v1/decisions/batch", json=list(purchases), timeout=timeout_s)
        if not isinstance(answers, list) or len(answers) != len(purchases):
            raise _no_answer(f"no list of {len(purchases)} answers")
        return [Decision.of(answer) if "decision" in _object(answer) else _told(answer) for answer in answers]

    def find(self, event_id: str) -> Decision | None:
        """The decision of an event, None where there is none (yet). Raises Problem."""
        found = self._find(f"/v1/decisions/{quote(event_id, safe='')}")
        return None if found is None else Decision.of(found)

    def explain(self, event_id: str) -> dict[str, Any] | None:
        """Every feature's value and contribution in log-odds, and the calibration. Raises Problem."""
        return self._find(f"/v1/decisions/{quote(event_id, safe='')}/explanation")

    def cancel(self, event_id: str, note: str | None = None, *, idempotency_key: str | None = None) -> dict[str, Any]:
        """The purchase was called off. An event without a decision (404 `not-found`) may have one in a moment, and is
        asked for as long as the client's patience lasts. Raises Problem."""
        return self._update(event_id, "cancel", {"note": note}, idempotency_key, later=_NOT_FOUND)

    def verdict(
        self,
        event_id: str,
        verdict: Literal["approve", "decline"],
        *,
        actor: str | None = None,
        note: str | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """A reviewer's; `adverse_action` in the answer is what a notice has to tell. Raises Problem."""
        return self._update(event_id, "verdict", {"verdict": verdict, "actor": actor, "note": note}, idempotency_key)

    def customer_features(self, customer_id: str) -> dict[str, Any] | None:
        """The customer's rolling features as of now, None for one who is not known. Raises Problem."""
        return self._find(f"/v1/customers/{quote(customer_id, safe='')}/features")

    def _update(
        self, event_id: str, what: str, body: Mapping[str, Any], key: str | None, *, later: str | None = None
    ) -> dict[str, Any]:
        said = {name: value for name, value in body.items() if value is not None}
        # Without a key each is an update of its own, and one that is sent again for want of an answer would be two.
        key = key or uuid.uuid4().hex
        path = f"/v1/decisions/{quote(event_id, safe='')}/{what}"
        try:
            return _object(self._call("POST", path, later=later, json=said, headers={"Idempotency-Key": key}))
        except Problem as problem:
            # Whoever answered, the service may have recorded it before.
            problem.idempotency_key = key
            raise

    def _find(self, path: str) -> dict[str, Any] | None:
        try:
            return _object(self._call("GET", path))
        except Problem as problem:
            if problem.reason == _NOT_FOUND:
                return None
            raise

    def _call(
        self, method: str, path: str, *, timeout: float | None = None, later: str | None = None, **request: Any
    ) -> Any:
        """`later`: the reason of a refusal that may pass as well. Raises Problem."""
        timeout_s = self._timeout_s if timeout is None else timeout
        patience_s = self._patience_s if timeout is None else max(self._patience_s, timeout)
        give_up_at, pause_s = time.monotonic() + patience_s, FIRST_PAUSE_S
        while True:
            request["timeout"] = min(timeout_s, max(SHORTEST_ATTEMPT_S, give_up_at - time.monotonic()))
            # Not all at the same moment again: those that were turned away together would come together.
            wait_s = pause_s * random.uniform(0.75, 1.25)
            try:
                answer = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                problem: Problem = Unavailable({"reason": "connection", "detail": str(error) or repr(error)})
            except httpx.DecodingError as error:
                raise _no_answer(str(error)) from error
            else:
                if answer.is_success:
                    return _read(answer)
                problem = _problem(answer)
                if not isinstance(problem, Unavailable) and problem.reason != later:
                    raise problem
                wait_s += _retry_after(answer)
            if time.monotonic() + wait_s > give_up_at:
                raise problem
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _retry_after(answer: httpx.Response) -> float:
    """Seconds. The service says them as a number; a proxy may say a date, which its clock and ours have to agree on:
    then our own pause has to do."""
    said = answer.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdecimal() else 0.0


def _read(answer: httpx.Response) -> Any:
    """Of a success. Raises Problem, for somebody else may have answered in the service's place."""
    try:
        return answer.json()
    except ValueError as error:
        raise _no_answer(f"{answer.headers.get('content-type', 'bytes')}, no JSON", answer.status_code) from error


def _object(body: Any) -> dict[str, Any]:
    """Raises Problem."""
    if not isinstance(body, dict):
        raise _no_answer("no JSON object")
    return body


def _no_answer(what: str, status: int = 200) -> Problem:
    return Problem({"status": status, "reason": "answer", "detail": f"answered with {what}"})


def _problem(answer: httpx.Response) -> Problem:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    # A proxy's body may be JSON as well, with a `status` of its own.
    return _told({"detail": answer.reason_phrase} | body | {"status": answer.status_code})


def _told(body: Mapping[str, Any]) -> Problem:
    """Of an answer, or of one of a batch: Unavailable where asking again is what helps."""
    later = body.get("status") in _LATER or body.get("reason") == "in-flight"
    return Unavailable(body) if later else Problem(body)
