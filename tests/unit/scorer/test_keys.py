from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.scorer.keys import Access, Caller, KeysFileError, new_key
from services.scorer.problems import Problem

HASH = hashlib.sha256(b"secret").hexdigest()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys"
    path.write_text(text)
    return path


def test_a_new_key_is_known_by_its_line_and_by_nothing_else(tmp_path: Path) -> None:
    key, digest = new_key()
    access = Access.load(written(tmp_path, f"# callers\n\nops {digest} admin  # the team\nshop {HASH}\n"))
    assert access.caller(f"Bearer {key}", None) == Caller("ops", admin=True)
    assert access.caller("bearer secret", None) == Caller("shop")
    for wrong in (digest, key[:-1], key + "x", ""):
        with pytest.raises(Problem):
            access.caller(f"Bearer {wrong}", "127.0.0.1")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("shop", 1),
        ("shop secret", 1),
        (f"\nshop {HASH.upper()}", 2),
        (f"shop {HASH} root", 1),
        (f"sh/op {HASH}", 1),
        (f"a {HASH}\nb {HASH}", 2),
    ],
)
def test_a_line_that_is_none_is_refused_by_its_number(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(KeysFileError, match=f"line {line}:") as refused:
        Access.load(written(tmp_path, text))
    assert "secret" not in str(refused.value)


def test_a_file_without_keys_lets_nobody_in_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeysFileError, match="no key"):
        Access.load(written(tmp_path, "# nobody yet\n"))
    with pytest.raises(KeysFileError, match="nowhere"):
        Access.load(tmp_path / "nowhere")


@pytest.mark.parametrize("client", [None, "", "localhost.evil", "10.0.0.1", "::2"])
def test_a_stranger_without_keys_is_not_let_in(client: str | None) -> None:
    with pytest.raises(Problem) as refused:
        Access(None).caller(None, client)
    assert refused.value.status == 403
