"""`python -m deploy.supply_chain`: the bill of materials into out/sbom.json, then the audit of the lock.

Ends with 0 where no advisory is left that isn't ignored for a stated while, with 1 where one is, with 2 where list,
lock or pip-audit are broken. Where no source of advisories can be reached nothing was audited: it says so and ends
with 0, unless AUDIT_REQUIRED=1 makes that a failure.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.supply_chain import advisories, lock, sbom, source

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
IGNORED = Path(__file__).with_name("ignored.toml")
OUT = Path("out/sbom.json")

NOT_AUDITED = """\
************************************************************************************************
**  NOT AUDITED: no source of advisories can be reached from here ({sources}).
**  Nothing is known about the weaknesses of the {count} locked packages. Run `make audit` where
**  the package index's own JSON or the open advisory database answers; AUDIT_REQUIRED=1 fails.
************************************************************************************************"""


def main(
    lock_file: Path = LOCK, ignored_file: Path = IGNORED, bill: Path = OUT, project: Mapping[str, Any] | None = None
) -> int:
    """`project`: in place of the table in pyproject.toml."""
    today = dt.datetime.now(dt.UTC).date()
    try:
        packages = lock.read_lock(lock_file.read_text())
        ignored = advisories.read_ignored(ignored_file.read_text(), today)
        bill.parent.mkdir(exist_ok=True)
        bill.write_text(json.dumps(sbom.bill_of_materials(packages, project or _project()), indent=1) + "\n")
        print(f"{bill}: {len(packages)} packages")
        findings = source.ask(lock_file)
    except (lock.LockError, sbom.UnlockedError, advisories.IgnoredError, source.AuditError) as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    if findings is None:
        print(NOT_AUDITED.format(sources=", ".join(source.SOURCES), count=len(packages)))
        return 1 if os.environ.get("AUDIT_REQUIRED") == "1" else 0
    verdict = advisories.judge(findings.advisories, findings.unaudited, ignored, today)
    for title, lines in (
        ("ignored", verdict.ignored),
        ("no longer needed", verdict.unused),
        ("FAILS", verdict.failing),
    ):
        for line in lines:
            print(f"{title}: {line}")
    print(f"audited {findings.audited} packages with {findings.source}: {len(verdict.failing)} to mend")
    return 1 if verdict.failing else 0


def _project() -> Mapping[str, Any]:
    table: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


if __name__ == "__main__":
    sys.exit(main())
