"""Who may ask what at the REST door, and by which name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.scorer.keys import Access
from tests.unit.scorer.rest import JSON, STRANGER, URL, Asked, assert_problem, client_of

KEY = "flit_00000001_secret"


@pytest.fixture
def access(tmp_path: Path) -> Access:
    path = tmp_path / "keys"
    path.write_text(f"# callers\nflit_00000001 {hashlib.sha256(KEY.encode()).hexdigest()} shop decide\n\n")
    return Access.load(path)


@pytest.mark.parametrize("path", [URL, f"{URL}/x"])
@pytest.mark.parametrize("key", [None, "Bearer wrong", "Bearer", f"Basic {KEY}", KEY])
async def test_without_a_known_key_nothing_is_answered(access: Access, path: str, key: str | None) -> None:
    use_case = Asked()
    headers = JSON | ({"Authorization": key} if key else {})
    async with client_of(use_case, access) as client:
        call = client.post(path, content=b"{}", headers=headers) if path == URL else client.get(path, headers=headers)
        answer = await call
    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert use_case.questions == []


async def test_a_known_key_asks_from_anywhere_under_its_name(access: Access) -> None:
    use_case = Asked()
    async with client_of(use_case, access, STRANGER) as client:
        headers = JSON | {"Authorization": f"Bearer {KEY}"}
        assert (await client.post(URL, content=b"{}", headers=headers)).status_code == 200
        assert (await client.get(f"{URL}/one", headers=headers)).status_code == 404
    assert (use_case.questions[0].caller, use_case.questions[0].noted) == ("shop", True)
    assert use_case.looked_up == [("one", "shop")]


@pytest.mark.parametrize("more", ["review", "admin", "read", "read,review", "read,admin"])
async def test_who_has_to_have_asked_to_look_up_or_to_call_off_is_noted(tmp_path: Path, more: str) -> None:
    path = tmp_path / "keys"
    path.write_text(f"flit_00000001 {hashlib.sha256(KEY.encode()).hexdigest()} shop decide,{more}\n")
    use_case = Asked()
    async with client_of(use_case, Access.load(path)) as client:
        headers = JSON | {"Authorization": f"Bearer {KEY}"}
        assert (await client.post(URL, content=b"{}", headers=headers)).status_code == 200
    assert use_case.questions[0].noted == ("," not in more)


async def test_who_may_read_looks_up_whatever_was_decided() -> None:
    use_case = Asked()
    async with client_of(use_case) as client:
        await client.get(f"{URL}/one")
        await client.post(URL, content=b"{}", headers=JSON)
    assert use_case.looked_up == [("one", None)] and not use_case.questions[0].noted


@pytest.mark.parametrize(("address", "status"), [(("::1", 1), 200), (("127.8.9.1", 1), 200), (STRANGER, 403)])
async def test_without_keys_only_this_machine_may_ask(address: tuple[str, int], status: int) -> None:
    async with client_of(Asked(), address=address) as client:
        answer = await client.post(URL, content=b"{}", headers=JSON | {"X-Forwarded-For": "127.0.0.1"})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("rebound.example.com", 403),
        ("rebound.example.com:8000", 403),
        ("127.0.0.1.example.com", 403),
        ("localhost.example.com:80", 403),
        ("192.0.2.7:8000", 403),
        ("", 403),
    ],
)
async def test_without_keys_a_strangers_name_for_this_machine_opens_nothing(host: str, status: int) -> None:
    async with client_of(Asked()) as client:
        answer = await client.post(URL, content=b"{}", headers=JSON | {"Host": host})
    assert answer.status_code == status


async def test_with_a_key_the_door_has_any_name(access: Access) -> None:
    async with client_of(Asked(), access, STRANGER) as client:
        headers = JSON | {"Authorization": f"Bearer {KEY}", "Host": "decisions.example.com"}
        assert (await client.post(URL, content=b"{}", headers=headers)).status_code == 200


async def test_health_needs_no_key_and_says_why_it_is_not_ready(access: Access) -> None:
    why: list[str | None] = ["waiting"]
    async with client_of(Asked(), access, STRANGER, ready=lambda: why[0]) as client:
        assert (await client.get("/live")).status_code == 200
        waiting = await client.get("/ready")
        assert (waiting.status_code, waiting.text) == (503, "waiting\n")
        why[0] = None
        assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://localhost:8000", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost", 403),
    ],
)
async def test_without_keys_no_other_page_in_a_browser_here_may_ask(origin: str | None, status: int) -> None:
    """A form or a `fetch` that wants no answer reaches any address, and asks nobody before."""
    headers = JSON | {"Host": "localhost:8000"} | ({"Origin": origin} if origin else {})
    async with client_of(Asked()) as client:
        assert (await client.post(URL, content=b"{}", headers=headers)).status_code == status


async def test_with_a_key_a_page_may_ask(access: Access) -> None:
    headers = JSON | {"Authorization": f"Bearer {KEY}", "Origin": "https://shop.example"}
    async with client_of(Asked(), access) as client:
        assert (await client.post(URL, content=b"{}", headers=headers)).status_code == 200
