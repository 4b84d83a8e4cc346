"""Prometheus' own word on configuration and rules."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from deploy.monitoring.__main__ import FOLDER
from deploy.monitoring.operator import cluster_rules

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=800)


def assert_cluster_rules(promtool: str, folder: Path, tests: Sequence[Mapping[str, object]], *, every: str) -> None:
    """promtool's own tests of the rules that Kubernetes alone has, worked out so often."""
    (folder / "rules.yml").write_text(yaml.safe_dump(cluster_rules()))
    document = {"rule_files": ["rules.yml"], "evaluation_interval": every, "tests": tests}
    (folder / "test.yml").write_text(yaml.safe_dump(document))
    tested = run(promtool, "test", "rules", folder / "test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_prometheus_takes_the_configuration_and_every_rule(promtool: str) -> None:
    checked = run(promtool, "check", "config", FOLDER / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("SUCCESS") == 4


def test_every_alert_fires_when_it_should_and_clears_afterwards(promtool: str) -> None:
    tested = run(promtool, "test", "rules", FOLDER / "rules/alerts.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_night_without_a_reconciliation_that_ends_well_is_told(promtool: str, tmp_path: Path) -> None:
    rule = next(rule for rule in cluster_rules()["groups"][0]["rules"] if rule["alert"] == "RowsUnproven")
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
    assert_cluster_rules(promtool, tmp_path, [never, missed], every="5m")


def test_an_audit_that_fails_as_a_job_and_a_trainer_that_is_gone_are_told(promtool: str, tmp_path: Path) -> None:
    rules = {rule["alert"]: rule for rule in cluster_rules()["groups"][0]["rules"]}
    job = {"job_name": "ledger-17"}

    def fires(alert: str, labels: dict[str, str]) -> dict[str, object]:
        rule = rules[alert]
        return {"exp_labels": {**rule["labels"], **labels}, "exp_annotations": rule["annotations"]}

    def look(minute: int, alert: str, *expected: dict[str, object]) -> dict[str, object]:
        return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": list(expected)}

    test = {
        "interval": "1m",
        "input_series": [
            {"series": 'kube_job_status_failed{namespace="flit-risk",job_name="ledger-17"}', "values": "0x9 1x20"},
            {"series": 'kube_job_status_failed{namespace="of-others",job_name="ledger-1"}', "values": "1x30"},
            {"series": 'up{job="trainer",instance="a"}', "values": "1x9 _x20"},
        ],
        "alert_rule_test": [
            look(8, "LedgerUnbalanced"), look(12, "LedgerUnbalanced", fires("LedgerUnbalanced", job)),
            look(8, "ServiceDown"), look(28, "ServiceDown", fires("ServiceDown", {"job": "trainer"})),
        ],
    }  # fmt: skip
    assert_cluster_rules(promtool, tmp_path, [test], every="1m")


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
