from __future__ import annotations

import fnmatch
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from services.ingestor.replay import MEMORY_KEY
from services.scorer.claims import INDEXED
from services.scorer.restore import LOCK
from services.sink.streams import KEY
from shared import redis_grants
from shared.claim_keys import COMPLETE, key_of
from shared.redis_grants import ADMINISTRATOR, FAMILIES, USERS, parse_passwords, users_file

PASSWORDS = {name: [f"{name}-{'x' * 32}"] for name in (*USERS, ADMINISTRATOR)}


def families_of(key: str) -> set[str]:
    return {name for name, family in FAMILIES.items() if fnmatch.fnmatchcase(key, family.pattern)}


def test_every_key_that_a_service_names_is_of_a_family() -> None:
    for key, family in ((COMPLETE, "claim_index"), (INDEXED, "claim_index"), (LOCK, "claim_index"), (KEY, "streams")):
        assert families_of(key) == {family}
    assert families_of(key_of("0123")) == {"claims"}
    assert families_of(MEMORY_KEY) == {"cursors", "replayed"}
    assert all(name in families_of(family.example) for name, family in FAMILIES.items())


def test_the_file_holds_no_password() -> None:
    text = users_file(PASSWORDS)
    assert not any(password in text for held in PASSWORDS.values() for password in held)
    assert hashlib.sha256(PASSWORDS["flit-sink"][0].encode()).hexdigest() in text


def test_who_gives_no_name_is_switched_off_and_nobody_but_the_administrator_may_everything() -> None:
    lines = users_file(PASSWORDS).splitlines()
    assert lines[0].startswith("user default off ")
    assert [line.split()[1] for line in lines if "+@all" in line.split()] == [ADMINISTRATOR]
    assert [line.split()[1] for line in lines if "~*" in line.split()] == [ADMINISTRATOR]
    assert not any(word.startswith("+@") for line in lines[:-1] for word in line.split())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"flit-sink": []}, "no password for flit-sink"),
        ({"flit-sink": ["short"]}, "less than 32 characters"),
        ({"flit-sing": ["x" * 40]}, "no such user: flit-sing"),
    ],
)
def test_a_file_that_would_leave_a_door_open_or_shut_is_not_made(changed: dict[str, list[str]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        users_file({**PASSWORDS, **changed})


def test_the_command_prints_the_file_and_refuses_a_bad_one(tmp_path: Path) -> None:
    held = tmp_path / "passwords"
    command = [sys.executable, "-m", redis_grants.__name__, "--passwords", str(held)]
    held.write_text("".join(f"{name} {password}\n" for name, passwords in PASSWORDS.items() for password in passwords))
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert made.stdout == users_file(parse_passwords(held.read_text()))
    held.write_text("flit-sink\n")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "line 1" in refused.stderr
