"""The scorer's REST door: what is asked with the console's own key, and what is changed with an operator's.

ScorerAway       no answer, or not now
ScorerRefused    a refusal; `status`, `reason` as the scorer says them
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any
from urllib.parse import quote

import httpx

TIMEOUT_S = 5.0
"""Of one call. A promotion loads and tries the model first, which takes a second or two."""


class ScorerAway(Exception):
    """The text is for people."""


class ScorerRefused(Exception):
    """The text is for people."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


class Standing(Enum):
    """What a key is good for, as far as can be told without changing anything."""

    ADMINISTRATOR = "administrator"
    OTHER = "other"
    """A known key of other scopes: whether `review` is among them shows when it is used."""
    UNKNOWN = "unknown"


class Scorer:
    """May be used from several threads. A key is sent as a header and kept nowhere."""

    def __init__(self, url: str, key: str | None, transport: httpx.BaseTransport | None = None) -> None:
        """`key`: of the console itself, with the scope `read`, where the door wants one."""
        self._key = key
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, transport=transport)

    def check(self) -> None:
        """Whether it answers at all. Raises ScorerAway."""
        self._call("GET", "/live", None)

    def decision(self, event_id: str) -> dict[str, Any] | None:
        """As it is on the topic. None where the scorer knows none (any more). Raises ScorerAway, ScorerRefused."""
        return self._find(_decision(event_id))

    def explanation(self, event_id: str) -> dict[str, Any] | None:
        """None where the scorer knows no such decision (any more). Raises ScorerAway, ScorerRefused."""
        return self._find(f"{_decision(event_id)}/explanation")

    def standing(self, key: str) -> Standing:
        """Raises ScorerAway."""
        try:
            self._call("GET", "/v1/models", key)
        except ScorerRefused as refused:
            return Standing.OTHER if refused.reason == "scope" else Standing.UNKNOWN
        return Standing.ADMINISTRATOR

    def verdict(self, event_id: str, verdict: str, *, actor: str | None, note: str | None, key: str) -> dict[str, Any]:
        """The update as it was recorded. The same verdict sent twice is one; another one after it, whoever gave the
        first, is refused (`conflict`). Raises ScorerAway, ScorerRefused."""
        said = {"verdict": verdict} | ({"actor": actor} if actor else {}) | ({"note": note} if note else {})
        return self._update(event_id, "verdict", said, key, {"If-None-Match": "*"})

    def cancel(self, event_id: str, *, note: str | None, key: str) -> dict[str, Any]:
        """Raises ScorerAway, ScorerRefused."""
        return self._update(event_id, "cancel", {"note": note} if note else {}, key)

    def promote(self, version: str, *, instead_of: str | None, key: str) -> dict[str, Any]:
        """The pointers afterwards. Refused where another model than `instead_of` is in service by now. Raises
        ScorerAway, ScorerRefused."""
        headers = _if_match(instead_of)
        path = f"/v1/models/{quote(version, safe='')}/promote"
        pointers: dict[str, Any] = self._call("POST", path, key, headers=headers).json()
        return pointers

    def rollback(self, *, instead_of: str | None, key: str) -> dict[str, Any]:
        """The pointers afterwards. Refused likewise. Raises ScorerAway, ScorerRefused."""
        pointers: dict[str, Any] = self._call("POST", "/v1/models/rollback", key, headers=_if_match(instead_of)).json()
        return pointers

    def _find(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._call("GET", path, self._key).json()
        except ScorerRefused as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return found

    def _update(
        self, event_id: str, what: str, said: dict[str, Any], key: str, further: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        # A hash: an id may be as long as a key may be, and holds what a header can't.
        digest = hashlib.sha256(event_id.encode()).hexdigest()[:32]
        headers = {"Idempotency-Key": f"console-{what}-{digest}", **(further or {})}
        taken: dict[str, Any] = self._call(
            "POST", f"{_decision(event_id)}/{what}", key, json=said, headers=headers
        ).json()
        return taken

    def _call(
        self, method: str, path: str, key: str | None, *, json: Any = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        try:
            answer = self._http.request(method, path, json=json, headers=sent)
        except (httpx.HTTPError, UnicodeEncodeError) as error:
            raise ScorerAway(f"The scorer doesn't answer ({type(error).__name__}).") from None
        if answer.is_success:
            return answer
        problem = _problem(answer)
        if (
            answer.is_server_error
            or answer.status_code == httpx.codes.TOO_MANY_REQUESTS
            or problem.get("reason") == "in-flight"
        ):
            raise ScorerAway(f"The scorer can't answer right now: {problem.get('detail', answer.reason_phrase)}.")
        raise ScorerRefused(
            answer.status_code, str(problem.get("reason", "")), str(problem.get("detail", answer.reason_phrase))
        )


def _decision(event_id: str) -> str:
    return f"/v1/decisions/{quote(event_id, safe='')}"


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _if_match(version: str | None) -> dict[str, str]:
    return {"If-Match": f'"{version}"'} if version else {}
