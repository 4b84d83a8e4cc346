"""Airflow's image and its part of the compose file."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import yaml

from tests.deployment import DEPLOY, PROJECT, REPOSITORY, compose

FOLDER = DEPLOY / "airflow"
OVERLAY: dict[str, Any] = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())
AIRFLOW = OVERLAY["services"]["airflow"]
DOCKERFILE = (FOLDER / "Dockerfile").read_text()


def test_it_keeps_to_the_compose_specification() -> None:
    schema = json.loads((REPOSITORY / "tests/data/compose/compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(OVERLAY)


def test_it_is_started_only_where_it_is_asked_for_and_seen_from_this_machine_alone() -> None:
    assert AIRFLOW["profiles"] == ["airflow", "full"]
    assert AIRFLOW["environment"]["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] == "true"
    assert all(port.startswith("127.0.0.1:") for port in AIRFLOW["ports"])
    assert AIRFLOW["cap_drop"] == ["ALL"] and AIRFLOW["security_opt"] == ["no-new-privileges:true"]


def test_whatever_it_names_is_in_the_other_file_or_in_this_one() -> None:
    whole = compose()
    assert set(AIRFLOW["networks"]) <= set(whole["networks"])
    assert set(AIRFLOW["depends_on"]) <= set(whole["services"])
    mounted = {volume.split(":")[0] for volume in AIRFLOW["volumes"]}
    assert mounted <= set(whole["volumes"]) | set(OVERLAY["volumes"])
    assert (DEPLOY / AIRFLOW["build"]["context"] / AIRFLOW["build"]["dockerfile"]).resolve() == FOLDER / "Dockerfile"
    hosts = set(re.findall(r"(\w+):\d+", " ".join(map(str, AIRFLOW["environment"].values()))))
    assert hosts <= set(whole["services"])


def test_its_image_is_of_this_release_and_its_sources_exist() -> None:
    assert AIRFLOW["image"].endswith(f":{PROJECT['version']}")
    base = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.M)
    assert base is not None and base[0] in (DEPLOY / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M):
        for source in sources.split():
            assert (REPOSITORY / source).exists(), source
    assert "USER 10001:10001" in DOCKERFILE


def test_airflow_and_the_project_are_never_in_one_environment() -> None:
    ours = (REPOSITORY / "requirements.lock").read_text()
    theirs = (FOLDER / "airflow.lock").read_text()
    assert not re.search(r"^apache-airflow==", ours, re.M)
    assert re.search(r"^apache-airflow==3\.2\.2", theirs, re.M)
    assert "--hash=sha256:" in theirs and "://" not in theirs


def test_each_task_is_a_command_that_there_is() -> None:
    dag = (FOLDER / "dags" / "flit_daily.py").read_text()
    modules = set(re.findall(r'"(services\.\w+|shared\.\w+)"', dag))
    assert {"services.ingestor", "services.sink", "services.trainer", "shared.alerts"} <= modules
    for module in modules:
        path = REPOSITORY.joinpath(*module.split("."))
        assert (path / "__main__.py").exists() or path.with_suffix(".py").exists()
