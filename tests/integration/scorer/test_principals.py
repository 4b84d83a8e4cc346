"""Every REST call by every kind of caller, on a running scorer."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx

from services.scorer.keys import Scope, new_key
from tests import factories
from tests.integration.scorer.conftest import Rig, until

Call = tuple[str, str]

DECIDE, READ = ("POST", "/v1/decisions"), ("GET", "/v1/decisions/principals")
OPEN: dict[Call, int] = {
    ("GET", "/live"): 200,
    ("GET", "/ready"): 200,
    ("GET", "/openapi.json"): 200,
    ("GET", "/docs"): 200,
    # Nothing lies there, whoever asks.
    ("GET", "/v1/elsewhere"): 404,
    ("DELETE", READ[1]): 405,
    ("GET", "/metrics"): 404,
}
"""Whoever asks."""

BATCH, EXPLAIN = ("POST", "/v1/decisions/batch"), ("GET", "/v1/decisions/principals/explanation")
CANCEL, VERDICT = ("POST", "/v1/decisions/principals/cancel"), ("POST", "/v1/decisions/principals/verdict")
CUSTOMER = ("GET", "/v1/customers/nobody/features")
MODELS, PROMOTE, ROLLBACK = (
    ("GET", "/v1/models"), ("POST", "/v1/models/0123456789abcdef/promote"), ("POST", "/v1/models/rollback"),
)  # fmt: skip
BODIES: dict[Call, Any] = {
    DECIDE: factories.transaction(900_000, event_id="principals"),
    BATCH: [factories.transaction(900_001, event_id="in-a-batch")],
    VERDICT: {"verdict": "approve"},
}
DECISIONS = (DECIDE, BATCH, READ, EXPLAIN, CANCEL, VERDICT, CUSTOMER)
SWITCHES = (MODELS, PROMOTE, ROLLBACK)
KEYED = (*DECISIONS, *SWITCHES)
CALLS = (*KEYED, *OPEN)
UNKNOWN = dict.fromkeys(KEYED, 401)
NOTHING = dict.fromkeys(KEYED, 403)
TABLE: dict[str, dict[Call, int]] = {
    "nobody": UNKNOWN,
    "no key at all": UNKNOWN,
    "an unknown key": UNKNOWN,
    "a known prefix": UNKNOWN,
    "a good key as a password": UNKNOWN,
    "expired": UNKNOWN,
    # 404: let in, and neither such a model nor an earlier one is there.
    "admin": NOTHING | {MODELS: 200, PROMOTE: 404, ROLLBACK: 404},
    # 404: let in, and nobody has bought anything under this name.
    "read": NOTHING | {READ: 200, EXPLAIN: 200, CUSTOMER: 404},
    "decide": NOTHING | {DECIDE: 200, BATCH: 200, READ: 200, EXPLAIN: 200, CANCEL: 202},
    "review": NOTHING | {VERDICT: 202},
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
        "a good key as a password": f"Basic {base64.b64encode(f'shop:{known}'.encode()).decode()}",
    }
    return path, said


async def ask(http: httpx.AsyncClient, url: str, call: Call, authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    method, path = call
    return await http.request(method, url + path, json=BODIES.get(call), headers=headers)


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
        document = (await ask(http, scorer.url, ("GET", "/openapi.json"), None)).json()
    assert found == {name: OPEN | row for name, row in TABLE.items()}
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    names = {"principals": "{event_id}", "nobody": "{customer_id}", "0123456789abcdef": "{version}"}
    tried = {(method, "/".join(names.get(part, part) for part in path.split("/"))) for method, path in CALLS}
    assert described <= tried, "a call without a row in the table"
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
