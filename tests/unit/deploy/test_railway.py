"""Railway's files against what Railway documents, and against the code and the Kubernetes manifests, both ways."""

from __future__ import annotations

import json
import os
import re
import shlex
import urllib.request
from fnmatch import fnmatch
from typing import Any

import jsonschema
import pytest

from deploy.gcp.rights import RIGHTS
from shared.settings import ServiceSettings, load_settings
from shared.telemetry.operations import OperationsServer
from shared.variable_files import SUFFIX
from tests.deployment import (
    DEPLOY,
    DEV,
    PROD,
    PROJECT,
    REPOSITORY,
    image_environment,
    kubernetes_containers,
    kustomize,
    ours,
    stages,
)
from tests.unit.deploy.test_container_settings import settings_of, variables

FOLDER = DEPLOY / "railway"
SERVICES = ("ingestor", "features", "scorer", "sink", "trainer", "console")
PLATFORMS = frozenset({"SERVICE", "PORT"})
"""Variables that Railway reads: build arguments, and the port of health checks."""
GOOGLE = f"GOOGLE_APPLICATION_CREDENTIALS{SUFFIX}"
"""Where Google's libraries look for a key; in a cluster workload identity takes its place."""

nullable_text = {"type": ["string", "null"]}
DOCUMENTED = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "$schema": {"const": "https://railway.com/railway.schema.json"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "builder": {"enum": ["RAILPACK", "DOCKERFILE"]},
                "watchPatterns": {"type": "array", "items": {"type": "string"}},
                "buildCommand": nullable_text,
                "dockerfilePath": nullable_text,
            },
        },
        "deploy": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "startCommand": nullable_text,
                "preDeployCommand": {"type": "array", "items": {"type": "string"}},
                "multiRegionConfig": {"type": ["object", "null"]},
                "healthcheckPath": nullable_text,
                "healthcheckTimeout": {"type": ["integer", "null"]},
                "restartPolicyType": {"enum": ["ON_FAILURE", "ALWAYS", "NEVER"]},
                "restartPolicyMaxRetries": {"type": ["integer", "null"]},
                "cronSchedule": nullable_text,
                # The documentation's examples have text here, which the parser refuses (railwayapp/docs, issue 1243).
                "overlapSeconds": {"type": ["integer", "null"]},
                "drainingSeconds": {"type": ["integer", "null"]},
            },
        },
        "environments": {"type": "object"},
    },
}
"""Railway's configuration as code, by its reference as of 2026, without the fields of builders that we don't use."""


def configuration(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name / "railway.json").read_text())
    return found


def pairs(path: str) -> dict[str, str]:
    lines = [line for line in (FOLDER / path).read_text().splitlines() if line and not line.startswith("#")]
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines), f"{path} names a variable twice"
    return found


SHARED = pairs("shared.env")
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/railway.json"))


def given(name: str) -> dict[str, str]:
    """A service's variables, with what they refer to put in."""

    def meant(match: re.Match[str]) -> str:
        namespace, _, variable = match[1].partition(".")
        if namespace == "shared":
            return SHARED[variable]
        assert namespace in NAMES and variable == "RAILWAY_PRIVATE_DOMAIN", match[0]
        return f"{namespace}.railway.internal"

    return {key: re.sub(r"\$\{\{(.+?)\}\}", meant, value) for key, value in pairs(f"{name}/variables.env").items()}


def names(name: str) -> set[str]:
    """The settings that a service is given, those with a file of their own by the setting that names it."""
    return {key.removesuffix(SUFFIX) for key in given(name)} - PLATFORMS - {GOOGLE.removesuffix(SUFFIX)}


def of_production(name: str) -> dict[str, str]:
    """What the production overlay gives to the same service, as far as its code reads it."""
    container = next(one for one in ours(kubernetes_containers(PROD)) if one.name == name)
    known = variables(settings_of(container))
    return {key: value for key, value in container.environment.items() if key in known}


def test_every_service_of_production_is_there_and_what_prepares_and_keeps_state_for_it() -> None:
    assert set(NAMES) == {*SERVICES, "prepare", "valkey"}
    guide = (REPOSITORY / "docs/how-to/railway.md").read_text()
    assert all(f"deploy/railway/{name}" in guide or f"| `{name}` |" in guide for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_the_documented_fields_and_no_others(name: str) -> None:
    jsonschema.Draft202012Validator(DOCUMENTED).validate(configuration(name))


def test_a_field_that_is_not_documented_is_refused() -> None:
    document = configuration("scorer")
    document["deploy"]["healthcheckpath"] = "/ready"
    with pytest.raises(jsonschema.ValidationError, match="healthcheckpath"):
        jsonschema.Draft202012Validator(DOCUMENTED).validate(document)


@pytest.mark.parametrize("name", NAMES)
def test_the_image_is_built_from_a_dockerfile_that_railway_builds_for_a_service_that_there_is(name: str) -> None:
    build = configuration(name)["build"]
    dockerfile = (REPOSITORY / build["dockerfilePath"]).read_text()
    assert "--mount=type=cache" not in dockerfile, "Railway refuses one that doesn't name its own service"
    for pattern in build["watchPatterns"]:
        assert list(REPOSITORY.glob(pattern)), pattern
    if name != "valkey":
        assert list(stages())[-1] == "service" and "SERVICE" in stages()["service-packages"].all("ARG")
        assert given(name)["SERVICE"] == ("sink" if name == "prepare" else name)
        assert given(name)["SERVICE"] in PROJECT["optional-dependencies"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_given_what_production_gives_it_and_every_name_is_a_setting(name: str) -> None:
    container = next(one for one in ours(kubernetes_containers(PROD)) if one.name == name)
    assert names(name) <= set(variables(settings_of(container)))
    # Where its image serves metrics, each image says itself.
    assert names(name) == set(of_production(name)) - {"METRICS__HOST", "METRICS__PORT"}


@pytest.mark.parametrize("name", [*SERVICES, "prepare"])
def test_the_values_are_ones_that_the_service_starts_with_in_the_production_profile(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in kinds(name):
        for variable in list(os.environ):
            if "__" in variable or variable in ("PROFILE", "SECRETS_DIR"):
                monkeypatch.delenv(variable)
        environment = image_environment(stages()["service"]) | {
            key.removesuffix(SUFFIX): str(REPOSITORY / "README.md") if key.endswith(SUFFIX) else value
            for key, value in given(name).items()
        }
        for key, value in environment.items():
            if "__" in key or key == "PROFILE":
                monkeypatch.setenv(key, value)
        settings = load_settings(kind)
        assert settings.profile == "production"
        assert (settings.metrics.host, settings.metrics.port) == ("0.0.0.0", 9100)
        for variable, default in variables(kind).items():
            if "127.0.0.1" in str(default):
                assert "127.0.0.1" not in environment.get(variable, "127.0.0.1"), variable


def kinds(name: str) -> list[type[ServiceSettings]]:
    places = ("topics", "warehouse") if name == "prepare" else (name,)
    return [settings_of(one) for one in ours(kubernetes_containers(PROD)) if one.name in places]


def test_what_a_platform_cant_mount_reaches_the_service_as_the_file_that_its_setting_names() -> None:
    contents = {key for name in NAMES for key in pairs(f"{name}/variables.env") if key.endswith(SUFFIX)} - {GOOGLE}
    files = {key for name in SERVICES for key, value in of_production(name).items() if value.startswith("/etc/flit/")}
    assert contents == {f"{key}{SUFFIX}" for key in files}


@pytest.mark.parametrize("name", NAMES)
def test_who_asks_google_has_a_key_and_nobody_else_has_one(name: str) -> None:
    assert (GOOGLE in given(name)) == (name in RIGHTS)


@pytest.mark.parametrize("name", [*SERVICES, "prepare"])
def test_each_is_the_user_that_it_is_in_production(name: str) -> None:
    theirs = next(one for one in kubernetes_containers(PROD) if one.name == ("topics" if name == "prepare" else name))
    assert given(name).get("KAFKA__SASL_USERNAME") == theirs.environment.get("KAFKA__SASL_USERNAME")
    if "REDIS__URL" in given(name):
        assert given(name)["REDIS__URL"].startswith(f"rediss://flit-{name}:")


def test_each_shared_variable_is_used_and_each_reference_leads_somewhere() -> None:
    used = {
        found for name in NAMES for value in pairs(f"{name}/variables.env").values()
        for found in re.findall(r"\$\{\{shared\.(\w+)\}\}", value)
    }  # fmt: skip
    assert used == set(SHARED)
    assert all(given(name) for name in NAMES)


def test_health_is_asked_where_the_operations_server_answers() -> None:
    asked = {name: configuration(name)["deploy"]["healthcheckPath"] for name in SERVICES}
    # Features that make their states anew aren't ready for as long as that takes: with two million records longer than
    # the five minutes that a deployment has to get ready, and Railway would refuse each one.
    assert asked == dict.fromkeys(SERVICES, "/ready") | {"features": "/live"}
    assert not any("healthcheckPath" in configuration(name)["deploy"] for name in ("prepare", "valkey"))
    assert {given(name)["PORT"] for name in SERVICES} == {image_environment(stages()["service"])["METRICS__PORT"]}
    server = OperationsServer(0, lambda: None)
    server.start()
    try:
        for path in set(asked.values()):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as answer:
                assert answer.status == 200
    finally:
        server.stop()


def test_ports_of_addresses_are_those_that_the_services_listen_on() -> None:
    console = given("console")
    assert console["CONSOLE__SCORER_URL"] == f"http://scorer.railway.internal:{given('scorer')['SCORER__HTTP_PORT']}"
    for name in ("ingestor", "features", "scorer", "sink"):
        assert console[f"CONSOLE__HEALTH__{name.upper()}"] == f"http://{name}.railway.internal:{given(name)['PORT']}"
    assert "--tls-port 6379" in (FOLDER / "valkey/start.sh").read_text()
    assert given("sink")["REDIS__URL"].endswith("@valkey.railway.internal:6379/0")


def test_a_service_has_longer_to_stop_than_it_takes() -> None:
    for name in SERVICES:
        pod = next(
            one["spec"]["template"]["spec"] for one in deployments() if one["metadata"]["name"] == name
        )  # fmt: skip
        assert configuration(name)["deploy"]["drainingSeconds"] == pod["terminationGracePeriodSeconds"]


def deployments() -> list[dict[str, Any]]:
    return [one for one in kustomize(PROD) if one["kind"] == "Deployment"]


def test_valkey_is_of_the_version_and_has_the_settings_of_the_others() -> None:
    image = next(
        line.split()[1] for line in (FOLDER / "valkey/Dockerfile").read_text().splitlines() if line.startswith("FROM ")
    )
    assert image == next(one.image for one in kubernetes_containers(DEV) if one.name == "valkey")
    script = (FOLDER / "valkey/start.sh").read_text()
    line = shlex.split(script[script.index("exec ") :].replace("\\\n", " "))
    options = dict(zip(line[3::2], line[4::2], strict=True))
    # On the disk before it is answered, as production asks for it (deploy/README.md).
    assert options["--appendfsync"] == "always" and options["--maxmemory-policy"] == "noeviction"
    assert options["--port"] == "0", "nothing but TLS"
    # How much memory there is, Railway's settings say; nought is no bound, as before there was this variable.
    assert options["--maxmemory"] == "${MAXMEMORY:-0}" and re.fullmatch(r"\d+gb", given("valkey")["MAXMEMORY"])
    assert set(re.findall(r"\$\{?([A-Z_]{3,})", script)) == set(given("valkey"))
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert any(fnmatch("deploy/railway/valkey/start.sh", rule[1:]) for rule in allowed if rule.startswith("!"))
