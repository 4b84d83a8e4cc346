"""Who listens on a port that we want, and how to stop it: what a person needs to know next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import psutil

PROGRAMS = "deploy.local."
"""Ours, which start again what of theirs is killed: they are to be stopped themselves."""
MOST_CHARACTERS = 80
"""Of a command: Java's is a page long."""


def holder_of(port: int) -> str:
    """In words, with the command that stops it. Processes of other users can't be seen: then, how to find it."""
    for process in psutil.process_iter():
        try:
            if port in _listened_on(process):
                return _in_words(process)
        except psutil.Error:  # another user's, or ended meanwhile
            continue
    return f"another process: `sudo lsof -i tcp:{port}` names it, stop it"


def _listened_on(process: psutil.Process) -> Iterator[int]:
    return (each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN)


def _in_words(process: psutil.Process) -> str:
    for ancestor in (process, *process.parents()):
        try:
            program = next((word for word in ancestor.cmdline() if word.startswith(PROGRAMS)), None)
            if program == f"{PROGRAMS}background":
                return f"the stack of {ancestor.cwd()}: `make down` there stops it"
            if program is not None and program != f"{PROGRAMS}bigquery_emulator":
                process = ancestor
                break
        except psutil.Error:
            break
    command = shlex.join(process.cmdline())
    shown = command if len(command) <= MOST_CHARACTERS else command[: MOST_CHARACTERS - 1] + "…"
    return f"process {process.pid} ({shown}): `kill {process.pid}` stops it"
