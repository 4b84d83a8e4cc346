"""What the world says about our packages, asked through pip-audit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.supply_chain.advisories import Advisory

SOURCES = ("pypi", "osv")
"""In the order in which they are tried: the package index's own answers, then the open database of advisories."""

CANARY = "jinja2==2.11.2"
"""Has advisories for certain. A mirror may answer for every package and have no advisory of any; who doesn't know
this one's is no source, however friendly the answer."""

OSV_URL = "OSV_URL"
"""Names the variable with the address of a house's own copy of the open database, ending in `/v1/query`."""

ANSWER_SECONDS = 10
"""For one answer of a source."""
WHOLE_SECONDS = 300
"""For all packages: one request for each, at twenty a second."""

_AWAY = re.compile(r"ConnectionError|ConnectTimeout|ReadTimeout|Could not connect|ServiceError|HTTPError|ProxyError")


class AuditError(RuntimeError):
    """pip-audit failed for another reason than a source that is away; the text is its last words."""


@dataclass(frozen=True, slots=True)
class Findings:
    source: str
    audited: int
    """Packages that the source knows. Those of other systems than this one are not asked for."""
    advisories: tuple[Advisory, ...]
    unaudited: tuple[str, ...]
    """Names of the packages that the source doesn't know."""


def ask(lock: Path) -> Findings | None:
    """What the first source that can be reached says of the lock; None where none can.

    Raises AuditError where pip-audit itself is broken: that must not look like a source that is away.
    """
    for source in SOURCES:
        if _speaks(source):
            answer = _run(source, ["--require-hashes", "-r", str(lock)])
            if answer is None:
                raise AuditError(f"{source} knew about {CANARY}, and then answered no more")
            return _findings(source, answer)
    return None


def _speaks(source: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "canary.txt"
        asked.write_text(f"{CANARY}\n")
        answer = _run(source, ["--no-deps", "-r", str(asked)])
    return answer is not None and bool(_findings(source, answer).advisories)


def _run(source: str, what: Sequence[str]) -> dict[str, Any] | None:
    """pip-audit's answer; None where the source is away."""
    options = ["--format", "json", "--progress-spinner", "off", "--disable-pip", "--timeout", str(ANSWER_SECONDS)]
    if source == "osv" and OSV_URL in os.environ:
        options += ["--osv-url", os.environ[OSV_URL]]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--vulnerability-service", source, *options, *what],
        capture_output=True,
        text=True,
        timeout=WHOLE_SECONDS,
        check=False,
    )
    # It ends with 1 for a weakness found and for an error alike; only an answer is JSON.
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        if _AWAY.search(done.stderr):
            return None
        raise AuditError(
            done.stderr.strip()[-500:] or f"pip-audit ended with {done.returncode} and said nothing"
        ) from None
    return answer


def _findings(source: str, answer: dict[str, Any]) -> Findings:
    packages = answer["dependencies"]
    unaudited = tuple(one["name"] for one in packages if "skip_reason" in one)
    found = tuple(_advisory(one, weakness) for one in packages for weakness in one.get("vulns", ()))
    return Findings(source, len(packages) - len(unaudited), found, unaudited)


def _advisory(package: dict[str, Any], found: dict[str, Any]) -> Advisory:
    names = frozenset({found["id"], *found["aliases"]})
    return Advisory(package["name"], package["version"], names, tuple(found["fix_versions"]))
