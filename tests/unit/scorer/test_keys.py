from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.scorer.keys import LOCAL, Access, Caller, KeysFileError, KeysReloader, Scope, new_key
from services.scorer.problems import Problem
from services.scorer.rate import Rate

KEY = "flit_00000001_secret"
HASH = hashlib.sha256(KEY.encode()).hexdigest()
SHOP = f"flit_00000001 {HASH} shop decide,read"
ANY = list(Scope)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys"
    path.write_text(text)
    return path


def refusal(access: Access, authorization: str | None, *scopes: Scope) -> Problem:
    with pytest.raises(Problem) as refused:
        access.caller(authorization, "127.0.0.1", scopes or ANY)
    return refused.value


def test_a_new_key_is_known_by_its_line_and_by_nothing_else(tmp_path: Path) -> None:
    key, line = new_key("ops", [Scope.ADMIN])
    access = Access.load(written(tmp_path, f"# callers\n\n{line}  # the team\n{SHOP}\n"))
    assert access.caller(f"Bearer {key}", None, ANY) == Caller("ops", frozenset({Scope.ADMIN}))
    assert access.caller(f"bearer {KEY}", None, ANY).name == "shop"
    for wrong in (HASH, key[:-1], key + "x", "", key[:13], f"{key[:13]}_{KEY[14:]}", KEY.upper()):
        assert refusal(access, f"Bearer {wrong}").status == 401
    assert refusal(access, None).status == refusal(access, f"Basic {KEY}").status == 401


def test_a_key_is_good_for_its_scopes_only(tmp_path: Path) -> None:
    access = Access.load(written(tmp_path, f"flit_00000001 {HASH} shop read"))
    assert access.caller(f"Bearer {KEY}", None, [Scope.READ, Scope.DECIDE]).name == "shop"
    other = refusal(access, f"Bearer {KEY}", Scope.DECIDE)
    assert (other.status, other.reason) == (403, "scope")


def test_an_expired_key_is_as_good_as_unknown(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    path = written(tmp_path, f"{SHOP} expires=2027-02-01T00:00:00+01:00")
    access = Access.load(path, lambda: now[0])
    assert access.caller(f"Bearer {KEY}", None, ANY).name == "shop"
    now[0] = 1_801_436_400.0  # 2027-01-31T23:00:00Z
    expired, unknown = refusal(access, f"Bearer {KEY}"), refusal(access, "Bearer flit_ffffffff_x")
    assert vars(expired) == vars(unknown)


def test_an_owner_may_have_two_keys_at_once_and_a_rate_of_its_own(tmp_path: Path) -> None:
    key, line = new_key("shop", [Scope.DECIDE], "2999-01-01")
    access = Access.load(written(tmp_path, f"{SHOP} rate=2.5\n{line} rate=10 burst=7\n"))
    assert access.caller(f"Bearer {KEY}", None, ANY).rate == Rate(2.5, 5)
    assert access.caller(f"Bearer {key}", None, ANY).rate == Rate(10, 7)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("flit_00000001", 1),
        (f"flit_00000001 {HASH} shop", 1),
        ("flit_00000001 secret shop decide", 1),
        (f"\nflit_00000001 {HASH.upper()} shop decide", 2),
        (f"flit_00000001 {HASH} shop root", 1),
        (f"flit_00000001 {HASH} sh/op decide", 1),
        (f"shop {HASH} shop decide", 1),
        (f"{SHOP} expires=soon", 1),
        (f"{SHOP} rate=0", 1),
        (f"{SHOP} rate=nan", 1),
        (f"{SHOP} rate=inf", 1),
        (f"{SHOP} rate=1e308 burst=1", 1),
        (f"{SHOP} burst=5", 1),
        (f"{SHOP} rate=1 burst=0", 1),
        (f"{SHOP} colour=red", 1),
        (f"{SHOP} rate=1 rate=2", 1),
        (f"{SHOP}\n{SHOP}", 2),
    ],
)
def test_a_line_that_is_none_is_refused_by_its_number(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(KeysFileError, match=f"line {line}:") as refused:
        Access.load(written(tmp_path, text))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("what", [{"owner": "a b"}, {"expires": "soon"}, {"scopes": []}])
def test_no_line_is_made_that_could_not_be_read(what: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="no line of a keys file"):
        new_key(**({"owner": "shop", "scopes": [Scope.READ]} | what))  # type: ignore[arg-type]


def test_a_file_without_keys_lets_nobody_in_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeysFileError, match="no key"):
        Access.load(written(tmp_path, "# nobody yet\n"))
    with pytest.raises(KeysFileError, match="nowhere"):
        Access.load(tmp_path / "nowhere")


def test_a_changed_file_counts_from_then_on_and_a_broken_one_does_not(tmp_path: Path) -> None:
    path = written(tmp_path, SHOP)
    access = Access.load(path)
    reloader = KeysReloader(path, access, interval_s=1)
    key, line = new_key("other", [Scope.READ])
    path.write_text(line)
    reloader.look()
    assert access.caller(f"Bearer {key}", None, ANY).name == "other"
    assert refusal(access, f"Bearer {KEY}").status == 401
    for broken in ("flit_", ""):
        path.write_text(broken)
        reloader.look()
        assert access.caller(f"Bearer {key}", None, ANY).name == "other"
    path.unlink()
    reloader.look()
    assert access.caller(f"Bearer {key}", None, ANY).name == "other"


@pytest.mark.parametrize("client", [None, "", "localhost.evil", "10.0.0.1", "::2"])
def test_a_stranger_without_keys_is_not_let_in(client: str | None) -> None:
    with pytest.raises(Problem) as refused:
        Access(None).caller(None, client, ANY)
    assert refused.value.status == 403
    assert Access(None).caller(None, "127.0.0.1", ANY) == LOCAL
