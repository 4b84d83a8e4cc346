"""Debian's Prometheus, where it is installed."""

from __future__ import annotations

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.monitoring.__main__ import FOLDER


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: it comes with Debian's package prometheus")
    return found


class Prometheus:
    """A real one that asks the given targets each second, by our rules."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
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
        with urllib.request.urlopen(f"{self.url}/api/v1/targets", timeout=30) as answer:
            active = json.load(answer)["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}


@contextmanager
def prometheus(folder: Path, ports: dict[str, int]) -> Iterator[Prometheus]:
    """`ports`: job → metrics port."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: it is a package of Debian")
    shutil.copytree(FOLDER / "rules", folder / "rules")
    (folder / "targets").mkdir()
    targets = [{"labels": {"job": job}, "targets": [f"127.0.0.1:{port}"]} for job, port in ports.items()]
    (folder / "targets/test.yml").write_text(yaml.safe_dump(targets))
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    running = Prometheus(folder, port)
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
