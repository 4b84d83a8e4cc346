"""Commands of other services, run as processes of their own: no service imports another."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

TIMEOUT_S = 120.0
"""A replay takes some seconds, most of them imports; on a busy machine more."""

TOLD_LINES = 3
"""Of what a failed command said last."""


class CommandFailed(Exception):
    """The text is for people."""


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    output: str
    errors: str

    @property
    def last_words(self) -> str:
        """What it said last, in plain text where it was a log entry."""
        lines = [line for line in self.errors.splitlines() if line.strip()][-TOLD_LINES:]
        return " · ".join(_said(line) for line in lines) or f"exit status {self.status}"


def missing(service: str) -> str | None:
    """Why a service's commands can't be run here; None: they can. Images hold one service each."""
    if importlib.util.find_spec(f"services.{service}") is not None:
        return None
    return f"the {service} isn't installed beside this console: run the command where it is"


def replay_decision(event_id: str, decided_at: datetime) -> dict[str, Any]:
    """The trainer's answer: `result` is `identical`, `different` or `not replayable`. `decided_at`: without its time
    the trainer would look for it among all decisions there are. Raises CommandFailed."""
    since, until = decided_at, decided_at + timedelta(microseconds=1)
    which = ["--since", since.isoformat(), "--until", until.isoformat()]
    done = _run("trainer", "replay", *which, "--", event_id)
    try:
        answer: dict[str, Any] = json.loads(done.output.splitlines()[-1])
    except (IndexError, ValueError):
        raise CommandFailed(done.last_words) from None
    return answer


def replay_letters(reason: str, since: datetime, limit: int, *, dry_run: bool) -> str:
    """What the ingestor says it sent, or would, of what was refused since then. Raises CommandFailed."""
    dry = ["--dry-run"] if dry_run else []
    which = ["--reason", reason, "--since", since.isoformat(), "--limit", str(limit)]
    done = _run("ingestor", "replay-dead-letters", *which, *dry)
    if done.status != 0:
        raise CommandFailed(done.last_words)
    return done.output.strip().splitlines()[-1] if done.output.strip() else "nothing to send"


def _run(service: str, *arguments: str) -> Done:
    # Its own operations port, not ours.
    return run(
        [sys.executable, "-m", f"services.{service}", *arguments],
        {**os.environ, "METRICS__PORT": "0", "LOG__FORMAT": "json"},
    )


def run(command: Sequence[str], environment: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> Done:
    """Raises CommandFailed where it didn't end in time, or couldn't be started."""
    try:
        done = subprocess.run(  # no shell, and the program is our own interpreter
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"not done within {timeout_s:.0f} s") from None
    except OSError as error:
        raise CommandFailed(str(error)) from None
    return Done(done.returncode, done.stdout, done.stderr)


def _said(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict):
        return line
    return str(entry.get("reason") or entry.get("error") or entry.get("event") or line)
