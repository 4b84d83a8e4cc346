"""`python -m deploy.monitoring {write|check}`: rules, their tests and dashboards from their declarations.

`check` ends with 1 where a file is not what the declarations say.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from deploy.monitoring.cases import test_document
from deploy.monitoring.dashboards import DASHBOARDS
from deploy.monitoring.rules import Document, alerting_rules, recording_rules

FOLDER = Path(__file__).parent
_HEAD = "# Written by `python -m deploy.monitoring write`; the declarations are beside it, in Python.\n"


def files() -> Mapping[Path, str]:
    """What has to stand where."""
    rules = {"recording": recording_rules(), "alerts": alerting_rules(), "alerts.test": test_document()}
    written = {FOLDER / "rules" / f"{name}.yml": _yaml(document) for name, document in rules.items()}
    for name, dashboard in DASHBOARDS.items():
        written[FOLDER / "grafana" / "dashboards" / f"{name}.json"] = json.dumps(dashboard.document(), indent=1) + "\n"
    return written


def _yaml(document: Document) -> str:
    return _HEAD + yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.monitoring", description=__doc__)
    parser.add_argument("command", choices=["write", "check"])
    command = parser.parse_args().command
    differing = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    for path in differing:
        if command == "write":
            path.write_text(files()[path])
        print(f"{'written' if command == 'write' else 'differs'}: {path.relative_to(FOLDER)}")  # noqa: T201
    raise SystemExit(1 if differing and command == "check" else 0)


if __name__ == "__main__":
    main()
