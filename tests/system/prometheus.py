"""A real Prometheus beside a running system."""

from __future__ import annotations

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.monitoring.__main__ import FOLDER
from deploy.monitoring.rules import Document

installed = shutil.which("prometheus") is not None
needed = pytest.mark.skipif(not installed, reason="prometheus is not installed: it is a package of Debian")

OPTIONAL = frozenset({"ledger", "guard"})
"""Jobs that come and go."""


class Prometheus:
    """A real one, by our rules."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):
                return True
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result's series. Raises HTTPError where Prometheus refuses the expression."""
        text = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{text}", timeout=30) as answer:
            body = json.load(answer)
        assert body["status"] == "success" and body["data"]["resultType"] in {"vector", "scalar"}
        found: list[dict[str, Any]] = body["data"]["result"]
        return found

    def targets(self) -> dict[str, str]:
        """Job → health."""
        active = self._asked("targets")["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}

    def alerts(self) -> list[dict[str, Any]]:
        """Those that are pending or firing now, as /api/v1/alerts has them."""
        found: list[dict[str, Any]] = self._asked("alerts")["alerts"]
        return found

    def broken_rules(self) -> list[str]:
        """Those that it could not work out when it last tried, or has never tried to."""
        rules = [rule for group in self._asked("rules")["groups"] for rule in group["rules"]]
        return [rule["name"] for rule in rules if rule["health"] != "ok"]

    def _asked(self, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}", timeout=30) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data


@contextmanager
def prometheus(
    folder: Path, ports: Mapping[str, int], *, every: str = "1s", rules: Mapping[str, Document] | None = None
) -> Iterator[Prometheus]:
    """One that asks the targets and follows the rules so often. `ports`: job → metrics port; those of `OPTIONAL` are
    marked so. `rules`: file name → rules, in place of the project's own."""
    (folder / "rules").mkdir(parents=True)
    for name in ("recording.yml", "alerts.yml"):
        text = (FOLDER / "rules" / name).read_text() if rules is None else yaml.safe_dump(rules[name])
        (folder / "rules" / name).write_text(text)
    (folder / "targets").mkdir()
    targets = [
        {
            "labels": {"job": job} | ({"optional": "yes"} if job in OPTIONAL else {}),
            "targets": [f"127.0.0.1:{port}"],
        }
        for job, port in ports.items()
    ]
    (folder / "targets/test.yml").write_text(yaml.safe_dump(targets))
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    timeout = min(every, config["global"]["scrape_timeout"], key=lambda text: int(text.removesuffix("s")))
    config["global"] = {"scrape_interval": every, "scrape_timeout": timeout, "evaluation_interval": every}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    running = Prometheus(port)
    process = ManagedProcess(
        "prometheus",
        [
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        log_file=folder / "prometheus.log",
    )  # fmt: skip
    process.start()
    try:
        process.wait_until(running.ready, 60)
        yield running
    finally:
        process.stop()
