"""Every REST call by every kind of caller, on a running scorer."""

from __future__ import annotations

from pathlib import Path

import httpx

from services.scorer.keys import Scope, new_key
from tests import factories
from tests.integration.scorer.conftest import Rig, until

DECIDE, READ, DOCUMENT = ("POST", "/v1/decisions"), ("GET", "/v1/decisions/principals"), ("GET", "/openapi.json")
LIVE, READY, ELSEWHERE = ("GET", "/live"), ("GET", "/ready"), ("GET", "/v1/elsewhere")
CALLS = (DECIDE, READ, DOCUMENT, LIVE, READY, ELSEWHERE)

OPEN = {DOCUMENT: 200, LIVE: 200, READY: 200, ELSEWHERE: 404}
"""Whoever asks."""
TABLE: dict[str, dict[tuple[str, str], int]] = {
    "nobody": {DECIDE: 401, READ: 401},
    "no key at all": {DECIDE: 401, READ: 401},
    "an unknown key": {DECIDE: 401, READ: 401},
    "a known prefix": {DECIDE: 401, READ: 401},
    "expired": {DECIDE: 401, READ: 401},
    "admin": {DECIDE: 403, READ: 403},
    "read": {DECIDE: 403, READ: 200},
    "decide": {DECIDE: 200, READ: 200},
}


def keys_file(folder: Path) -> tuple[Path, dict[str, str | None]]:
    """The file, and what each caller says of himself."""
    made = {scope.value: new_key(scope.value, [scope]) for scope in Scope}
    made["expired"] = new_key("expired", list(Scope), "2020-01-01")
    path = folder / "keys"
    path.write_text("".join(f"{line}\n" for _, line in made.values()))
    said: dict[str, str | None] = {name: f"Bearer {key}" for name, (key, _) in made.items()}
    known = made["decide"][0]
    said |= {
        "nobody": None,
        "no key at all": "Basic dXNlcjpwYXNz",
        "an unknown key": f"Bearer {new_key('x', [Scope.DECIDE])[0]}",
        "a known prefix": f"Bearer {known[:14]}{'0' * 48}",
    }
    return path, said


async def ask(http: httpx.AsyncClient, url: str, call: tuple[str, str], authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    method, path = call
    body = factories.transaction(900_000, event_id="principals") if method == "POST" else None
    return await http.request(method, url + path, json=body, headers=headers)


async def test_each_caller_gets_what_his_key_is_for_and_nothing_else(rig: Rig, http: httpx.AsyncClient) -> None:
    path, said = keys_file(rig.folder)
    assert said.keys() == TABLE.keys()
    async with rig.scorer(SCORER__API_KEYS_FILE=str(path)) as scorer:
        assert (await ask(http, scorer.url, DECIDE, said["decide"])).status_code == 200
        found = {
            name: {call: (await ask(http, scorer.url, call, authorization)).status_code for call in CALLS}
            for name, authorization in said.items()
        }
        refusals = {
            (await ask(http, scorer.url, READ, said[name])).content for name in said if TABLE[name][READ] == 401
        }
    assert found == {name: OPEN | row for name, row in TABLE.items()}
    assert len(refusals) == 1, "a refusal tells what was wrong with the key"


async def test_who_may_only_decide_cannot_tell_another_callers_decision_from_none(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    keys = {
        owner: new_key(owner, [scope]) for owner, scope in (("a", Scope.DECIDE), ("b", Scope.DECIDE), ("c", Scope.READ))
    }
    path = rig.folder / "keys"
    path.write_text("".join(f"{line}\n" for _, line in keys.values()))
    said = {owner: f"Bearer {key}" for owner, (key, _) in keys.items()}
    async with rig.scorer(SCORER__API_KEYS_FILE=str(path)) as scorer:
        decided = await ask(http, scorer.url, DECIDE, said["a"])
        for owner in ("a", "c"):
            found = await ask(http, scorer.url, READ, said[owner])
            assert (found.status_code, found.content) == (200, decided.content), owner
        others = await ask(http, scorer.url, READ, said["b"])
        nobodys = await ask(http, scorer.url, ("GET", "/v1/decisions/none"), said["b"])
        assert others.status_code == nobodys.status_code == 404
        assert others.content == nobodys.content


async def test_a_key_that_is_taken_out_of_the_file_is_good_for_nothing_from_then_on(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    path, said = keys_file(rig.folder)
    async with rig.scorer(SCORER__API_KEYS_FILE=str(path)) as scorer:
        assert (await ask(http, scorer.url, DECIDE, said["decide"])).status_code == 200
        key, line = new_key("next", [Scope.DECIDE])
        path.write_text(line)

        async def is_known() -> bool:
            return (await ask(http, scorer.url, DECIDE, f"Bearer {key}")).status_code == 200

        await until(is_known)
        assert (await ask(http, scorer.url, DECIDE, said["decide"])).status_code == 401
