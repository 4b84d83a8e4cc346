"""The set-up of a Google Cloud project, run with programs that stand in for Google's and keep a project in a file."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.gcp.rights import EDITOR, JOBS, OBJECT_USER, RIGHTS
from shared.settings import ServiceSettings
from shared.warehouse import tables
from shared.warehouse.tables import ALL, DATASETS
from tests.deployment import BASE, REPOSITORY, kustomize
from tests.unit.deploy.test_container_settings import SERVICES, variables

CLOUD = """#!/bin/sh
# A project in a file: what is made is one line each, and what is shown has to be one of them.
echo "$(basename "$0") $*" >> "$CLOUD/calls"
last=; for part in "$@"; do case "$part" in --*) ;; *) last=$part ;; esac; done
name=${last%@*}
case "$*" in
    *"service-accounts create "*|*" mk "*|*"buckets create "*) echo "$name" >> "$CLOUD/made" ;;
    *" describe "*|*" show "*) grep -qx "$name" "$CLOUD/made" ;;
    *"$REFUSED"*)
        [ -f "$CLOUD/known" ] || { touch "$CLOUD/known"; echo "Service account does not exist." >&2; exit 1; } ;;
esac
"""
"""Refuses the first binding that REFUSED is part of, as Google does while an account is new."""


@dataclass
class Cloud:
    folder: Path

    def setup(self, *more: str, command: str = "setup", refused: str = "nothing") -> list[str]:
        """What it printed: the commands that were taken."""
        environment = {"PATH": f"{self.folder}:/usr/bin:/bin", "CLOUD": str(self.folder), "REFUSED": refused}
        arguments = [command, "--project", "shop-risk", "--location", "EU", *more]
        done = subprocess.run(
            [sys.executable, "-m", "deploy.gcp", *arguments],
            cwd=REPOSITORY, env=environment | {"PYTHONPATH": "."}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    for name in ("gcloud", "bq"):
        (tmp_path / name).write_text(CLOUD)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "made").touch()
    return Cloud(tmp_path)


ALL_OF_IT = ("--bucket", "shop-models", "--kubernetes-namespace", "flit-risk")


def test_a_dry_run_only_reads_and_prints_exactly_what_a_run_then_does(cloud: Cloud) -> None:
    promised = cloud.setup(*ALL_OF_IT, "--dry-run")
    reading = re.compile(r" (describe|show) ")
    assert all(reading.search(call) for call in cloud.calls)
    (cloud.folder / "calls").unlink()
    assert cloud.setup(*ALL_OF_IT) == promised
    done = [call for call in cloud.calls if not reading.search(call)]
    assert [re.sub(r"'\"'\"'|'", "", line) for line in promised] == [call.replace("'", "") for call in done]


def test_done_again_it_makes_nothing_anew(cloud: Cloud) -> None:
    cloud.setup(*ALL_OF_IT)
    made = (cloud.folder / "made").read_text()
    again = cloud.setup(*ALL_OF_IT)
    assert (cloud.folder / "made").read_text() == made
    assert not [line for line in again if " create " in line or " mk " in line]
    assert [line for line in again if "add-iam-policy-binding" in line or "GRANT" in line]


def test_an_account_that_is_not_known_everywhere_yet_is_waited_for(cloud: Cloud) -> None:
    binding = "projects add-iam-policy-binding"
    printed = cloud.setup(refused=binding)
    bound = [call for call in cloud.calls if binding in call]
    assert bound[0] == bound[1] and len(bound) == len([line for line in printed if binding in line]) + 1


def test_a_command_that_fails_ends_it_with_its_status(cloud: Cloud) -> None:
    (cloud.folder / "bq").write_text("#!/bin/sh\necho 'Access Denied'; exit 7\n")
    done = subprocess.run(
        [sys.executable, "-m", "deploy.gcp", "setup", "--project", "p", "--location", "EU"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env={"PATH": f"{cloud.folder}:/usr/bin:/bin", "CLOUD": str(cloud.folder), "REFUSED": "-", "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 7 and "Access Denied" in done.stderr
    assert not [call for call in cloud.calls if "service-accounts" in call]


def test_every_dataset_is_made_and_without_a_bucket_who_needs_only_that_has_no_account(cloud: Cloud) -> None:
    printed = cloud.setup()
    assert {line.split(":")[-1] for line in printed if " mk " in line} == set(DATASETS)
    made = {line.split(" ")[4] for line in printed if "service-accounts create" in line}
    assert made == {f"flit-risk-{service}" for service, rights in RIGHTS.items() if rights.datasets}


def test_rights_on_tables_are_given_once_there_are_any(cloud: Cloud) -> None:
    granted = cloud.setup(command="grant-tables")
    for table in ("model_evaluations", "features"):
        (line,) = (each for each in granted if f"`flit_ml_raw.{table}`" in each or f"ml_raw.{table}" in each)
        assert "flit-risk-trainer@shop-risk" in line


def test_who_asks_bigquery_or_the_registry_has_rights_and_nobody_else_has_any() -> None:
    asking = {
        name for name in SERVICES if {"BIGQUERY__PROJECT", "MODEL_REGISTRY__URI"} & set(variables(settings_of(name)))
    }
    assert set(RIGHTS) == asking | {"prepare", "reconcile"}
    for name in asking:
        known = variables(settings_of(name))
        assert bool(RIGHTS[name].datasets) == ("BIGQUERY__PROJECT" in known), name
        assert (RIGHTS[name].bucket is not None) == ("MODEL_REGISTRY__URI" in known), name


def settings_of(service: str) -> type[ServiceSettings]:
    kind: type[ServiceSettings] = getattr(
        importlib.import_module(f"services.{service}.settings"), f"{service.capitalize()}Settings"
    )
    return kind


CODE = {"prepare": "shared/warehouse", "reconcile": "services/sink/reconcile.py"}
"""Of those that are no service of their own: what they run."""


@pytest.mark.parametrize("name", RIGHTS)
def test_who_runs_queries_has_the_right_to_and_nobody_else_has_it(name: str) -> None:
    code = REPOSITORY / CODE.get(name, f"services/{name}")
    files = [code] if code.is_file() else sorted(code.rglob("*.py"))
    # `view.query` is the text of a view, not a query that is run.
    asking = [file.name for file in files if re.search(r"\b(?!view\b)\w+\.query\(", file.read_text())]
    assert files and (JOBS in RIGHTS[name].project) == bool(asking), asking


def test_only_who_writes_may_write() -> None:
    editing = {
        (service, dataset)
        for service, one in RIGHTS.items()
        for dataset, role in one.datasets.items()
        if role == EDITOR
    }
    assert {service for service, _ in editing} == {"prepare", "sink", "trainer"}
    written = {table.id.partition(".")[0] for table in ALL if table.topic is not None}
    assert {dataset for service, dataset in editing if service == "sink"} == written
    assert {service for service, one in RIGHTS.items() if one.bucket == OBJECT_USER} == {"trainer", "scorer"}
    assert {table for one in RIGHTS.values() for table in one.tables} <= {table.id for table in ALL}


@pytest.mark.parametrize("service", [name for name in RIGHTS if (REPOSITORY / "services" / name).is_dir()])
def test_whoever_appends_to_a_table_may_edit_it(service: str) -> None:
    code = "".join(file.read_text() for file in sorted((REPOSITORY / "services" / service).rglob("*.py")))
    appending = r"(?:load_rows\(|_append\(|\.insert\()(?:\s*[\w.]+,)?\s*tables\.([A-Z_]+)"
    appended = {getattr(tables, name) for name in re.findall(appending, code)}
    assert appended or service != "trainer"
    one = RIGHTS[service]
    for table in appended:
        given = {one.datasets.get(table.id.partition(".")[0]), one.tables.get(table.id)}
        assert EDITOR in given, f"{service} appends to {table.id}"


def test_the_accounts_are_those_that_pods_have() -> None:
    pods = {one["metadata"]["name"] for one in kustomize(BASE) if one["kind"] == "ServiceAccount"} - {"flit-risk"}
    assert pods == {f"flit-risk-{service}" for service, rights in RIGHTS.items() if rights.datasets}
