"""What goes beside the base: autoscaling, monitoring, and examples of the operators that run Kafka and Redis.

Kinds that operators bring are unknown to Kubernetes' own schemas, and theirs come in no package that is locked here: of
those the fields that we use are checked against what their documentation says, and against the code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.gcp.rights import ACCOUNT_PREFIX, RIGHTS
from deploy.local import kafka_jars
from deploy.monitoring.operator import prometheus_rule
from shared.contracts.topics import ALL, FEATURES, OUTCOMES, TRANSACTIONS
from shared.kafka.grants import OUR_PREFIX, OURS, grants_of
from tests.deployment import (
    AUTOSCALING,
    BASE,
    DEPLOY,
    KEDA,
    MONITORING,
    PROD,
    REGISTRY,
    REPOSITORY,
    Object,
    kubernetes_containers,
    kustomize,
    pod_of,
)
from tests.unit.deploy.test_manifests import VERSIONS, validate

STRIMZI, REDIS = (
    list(yaml.safe_load_all((DEPLOY / "k8s/examples" / name).read_text())) for name in ("strimzi.yaml", "redis.yaml")
)
PARTITIONS = int(kubernetes_containers(PROD)[0].environment["KAFKA__PARTITIONS"])

READ = {"features": (TRANSACTIONS, OUTCOMES), "sink": ALL}
"""What each reads as a group (services/features/app.py, services/sink/loop.py)."""


def only(kind: str, objects: list[Object]) -> dict[str, Any]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def closed(**properties: Any) -> dict[str, Any]:
    """An object that has these fields and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
ANYTHING: dict[str, Any] = {}
SCALED_OBJECT = closed(
    scaleTargetRef=closed(name=TEXT),
    pollingInterval=NUMBER,
    minReplicaCount=NUMBER,
    maxReplicaCount=NUMBER,
    fallback=closed(failureThreshold=NUMBER, replicas=NUMBER),
    advanced=closed(horizontalPodAutoscalerConfig=closed(behavior=ANYTHING)),
    triggers={
        "type": "array",
        "items": closed(
            type={"const": "kafka"},
            # The scaler takes text only, also for numbers and truth values.
            metadata=closed(
                bootstrapServersFromEnv=TEXT, consumerGroup=TEXT, topic=TEXT, lagThreshold=TEXT, offsetResetPolicy=TEXT,
                allowIdleConsumers=TEXT, scaleToZeroOnInvalidOffset=TEXT,
                sasl={"enum": ["none", "plaintext", "scram_sha256", "scram_sha512", "oauthbearer", "gssapi"]},
                tls={"enum": ["enable", "disable"]},
            ),
            authenticationRef=closed(name=TEXT),
        ),
    },
)  # fmt: skip
"""Of keda.sh/v1alpha1, what is used here."""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_autoscaler_is_valid_and_scales_the_scorer_within_what_it_is_given(version: str) -> None:
    (scaler,) = only("HorizontalPodAutoscaler", kustomize(BASE, AUTOSCALING)).values()
    validate(scaler, version)
    spec = scaler["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scorer"}
    # One may be drained and one restarted, and somebody still answers.
    assert 3 <= spec["minReplicas"] < spec["maxReplicas"]
    assert spec["metrics"][0]["resource"]["name"] == "cpu"


@pytest.mark.parametrize(("component", "scaled"), [(AUTOSCALING, {"scorer"}), (KEDA, {"features", "sink"})])
def test_an_apply_leaves_the_number_of_what_is_scaled_alone(component: Path, scaled: set[str]) -> None:
    for name, one in only("Deployment", kustomize(BASE, component)).items():
        assert ("replicas" in one["spec"]) == (name not in scaled), name


def test_production_scales_its_scorers() -> None:
    assert set(only("HorizontalPodAutoscaler", kustomize(PROD))) == {"scorer"}


PAGES = [*sorted((REPOSITORY / "docs").rglob("*.md")), *sorted((REPOSITORY / "services").glob("*/README.md"))]
SCALE = re.compile(r"kubectl [^`]*?scale\s+deployment/(\w+)\s+--replicas=(\w+)")
PATCH = re.compile(r"patch (hpa|scaledobject) (\w+) (--type merge )?--patch '([^']*)'")


def test_a_command_for_more_of_a_service_leaves_no_fewer_than_may_run_already() -> None:
    most = {name: one["spec"]["maxReplicaCount"] for name, one in only("ScaledObject", kustomize(BASE, KEDA)).items()}
    # To nothing: it is to be stopped.
    named = [found for page in PAGES for found in SCALE.findall(page.read_text()) if found[1] != "0"]
    assert {"scorer", "features", "sink"} == {name for name, _ in named}
    for name, number in named:
        # How many scorers run, no page can know.
        assert number == ("N" if name == "scorer" else str(most[name])), name


def test_a_command_that_raises_an_autoscalers_floor_is_one_that_it_takes() -> None:
    scalers = {
        "hpa": only("HorizontalPodAutoscaler", kustomize(PROD)),
        "scaledobject": only("ScaledObject", kustomize(BASE, KEDA)),
    }
    named = [found for page in PAGES for found in PATCH.findall(page.read_text())]
    assert {kind for kind, *_ in named} == set(scalers)
    for kind, name, merging, patch in named:
        spec = scalers[kind][name]["spec"]
        ((field, floor),) = yaml.safe_load(patch)["spec"].items()
        assert spec[field] < floor <= spec[field.replace("min", "max")]
        # Of a kind that it doesn't know, the API server makes no strategic merge.
        assert bool(merging) == (kind == "scaledobject")


def test_consumers_are_scaled_by_the_lag_of_their_own_group_on_every_topic_that_it_reads() -> None:
    objects = kustomize(BASE, KEDA)
    scaled = only("ScaledObject", objects)
    assert set(scaled) == {"features", "sink"}
    for name, one in scaled.items():
        assert one["apiVersion"] == "keda.sh/v1alpha1"
        jsonschema.validate(one["spec"], SCALED_OBJECT)
        assert one["spec"]["scaleTargetRef"]["name"] in only("Deployment", objects)
        assert one["spec"]["maxReplicaCount"] == one["spec"]["fallback"]["replicas"] == PARTITIONS
        asked = [trigger["metadata"] for trigger in one["spec"]["triggers"]]
        assert [each["topic"] for each in asked] == [topic.name for topic in READ[name]]
        for each in asked:
            assert each["consumerGroup"] == f"{OUR_PREFIX}{name}"
            pod = next(container for container in kubernetes_containers(PROD) if container.name == name)
            assert each["bootstrapServersFromEnv"] in pod.environment
            assert each["sasl"] == pod.environment["KAFKA__SASL_MECHANISM"].lower().replace("-sha-", "_sha")
            assert (each["tls"] == "enable") == ("SSL" in pod.environment["KAFKA__SECURITY_PROTOCOL"])


def test_who_counts_the_lag_shows_the_services_own_password() -> None:
    examples = list(yaml.safe_load_all((PROD / "secrets.example.yaml").read_text()))
    held = {one["metadata"]["name"]: set(one["stringData"]) for one in examples}
    for name, one in only("TriggerAuthentication", kustomize(BASE, KEDA)).items():
        references = one["spec"]["secretTargetRef"]
        assert [each["parameter"] for each in references] == ["username", "password", "ca"]
        assert {each["name"] for each in references} == {f"flit-risk-{name}", "flit-risk-authorities"}
        assert all(each["key"] in held[each["name"]] for each in references)


@pytest.mark.parametrize("version", VERSIONS)
def test_with_the_registry_in_a_bucket_every_account_of_google_is_a_pods(version: str) -> None:
    objects = kustomize(PROD, REGISTRY)
    for one in objects:
        if one["apiVersion"] in ("v1", "apps/v1", "networking.k8s.io/v1"):
            validate(one, version)
    accounts = {name for name in only("ServiceAccount", objects) if name != "flit-risk"}
    assert accounts == {f"{ACCOUNT_PREFIX}{service}" for service in RIGHTS}
    for name, rights in RIGHTS.items():
        pod = next(pod for one in objects if one["metadata"]["name"] == name and (pod := pod_of(one)))
        assert pod["spec"]["serviceAccountName"] == f"{ACCOUNT_PREFIX}{name}", rights


def test_with_the_registry_in_a_bucket_no_volume_is_shared() -> None:
    objects = kustomize(PROD, REGISTRY)
    assert only("ConfigMap", objects)["flit-risk"]["data"]["MODEL_REGISTRY__URI"].startswith("gs://")
    assert only("PersistentVolumeClaim", objects)["models"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    mounting = set()
    for name, one in only("Deployment", objects).items():
        volumes = {each["name"]: each for each in one["spec"]["template"]["spec"]["volumes"]}
        assert "emptyDir" in volumes["tmp"], "the copies of models, by default"
        if "persistentVolumeClaim" in volumes.get("models", {}):
            mounting.add(name)
            assert one["spec"]["replicas"] == 1
    assert mounting == {"trainer"}


def test_prometheus_is_told_of_every_service_object_that_has_metrics() -> None:
    objects = kustomize(BASE, MONITORING)
    (monitor,) = only("ServiceMonitor", objects).values()
    schema = closed(
        jobLabel=TEXT, selector=ANYTHING,
        endpoints={
            "type": "array",
            "items": closed(port=TEXT, path=TEXT, interval=TEXT, scrapeTimeout=TEXT, honorLabels={"const": True}),
        },
    )  # fmt: skip
    jsonschema.validate(monitor["spec"], schema)
    (expression,) = monitor["spec"]["selector"]["matchExpressions"]
    serving = [
        one
        for one in only("Service", objects).values()
        if any(port["name"] == "operations" for port in one["spec"]["ports"])
    ]
    # The label becomes the job, by which rules and dashboards go. Each once: nobody is to be asked, and counted, twice.
    jobs = [one["metadata"]["labels"][monitor["spec"]["jobLabel"]] for one in serving]
    assert sorted(jobs) == sorted(expression["values"])
    assert jobs == [one["spec"]["selector"]["app.kubernetes.io/name"] for one in serving]
    (endpoint,) = monitor["spec"]["endpoints"]
    # Rules ask for `service`, as the metrics have it.
    assert (endpoint["port"], endpoint["path"], endpoint["honorLabels"]) == ("operations", "/metrics", True)


def test_the_operators_rules_are_all_of_those_that_prometheus_reads_from_files() -> None:
    files = [
        yaml.safe_load((DEPLOY / "monitoring/rules" / f"{name}.yml").read_text()) for name in ("recording", "alerts")
    ]
    *ours, cluster = prometheus_rule()["spec"]["groups"]
    assert ours == [group for file in files for group in file["groups"]]
    objects = kustomize(PROD)
    for rule in cluster["rules"]:
        assert (DEPLOY.parent / rule["annotations"]["runbook"]).is_file()
        for name in re.findall(r'(?:cronjob="|job_name=~")(\w+)', rule["expr"]):
            assert name in only("CronJob", objects)
        for name in re.findall(r'up\{job="(\w+)"', rule["expr"]):
            assert name in only("Deployment", objects)


def test_strimzi_runs_the_kafka_that_the_tests_run_and_makes_no_topic_by_itself() -> None:
    (cluster,) = only("Kafka", STRIMZI).values()
    kafka = cluster["spec"]["kafka"]
    assert kafka["version"] == kafka_jars.VERSION
    assert kafka["config"]["auto.create.topics.enable"] == "false"
    assert kafka["authorization"] == {"type": "simple"}
    (listener,) = kafka["listeners"]
    assert listener["tls"] is True and listener["authentication"] == {"type": "scram-sha-512"}
    (pool,) = only("KafkaNodePool", STRIMZI).values()
    replication = kubernetes_containers(PROD)[0].environment["KAFKA__REPLICATION_FACTOR"]
    assert pool["spec"]["replicas"] >= int(replication) > kafka["config"]["min.insync.replicas"]
    assert {one["metadata"]["labels"]["strimzi.io/cluster"] for one in STRIMZI if one["kind"] != "Kafka"} == {
        cluster["metadata"]["name"]
    }


def test_strimzis_users_have_the_declared_rights_and_no_others() -> None:
    users = only("KafkaUser", STRIMZI)
    assert set(users) == set(OURS)
    for name, user in users.items():
        given = {
            (
                acl["resource"]["type"],
                acl["resource"]["name"],
                acl["resource"].get("patternType") == "prefix",
                operation,
            )
            for acl in user["spec"]["authorization"]["acls"]
            for operation in acl["operations"]
        }
        assert given == {
            (one.resource.lower(), one.name, one.prefixed, str(one.operation)) for one in grants_of(OURS[name], name)
        }


def test_only_who_talks_to_the_brokers_gets_to_strimzis() -> None:
    (cluster,) = only("Kafka", STRIMZI).values()
    peer, scaler = cluster["spec"]["kafka"]["listeners"][0]["networkPolicyPeers"]
    assert scaler["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}
    assert scaler["podSelector"] == {"matchLabels": {"app": "keda-operator"}}
    kept_ms = 60_000 * cluster["spec"]["kafka"]["config"]["offsets.retention.minutes"]
    assert kept_ms > FEATURES.retention_ms
    policy = only("NetworkPolicy", kustomize(PROD))["to-kafka"]
    assert peer["podSelector"] == policy["spec"]["podSelector"]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "flit-risk"}}


def test_only_who_reads_redis_gets_to_the_operators() -> None:
    (policy,) = only("NetworkPolicy", REDIS).values()
    validate(policy, VERSIONS[0])
    (server,) = only("Redis", REDIS)
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app": server}
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"] == only("NetworkPolicy", kustomize(PROD))["to-redis"]["spec"]["podSelector"]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "flit-risk"}}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_examples_are_applied_to_the_namespace_that_is_made_for_them(version: str) -> None:
    folder = DEPLOY / "k8s/examples"
    (namespace,) = yaml.safe_load_all((folder / "namespace.yaml").read_text())
    validate(namespace, version)
    name, level = namespace["metadata"]["name"], namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    for file, objects in (("strimzi.yaml", STRIMZI), ("redis.yaml", REDIS)):
        text = (folder / file).read_text()
        assert set(re.findall(r"--namespace (\S+)", text)) == {name}
        assert "namespace.yaml" in text and re.search(rf"\b{name}\.svc:\d+", text)
        assert not any("namespace" in one["metadata"] for one in objects)
    # Its pods keep to that level only where its operator is told to.
    assert f"STRIMZI_POD_SECURITY_PROVIDER_CLASS={level}" in (folder / "strimzi.yaml").read_text()


def test_redis_by_its_operator_forgets_nothing_that_it_has_acknowledged() -> None:
    (server,) = only("Redis", REDIS).values()
    held = only("ConfigMap", REDIS)[server["spec"]["redisConfig"]["additionalRedisConfig"]]["data"]
    lines = dict(line.split(" ", 1) for line in held["redis-additional.conf"].splitlines())
    assert lines == {
        "appendonly": "yes", "appendfsync": "always", "save": '""', "maxmemory-policy": "noeviction",
        "maxmemory": "2600mb",
    }  # fmt: skip
    assert server["spec"]["TLS"]["secret"]["secretName"] and server["spec"]["acl"]["secret"]["secretName"]
    assert re.fullmatch(r"\S+:v\d+\.\d+\.\d+", server["spec"]["kubernetesConfig"]["image"])
    assert server["spec"]["podSecurityContext"]["runAsNonRoot"] is True
