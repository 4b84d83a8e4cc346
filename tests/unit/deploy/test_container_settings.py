"""Settings in compose file and manifests against the settings classes of the code."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from services.scorer.keys import Access, Scope
from shared.kafka.admin import AdminSettings
from shared.kafka.grants import OUR_PREFIX, OURS
from shared.redis_grants import USERS
from shared.settings import ServiceSettings, load_settings
from shared.warehouse.__main__ import WarehouseSettings
from tests.deployment import (
    BASE,
    DEPLOY,
    DEV,
    PROD,
    Container,
    compose_containers,
    image_environment,
    kubernetes_containers,
    kustomize,
    ours,
    stages,
)

EXAMPLE_KEY = "flit_local000_known-to-everybody"
NO_SETTINGS = frozenset({"SECRETS_DIR"})
"""Where settings are found, and none itself."""
SERVICES = ("ingestor", "features", "scorer", "sink", "trainer", "simulator", "console", "ledger")


def settings_of(container: Container) -> type[ServiceSettings]:
    if container.command is not None:
        return {"shared.kafka.admin": AdminSettings, "shared.warehouse": WarehouseSettings}[container.command[2]]
    kind: type[ServiceSettings] = getattr(
        importlib.import_module(f"services.{container.ours}.settings"), f"{str(container.ours).capitalize()}Settings"
    )
    return kind


def fields(kind: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """By the name of the environment variable, the fields of a settings class."""
    found: dict[str, FieldInfo] = {}
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= fields(field.annotation, f"{prefix}{name.upper()}__")
        else:
            found[prefix + name.upper()] = field
    return found


def variables(kind: type[BaseModel]) -> dict[str, object]:
    """Names of the environment variables that a settings class reads, with their defaults."""
    return {name: field.default for name, field in fields(kind).items()}


IN_COMPOSE = ours(compose_containers())
IN_KUBERNETES = [one for folder in (BASE, DEV, PROD) for one in ours(kubernetes_containers(folder))]
ALL = IN_COMPOSE + IN_KUBERNETES


def load(container: Container, monkeypatch: pytest.MonkeyPatch, **more: str) -> ServiceSettings:
    for name in list(os.environ):
        if "__" in name or name in ("PROFILE", "SECRETS_DIR"):
            monkeypatch.delenv(name)
    for name, value in (image_environment(stages()["service"]) | dict(container.environment) | more).items():
        if "__" in name or name == "PROFILE":
            monkeypatch.setenv(name, value)
    return load_settings(settings_of(container))


def test_every_container_of_ours_has_settings_to_compare_with() -> None:
    assert {one.ours for one in IN_COMPOSE} == {one.ours for one in IN_KUBERNETES} == set(SERVICES)


@pytest.mark.parametrize("container", ALL, ids=lambda one: one.where)
def test_every_variable_of_a_container_is_a_setting_of_its_service(container: Container) -> None:
    assert container.own_variables - NO_SETTINGS <= set(variables(settings_of(container)))


@pytest.mark.parametrize("container", ALL, ids=lambda one: one.where)
def test_values_are_ones_that_the_service_starts_with(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(container, monkeypatch)
    assert settings.metrics.host == "0.0.0.0"
    assert settings.metrics.port == 9100


def test_what_compose_passes_on_is_the_service_s_own_where_nobody_sets_it() -> None:
    passed_on = {
        name for _, name in re.findall(r"(\w+): \"\$\{(\w+__\w+):-", (DEPLOY / "docker-compose.yml").read_text())
    }
    # The first goes with the bundled simulator, as the address does, the second with how much Valkey may hold.
    passed_on -= {"SIMTOM__CUSTOMER_SCOPE", "SCORER__CLAIM_TTL_SECONDS"}
    assert "LIMITS__MAX_AMOUNT" in passed_on
    for container in IN_COMPOSE:
        defaults = variables(settings_of(container))
        for name in passed_on & set(container.environment):
            given, default = container.environment[name], defaults[name]
            assert (given if isinstance(default, str) else float(given)) == default, (container.name, name)


@pytest.mark.parametrize("container", ALL, ids=lambda one: one.where)
def test_no_address_is_left_at_this_machine(container: Container) -> None:
    given = image_environment(stages()["service"]) | dict(container.environment)
    for name, default in variables(settings_of(container)).items():
        if "127.0.0.1" in str(default):
            assert "127.0.0.1" not in given.get(name, "127.0.0.1"), name


@pytest.mark.parametrize("folder", [BASE, DEV, PROD], ids=lambda folder: folder.name)
def test_every_variable_of_the_shared_configuration_is_a_setting_of_some_service(folder: Path) -> None:
    config = next(one for one in kustomize(folder) if one["kind"] == "ConfigMap")
    known = {name for one in ours(kubernetes_containers(folder)) for name in variables(settings_of(one))}
    assert set(config["data"]) <= known


def test_production_refuses_to_start_without_encryption_or_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = next(one for one in kubernetes_containers(PROD) if one.name == "scorer")
    assert load(scorer, monkeypatch).profile == "production"
    for name, value in (
        ("KAFKA__SECURITY_PROTOCOL", "PLAINTEXT"),
        ("REDIS__URL", "redis://redis.example.com:6379/0"),
        ("SCORER__API_KEYS_FILE", ""),
        ("MODEL_REGISTRY__PUBLIC_KEYS_FILE", ""),
    ):
        changed = Container("", "scorer", scorer.image, {**scorer.environment, name: value})
        if not value:
            changed = Container("", "scorer", scorer.image, {k: v for k, v in scorer.environment.items() if k != name})
            monkeypatch.delenv(name)
        with pytest.raises(SystemExit):
            load(changed, monkeypatch)


def test_in_production_the_trainer_alone_has_the_key_that_signs() -> None:
    containers = {one.name: one for one in kubernetes_containers(PROD)}
    signing = {name for name, one in containers.items() if "MODEL_REGISTRY__SIGNING_KEY_FILE" in one.environment}
    mounting = {
        name
        for name, one in containers.items()
        if any(mount["name"] == "signing-key" for mount in one.definition.get("volumeMounts", ()))
    }
    assert signing == mounting == {"trainer"}


def test_each_service_in_production_is_a_user_of_its_own() -> None:
    users = {one.name: one.environment for one in kubernetes_containers(PROD)}
    for service in ("ingestor", "features", "scorer", "sink", "ledger"):
        role = f"{OUR_PREFIX}{service}"
        assert f"//{role}:" in users[service]["REDIS__URL"]
        assert role in USERS
    by_container = {one.name: one.environment.get("KAFKA__SASL_USERNAME") for one in kubernetes_containers(PROD)}
    assert by_container == {
        "ingestor": "flit-ingestor",
        "features": "flit-features",
        "scorer": "flit-scorer",
        "sink": "flit-sink",
        "topics": "flit-deployer",
        "warehouse": None,
        "reconcile": "flit-operators",
        "ledger": "flit-ledger",
        "trainer": None,
        "console": None,
    }
    assert {name for name in by_container.values() if name} <= set(OURS)


def test_all_agree_on_the_number_of_partitions() -> None:
    for where in (compose_containers(), kubernetes_containers(DEV), kubernetes_containers(PROD)):
        counts = {one.environment["KAFKA__PARTITIONS"] for one in where if "KAFKA__PARTITIONS" in one.environment}
        assert len(counts) == 1


def test_the_example_key_opens_the_scorer_of_this_machine_only(tmp_path: Path) -> None:
    in_cluster = next(one for one in kustomize(DEV) if one["kind"] == "Secret")["stringData"]["api-keys"]
    (tmp_path / "keys").write_text(in_cluster)
    for file in (DEPLOY / "api-keys.example", tmp_path / "keys"):
        assert Access.load(file).caller(f"Bearer {EXAMPLE_KEY}", "10.0.0.1", [Scope.DECIDE]).name == "local"
    digest = hashlib.sha256(EXAMPLE_KEY.encode()).hexdigest()
    assert not any(digest in path.read_text() for folder in (BASE, PROD) for path in folder.iterdir())
