"""The Kubernetes manifests, base and overlays, as kustomize would render them."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.local.valkey import config_text
from tests.deployment import (
    BASE,
    DEPLOY,
    DEV,
    PROD,
    Object,
    apply_patch,
    compose_containers,
    identity,
    kubernetes_containers,
    kustomize,
    pod_of,
)

FOLDERS = (BASE, DEV, PROD)
VERSIONS = ("1.30", "1.37")
"""The oldest that knows every field we use (preStop's `sleep`), and the newest that the validator knows."""

SERVICES = {"ingestor", "features", "scorer", "sink"}


def validate(one: Object, version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a kind that it doesn't know, the validator only warns
        kubernetes_validate.validate(one, version, strict=True)


def pods(folder: Path) -> dict[str, Object]:
    return {one["metadata"]["name"]: pod for one in kustomize(folder) if (pod := pod_of(one)) is not None}


def containers(folder: Path) -> dict[str, Object]:
    return {container.where: container.definition for container in kubernetes_containers(folder)}


def kinds(folder: Path, kind: str) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in kustomize(folder) if one["kind"] == kind}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_object_is_valid_in_kubernetes(folder: Path, version: str) -> None:
    for one in kustomize(folder):
        validate(one, version)


def test_a_field_that_kubernetes_does_not_know_is_refused() -> None:
    deployment = kinds(BASE, "Deployment")["scorer"]
    deployment["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(deployment, VERSIONS[-1])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_object_is_declared_twice(folder: Path) -> None:
    names = [identity(one) for one in kustomize(folder)]
    assert len(names) == len(set(names))


def test_a_patch_of_nothing_is_an_error() -> None:
    patch = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "scorers"}, "spec": {"replicas": 1}}
    with pytest.raises(LookupError, match="scorers"):
        apply_patch(kustomize(BASE), patch)


def test_patches_change_what_they_name_and_nothing_else() -> None:
    before = {identity(one): one for one in kustomize(BASE)}
    after = {identity(one): one for one in kustomize(DEV)}
    changed = {name[2] for name, one in before.items() if after[name] != one}
    assert changed == {"flit-risk", "features", "scorer", "sink", "models"}
    assert after[("apps/v1", "Deployment", "scorer")]["spec"]["replicas"] == 1
    assert after[("v1", "ConfigMap", "flit-risk")]["data"]["REDIS__URL"] == "redis://valkey:6379/0"


def test_every_service_runs_and_only_dev_has_a_simulator() -> None:
    for folder in FOLDERS:
        others = {"trainer", "console"} | ({"simulator"} if folder == DEV else set())
        assert set(kinds(folder, "Deployment")) == SERVICES | others
        assert set(kinds(folder, "CronJob")) == {"reconcile", "ledger"}


def test_a_job_that_a_page_makes_after_a_cronjob_changes_what_that_has() -> None:
    page = (DEPLOY.parent / "docs/operations/where-to-type.md").read_text()
    made = re.findall(r"--from=cronjob/(\w+).*?--patch='(.*?\])'", page, re.S)
    assert len(made) == 2
    for name, patch in made:
        owned = {"metadata": {"ownerReferences": [{"kind": "CronJob", "name": name}]}}  # as kubectl makes it
        job = kinds(PROD, "CronJob")[name]["spec"]["jobTemplate"] | owned
        for operation in json.loads(patch.replace("'$image'", "IMAGE")):
            *above, last = operation["path"].split("/")[1:]
            place = job
            for step in above:
                place = place[int(step)] if isinstance(place, list) else place[step]
            assert (last in place) == (operation["op"] != "add"), operation
            if last == "serviceAccountName":
                assert operation["value"] in kinds(PROD, "ServiceAccount")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_service_has_a_disruption_budget_that_lets_a_node_be_drained(folder: Path) -> None:
    budgets = kinds(folder, "PodDisruptionBudget")
    assert set(budgets) == SERVICES
    for name, budget in budgets.items():
        assert budget["spec"]["selector"]["matchLabels"].items() <= pods(folder)[name]["metadata"]["labels"].items()
        assert budget["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_several_of_a_service_are_spread_over_nodes_and_zones(folder: Path) -> None:
    for name in ("features", "scorer", "sink"):
        spread = pods(folder)[name]["spec"]["topologySpreadConstraints"]
        assert [one["topologyKey"] for one in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        for one in spread:
            assert one["labelSelector"]["matchLabels"] == pods(folder)[name]["metadata"]["labels"]
            assert one["whenUnsatisfiable"] == "ScheduleAnyway", "a full zone must not keep a pod from starting"


def test_a_new_scorer_is_ready_before_an_old_one_goes() -> None:
    for folder in FOLDERS:
        assert kinds(folder, "Deployment")["scorer"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_of_those_that_must_be_alone_there_is_never_a_second_one() -> None:
    for name in ("ingestor", "trainer"):
        spec = kinds(PROD, "Deployment")[name]["spec"]
        assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_service_object_leads_to_a_port_of_a_pod(folder: Path) -> None:
    for service in kinds(folder, "Service").values():
        chosen = [
            pod for pod in pods(folder).values()
            if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ]  # fmt: skip
        assert len(chosen) == 1
        ports = {
            port["name"]: port["containerPort"] for one in chosen[0]["spec"]["containers"] for port in one["ports"]
        }
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_workloads_select_their_own_pods(folder: Path) -> None:
    for one in kustomize(folder):
        if one["kind"] in ("Deployment", "StatefulSet"):
            assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_probes_ask_ports_that_the_container_has(folder: Path) -> None:
    for where, container in containers(folder).items():
        ports = {port["name"] for port in container.get("ports", ())}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe not in container:
                assert any(f"/{name}" in where for name in ("prepare", "reconcile", "ledger")), where
            else:
                asked = container[probe].get("httpGet") or container[probe].get("tcpSocket")
                assert "exec" in container[probe] or asked["port"] in ports, where


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_health_is_asked_on_the_operations_port(folder: Path) -> None:
    asked = 0
    for container in kubernetes_containers(folder):
        definition = container.definition
        if container.name in SERVICES | {"trainer", "console", "simulator"}:
            ports = {port["name"]: port["containerPort"] for port in definition["ports"]}
            assert str(ports["operations"]) == container.environment["METRICS__PORT"]
            for probe, path in (("startupProbe", "/live"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")):
                assert definition[probe]["httpGet"] == {"path": path, "port": "operations"}
            asked += 1
    assert asked >= len(SERVICES)


def test_public_ports_are_those_of_the_settings() -> None:
    for container in kubernetes_containers(DEV):
        ports = {port["name"]: str(port["containerPort"]) for port in container.definition.get("ports", ())}
        if container.name == "scorer":
            assert ports["http"] == container.environment["SCORER__HTTP_PORT"]
        if container.name == "console":
            assert ports["http"] == container.environment["CONSOLE__PORT"]
        if container.name == "simulator":
            assert ports["http"] == container.environment["SIMULATOR__PORT"]
            assert container.environment["SIMTOM__URL"] == f"http://simulator:{ports['http']}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_pod_keeps_to_the_restricted_standard(folder: Path) -> None:
    assert (
        kinds(folder, "Namespace")["flit-risk"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )
    for name, pod in pods(folder).items():
        spec = pod["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert all(len({"emptyDir", "secret", "persistentVolumeClaim"} & set(v)) == 1 for v in spec.get("volumes", ()))
    for where, container in containers(folder).items():
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, where
        assert security["capabilities"] == {"drop": ["ALL"]}, where
        # Kafka's start script writes its configuration beside itself.
        assert security.get("readOnlyRootFilesystem") is True or "StatefulSet/kafka" in where, where


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_container_says_what_it_needs(folder: Path) -> None:
    for where, container in containers(folder).items():
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), where
        assert "memory" in container["resources"]["limits"], where


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_mounts_and_references_lead_somewhere(folder: Path) -> None:
    objects = kustomize(folder)
    secrets = objects + ([] if folder == DEV else _examples())
    held = {(one["kind"], one["metadata"]["name"]) for one in secrets}
    claims = {one["metadata"]["name"]: one for one in objects if one["kind"] == "StatefulSet"}
    for name, pod in pods(folder).items():
        spec = pod["spec"]
        templates = claims.get(name, {}).get("spec", {}).get("volumeClaimTemplates", ())
        volumes = {one["name"] for one in spec.get("volumes", ())} | {one["metadata"]["name"] for one in templates}
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            for source in container.get("envFrom", ()):
                wanted = source.get("configMapRef")
                if wanted and (folder == PROD or not wanted.get("optional")):
                    assert ("ConfigMap", wanted["name"]) in held
        for volume in spec.get("volumes", ()):
            if "secret" in volume and not volume["secret"].get("optional"):
                assert ("Secret", volume["secret"]["secretName"]) in held
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in held
        if "serviceAccountName" in spec:
            assert ("ServiceAccount", spec["serviceAccountName"]) in held


def _examples() -> list[Object]:
    return list(yaml.safe_load_all((PROD / "secrets.example.yaml").read_text()))


def test_everybody_who_has_to_know_people_by_their_pseudonyms_is_given_the_key() -> None:
    """Who runs a command of a service of these reads the Secret of his own pod."""
    page = (DEPLOY.parent / "docs/operations/personal-data.md").read_text()
    named = re.search(r"on Kubernetes each of the Secrets ([^(]*)", page)
    assert named is not None
    told = {f"flit-risk-{name}" for name in re.findall(r"`(?:flit-risk)?-(\w+)`", named[1])}
    own = {
        source["secretRef"]["name"]
        for one in kubernetes_containers(PROD)
        if one.image.split(":")[0].rpartition("/")[2] in {"features", "scorer", "sink", "ledger"}
        for source in one.definition.get("envFrom", ())
        if "secretRef" in source
    }
    assert told == own - {"flit-risk", "flit-risk-deployer"}


def test_the_example_of_secrets_is_valid_and_not_applied() -> None:
    for one in _examples():
        validate(one, VERSIONS[-1])
    assert not kinds(PROD, "Secret")


def test_the_production_overlay_pulls_every_image_from_its_registry() -> None:
    assert all(one.image.startswith("registry.example.com/flit-risk/") for one in kubernetes_containers(PROD))


def test_both_files_start_the_services_alike() -> None:
    by_compose = {one.name: (one.command, list(one.arguments)) for one in compose_containers()}
    by_kubernetes = {one.name: (one.command, list(one.arguments)) for one in kubernetes_containers(DEV)}
    for name in (*SERVICES, "trainer", "simulator", "console", "bigquery"):
        assert by_compose[name] == by_kubernetes[name]
    assert by_compose["create-topics"] == by_kubernetes["topics"]
    assert by_compose["create-warehouse"] == by_kubernetes["warehouse"]


@pytest.mark.parametrize("source", [compose_containers, lambda: kubernetes_containers(DEV)], ids=["compose", "dev"])
def test_valkey_keeps_what_the_embedded_one_keeps(source: Any) -> None:
    arguments = next(one.arguments for one in source() if one.name == "valkey")
    given = {flag.removeprefix("--"): value for flag, value in zip(arguments[1::2], arguments[2::2], strict=True)}
    embedded = dict(line.split(" ", 1) for line in config_text(0, BASE).splitlines())
    del given["maxmemory"]  # of the container
    assert given == {name: embedded[name].strip('"') for name in given}
    assert {"appendonly", "appendfsync", "save", "maxmemory-policy"} == set(given)


@pytest.mark.parametrize("source", [compose_containers, lambda: kubernetes_containers(DEV)], ids=["compose", "dev"])
def test_kafka_never_makes_a_topic_by_itself(source: Any) -> None:
    kafka = next(one.environment for one in source() if one.name == "kafka")
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
