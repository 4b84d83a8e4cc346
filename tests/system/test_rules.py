"""Prometheus' own word on configuration and rules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.monitoring.__main__ import FOLDER
from deploy.monitoring.operator import nightly_rules

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


def test_a_night_without_a_reconciliation_that_ends_well_is_told(promtool: str, tmp_path: Path) -> None:
    (rule,) = nightly_rules()["groups"][0]["rules"]
    alert = {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
    of = '{namespace="flit-risk",cronjob="reconcile"}'

    def test(fires: dict[int, bool], succeeded: str) -> dict[str, object]:
        """`fires`: by hour. `succeeded`: when last, in seconds, each five minutes."""
        return {
            "interval": "5m",
            "input_series": [
                {"series": f"kube_cronjob_created{of}", "values": "0+0x2000"},
                {"series": f"kube_cronjob_status_last_successful_time{of}", "values": succeeded},
            ],
            "alert_rule_test": [
                {"eval_time": f"{hour}h", "alertname": rule["alert"], "exp_alerts": [alert] if firing else []}
                for hour, firing in fires.items()
            ],
        }

    day, looks = 86_400, 24 * 12
    never = test({25: False, 27: True}, "_x2000")
    # The first and the second night; then not before the end of the fifth day.
    sometimes = f"_x{looks} {day}+0x{looks - 1} {2 * day}+0x{3 * looks - 1} {5 * day}+0x{looks - 1}"
    missed = test({50: False, 73: False, 75: True, 119: True, 121: False}, sometimes)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(nightly_rules()))
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "5m", "tests": [never, missed]})
    )
    tested = run(promtool, "test", "rules", tmp_path / "test.yml")
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
