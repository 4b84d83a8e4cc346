"""Prometheus' own word on configuration and rules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.monitoring.__main__ import FOLDER

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=800)


def test_prometheus_takes_the_configuration_and_every_rule(promtool: str) -> None:
    checked = run(promtool, "check", "config", FOLDER / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("SUCCESS") == 4


def test_every_alert_fires_when_it_should_and_clears_afterwards(promtool: str) -> None:
    tested = run(promtool, "test", "rules", FOLDER / "rules/alerts.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_is_wrong_fails_its_test(promtool: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(FOLDER / "rules", rules)
    alerts = (rules / "alerts.yml").read_text()
    right, wrong = "max(flit_ingestor_connected) == 0", "max(flit_ingestor_connected) == 2"
    assert right in alerts
    (rules / "alerts.yml").write_text(alerts.replace(right, wrong))
    tests = (rules / "alerts.test.yml").read_text()
    head, *parts = tests.split("\n- name: ")
    kept = [part for part in parts if part.startswith("SourceAway")]
    assert len(kept) == 1
    (rules / "alerts.test.yml").write_text("\n- name: ".join([head, *kept]))
    tested = run(promtool, "test", "rules", rules / "alerts.test.yml")
    assert tested.returncode != 0
    assert "SourceAway" in tested.stdout + tested.stderr
