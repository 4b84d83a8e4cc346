"""Runs a command that dies with whoever started it: `python guard.py <parent's pid> <command>...`.

`kill -9` of a parent runs none of its clean-up, so on Linux the kernel is asked to kill the child (PR_SET_PDEATHSIG).
The request is made here, in a process of its own that then becomes the command, and not between fork and exec of the
parent: Python code in a fork of a process with threads (gRPC's among them) may hang. Elsewhere than on Linux the
command simply runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""


def main(arguments: list[str]) -> None:
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the request was made
            sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]} can't be run: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
