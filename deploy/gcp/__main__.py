"""`python -m deploy.gcp {setup|grant-tables} --project ID --location EU`: a Google Cloud project as it is declared.

Calls `gcloud` and `bq`, as whoever is logged in there. May be run again at any time. `--dry-run` asks what is there
already, changes nothing, and prints the commands that would be run.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

from deploy.gcp.plan import Place, Step, steps, table_steps

TRIES, FIRST_PAUSE_S = 6, 2.0
"""An account that was just made is not known everywhere for up to a minute: two seconds, four, and so on are that."""

UNKNOWN_YET = re.compile(r"does not exist|not found|doesn't exist", re.IGNORECASE)


def done(step: Step) -> bool:
    """Whether it needn't be taken. A look that fails for another reason than that nothing is there counts as no: the
    command itself then says what is wrong."""
    if step.unless is None:
        return False
    return subprocess.run(step.unless, capture_output=True, check=False).returncode == 0


def take(command: Sequence[str]) -> int:
    """The command's exit status, after it was tried again where it names what was just made."""
    pause = FIRST_PAUSE_S
    for _ in range(TRIES - 1):
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        said = tried.stdout + tried.stderr  # bq says on standard output what is wrong
        if tried.returncode == 0 or not UNKNOWN_YET.search(said):
            sys.stderr.write(said)
            return tried.returncode
        time.sleep(pause)
        pause *= 2
    return subprocess.run(command, check=False).returncode


def run(wanted: Iterable[Step], *, dry: bool) -> int:
    """0, or the exit status of the first command that failed: those after it may need what it makes."""
    for step in wanted:
        if done(step):
            continue
        print(shlex.join(step.command), flush=True)  # noqa: T201
        status = 0 if dry else take(step.command)
        if status != 0:
            return status
    return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.gcp", description=__doc__)
    parser.add_argument("command", choices=["setup", "grant-tables"])
    parser.add_argument("--project", required=True)
    parser.add_argument(
        "--location", required=True, help="of datasets and bucket, such as EU; it can't be changed later"
    )
    parser.add_argument("--bucket", help="for the registry of models (default: none, it lies on a volume)")
    parser.add_argument("--kubernetes-namespace", help="whose pods are these accounts, by workload identity")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done")
    return parser.parse_args(arguments)


def main() -> None:
    given = parse()
    place = Place(given.project, given.location, given.bucket, given.kubernetes_namespace)
    wanted = steps(place) if given.command == "setup" else table_steps(place)
    try:
        raise SystemExit(run(wanted, dry=given.dry_run))
    except FileNotFoundError as missing:
        raise SystemExit(f"{missing.filename} is not installed: it comes with Google Cloud's command line") from None


if __name__ == "__main__":
    main()
