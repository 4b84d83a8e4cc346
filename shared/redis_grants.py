"""Who may do what in Redis: `python -m shared.redis_grants --passwords FILE` prints it as a users file (ACL).

Each service has a user that reaches its own keys with the commands that it uses, and nothing else. A script runs with
the rights of whoever calls it, so what scripts do counts as well. No client.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.claim_keys import key_of
from shared.settings import EXIT_BAD_SETTING, SHORTEST_KEY


@dataclass(frozen=True, slots=True)
class Family:
    """Keys of one purpose."""

    pattern: str
    """As Redis matches them; braces stand for themselves."""
    example: str
    """One of its keys."""


STATES = Family("{p*}:c:*", "{p0}:c:anna")
POSITIONS = Family("{p*}:pos", "{p0}:pos")
REFUSED = Family("{p*}:refused", "{p0}:refused")
REBUILDING = Family("{p*}:rebuilding", "{p0}:rebuilding")
PARTITIONS = Family("flit:partitions", "flit:partitions")
PSEUDONYMS = Family("flit:pseudonyms", "flit:pseudonyms")
EXPOSURES = Family("{p*}:x:*", "{p0}:x:anna")
CLAIMS = Family(key_of("*"), key_of("0123"))
CLAIM_INDEX = Family("decisions:*", "decisions:complete")
IDEMPOTENCY = Family("i:*", "i:0123")
CURSORS = Family("ingestor:*", "ingestor:simtom/bnpl")
REPLAYED = Family("ingestor:replayed", "ingestor:replayed")
STREAMS = Family("flit:sink:streams", "flit:sink:streams")

FAMILIES: dict[str, Family] = {
    name.lower(): value for name, value in list(globals().items()) if isinstance(value, Family)
}


@dataclass(frozen=True, slots=True)
class User:
    """What one user may do. A family that is in neither is out of reach."""

    writes: Sequence[Family] = ()
    """And reads."""
    reads: Sequence[Family] = ()
    commands: Sequence[str] = ()


CONNECTING = ("auth", "hello", "ping", "select", "client|setinfo", "client|setname")
"""What a client says before anything else."""

_SCRIPTS = ("eval", "evalsha", "script|load")

# Every service that touches states first makes sure that they were made with its own partition count, and leaves its
# own where there is none yet: hence the writing of both marks.
USERS: dict[str, User] = {
    "flit-features": User(
        writes=(STATES, POSITIONS, REFUSED, REBUILDING, PARTITIONS, PSEUDONYMS),
        commands=(*_SCRIPTS, "get", "set", "mget", "del", "unlink", "exists", "scan", "zadd", "zremrangebyrank"),
    ),
    "flit-scorer": User(
        writes=(CLAIMS, CLAIM_INDEX, IDEMPOTENCY, EXPOSURES, PARTITIONS, PSEUDONYMS),
        reads=(STATES, POSITIONS, REBUILDING),
        commands=(
            *(*_SCRIPTS, "script|exists", "get", "set", "setrange", "mget", "del", "exists", "pttl"),
            *("pexpire", "hget", "hset", "hdel", "hgetall", "hlen", "hrandfield", "info", "time"),
        ),
    ),
    "flit-sink": User(
        writes=(STREAMS, PARTITIONS, PSEUDONYMS),
        reads=(POSITIONS, REFUSED),
        commands=(*_SCRIPTS, "get", "set", "hget", "hset", "zrangebyscore"),
    ),
    "flit-ingestor": User(writes=(CURSORS,), commands=("hgetall", "hset", "hdel", "expire")),
    # Looks for all cursors; names of other keys are seen on the way, what they hold isn't.
    "flit-ledger": User(reads=(CURSORS,), commands=("scan", "type", "hget")),
    # Erasures, reconciliations and repairs of the sink; replays of dead letters.
    "flit-operators": User(
        writes=(STATES, CLAIMS, EXPOSURES, REPLAYED),
        reads=(POSITIONS, REFUSED, REBUILDING, CLAIM_INDEX, PARTITIONS, PSEUDONYMS),
        commands=("get", "mget", "del", "zrangebyscore", "zadd", "zremrangebyscore", "zmscore"),
    ),
}

ADMINISTRATOR = "flit-admin"
"""May do everything: for people, and for a change of these users without a restart (`ACL LOAD`)."""

Passwords = Mapping[str, Sequence[str]]
"""Of each user; two while one follows the other."""


def users_file(passwords: Passwords) -> str:
    """The file that the server's `aclfile` names; of passwords it holds SHA-256 alone.

    Raises ValueError where a user has none, a name is unknown, or one is short: hashes of short ones can be guessed.
    """
    unknown = set(passwords) - {*USERS, ADMINISTRATOR}
    if unknown:
        raise ValueError(f"no such user: {', '.join(sorted(unknown))}")
    lines = ["user default off resetpass resetkeys resetchannels -@all"]
    for name, user in USERS.items():
        keys = [f"%RW~{family.pattern}" for family in user.writes] + [f"%R~{family.pattern}" for family in user.reads]
        commands = [f"+{command}" for command in (*CONNECTING, *user.commands)]
        lines.append(_line(name, passwords, ["resetchannels", *keys, "-@all", *commands]))
    lines.append(_line(ADMINISTRATOR, passwords, ["~*", "&*", "+@all"]))
    return "".join(f"{line}\n" for line in lines)


def _line(name: str, passwords: Passwords, rules: Sequence[str]) -> str:
    held = passwords.get(name, ())
    if not held:
        raise ValueError(f"no password for {name}")
    if any(len(password) < SHORTEST_KEY for password in held):
        raise ValueError(f"the password of {name} has less than {SHORTEST_KEY} characters: try `openssl rand -hex 32`")
    hashes = [f"#{hashlib.sha256(password.encode()).hexdigest()}" for password in held]
    return " ".join(["user", name, "on", "sanitize-payload", *hashes, *rules])


def parse_passwords(text: str) -> dict[str, list[str]]:
    """Of lines `<user> <password>`; a user may have several. Raises ValueError."""
    found: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2:
            raise ValueError(f"line {number}: expected a user and a password")
        found.setdefault(parts[0], []).append(parts[1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.redis_grants", description="The users of Redis")
    parser.add_argument(
        "--passwords",
        metavar="FILE",
        type=Path,
        required=True,
        help="lines of `<user> <password>`; - is standard input",
    )
    path: Path = parser.parse_args().passwords
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        print(users_file(parse_passwords(text)), end="")  # noqa: T201
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EXIT_BAD_SETTING) from None


if __name__ == "__main__":
    main()
