"""Who may talk to whom in the cluster, and who has to: worked out from the policies, and from what the code reads."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.gcp.rights import RIGHTS
from shared.alerts.settings import SMTP_PORTS
from tests.deployment import (
    BASE,
    DEPLOY,
    DEV,
    LOAD_BALANCER,
    PROD,
    REGISTRY,
    Object,
    compose_containers,
    kubernetes_containers,
    kustomize,
    ours,
    pod_of,
)
from tests.unit.deploy.test_container_settings import settings_of, variables

FOLDERS = (BASE, DEV, PROD)
NAMESPACE = {"kubernetes.io/metadata.name": "flit-risk"}
OPERATIONS = 9100
ADDRESSES = (
    "KAFKA__BOOTSTRAP_SERVERS",
    "REDIS__URL",
    "BIGQUERY__REST_ENDPOINT",
    "BIGQUERY__GRPC_ENDPOINT",
    "SIMTOM__URL",
    "CONSOLE__SCORER_URL",
    "CONSOLE__HEALTH__INGESTOR",
    "CONSOLE__HEALTH__FEATURES",
    "CONSOLE__HEALTH__SCORER",
    "CONSOLE__HEALTH__SINK",
    "LEDGER__SCORER_URL",
)


ENDING = ("prepare", "reconcile", "ledger")
"""Pods that nobody asks."""


class Cluster:
    """The pods of a folder, by name, and what its policies let through."""

    def __init__(self, folder: Path, *components: Path) -> None:
        objects = kustomize(folder, *components)
        self.policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
        self.labels: dict[str, Mapping[str, str]] = {}
        self.ports: dict[str, dict[str, int]] = {}
        for one in objects:
            template = pod_of(one)
            if template is not None:
                name = one["metadata"]["name"]
                self.labels[name] = template["metadata"]["labels"]
                listed = [port for each in template["spec"]["containers"] for port in each.get("ports", ())]
                self.ports[name] = {port["name"]: port["containerPort"] for port in listed}

    def lets(self, source: str, target: str, port: int) -> bool:
        """Whether a connection from pod to pod is let out and in."""
        out = self._allowed("Egress", self.labels[source], self.labels[target], NAMESPACE, port, self.ports[target])
        return out and self.lets_in(target, port, self.labels[source], NAMESPACE)

    def lets_in(self, target: str, port: int, labels: Mapping[str, str], namespace: Mapping[str, str]) -> bool:
        return self._allowed("Ingress", self.labels[target], labels, namespace, port, self.ports[target])

    def lets_out(self, source: str, address: str, port: int) -> bool:
        """Whether a pod reaches an address outside the cluster."""
        return any(
            _has_port(rule, port, {}) and any(_in_block(peer, address) for peer in rule["to"])
            for policy in self._of(self.labels[source], "Egress")
            for rule in policy.get("egress", ())
        )

    def lets_address_in(self, target: str, address: str, port: int) -> bool:
        """Whether an address outside the cluster reaches a pod."""
        return any(
            _has_port(rule, port, self.ports[target]) and any(_in_block(peer, address) for peer in rule["from"])
            for policy in self._of(self.labels[target], "Ingress")
            for rule in policy.get("ingress", ())
        )

    def _allowed(
        self, direction: str, own: Mapping[str, str], other: Mapping[str, str], namespace: Mapping[str, str], port: int,
        names: Mapping[str, int],
    ) -> bool:  # fmt: skip
        policies = self._of(own, direction)
        if not policies:
            return True  # whom no policy speaks of is reached by all
        section, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
        return any(
            _has_port(rule, port, names) and any(_is_peer(peer, other, namespace) for peer in rule[peers])
            for policy in policies
            for rule in policy.get(section, ())
        )

    def _of(self, labels: Mapping[str, str], direction: str) -> list[Object]:
        specs = [policy["spec"] for policy in self.policies]
        return [spec for spec in specs if direction in spec["policyTypes"] and _selects(spec["podSelector"], labels)]


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    expressions = selector.get("matchExpressions", ())
    assert all(one["operator"] == "In" for one in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def _is_peer(peer: Mapping[str, Any], labels: Mapping[str, str], namespace: Mapping[str, str]) -> bool:
    if "ipBlock" in peer:
        return False
    # Without a selector of namespaces a peer is of the policy's own.
    within = _selects(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else namespace == NAMESPACE
    return within and _selects(peer.get("podSelector", {}), labels)


def _in_block(peer: Mapping[str, Any], address: str) -> bool:
    block = peer.get("ipBlock")
    where = ipaddress.ip_address(address)
    return block is not None and (
        where in ipaddress.ip_network(block["cidr"])
        and not any(where in ipaddress.ip_network(one) for one in block.get("except", ()))
    )


def _has_port(rule: Mapping[str, Any], port: int, names: Mapping[str, int]) -> bool:
    assert rule["ports"] and all({"protocol", "port"} == set(one) for one in rule["ports"])
    return any(
        port == (names.get(one["port"]) if isinstance(one["port"], str) else one["port"]) for one in rule["ports"]
    )


def read(folder: Path) -> dict[str, dict[str, str]]:
    """By pod, the addresses of the settings that its code reads."""
    found: dict[str, dict[str, str]] = {}
    for one in ours(kubernetes_containers(folder)):
        pod = one.where.split()[1].partition("/")[2]
        known = variables(settings_of(one))
        mine = {name: one.environment.get(name, "") for name in ADDRESSES if name in known}
        found.setdefault(pod, {}).update(mine)
    return found


def place(address: str) -> tuple[str, int]:
    parts = urlsplit(address if "//" in address else f"//{address}")
    return str(parts.hostname), int(parts.port or {"https": 443}[parts.scheme])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_whom_no_rule_names_is_neither_heard_nor_answered(folder: Path) -> None:
    cluster = Cluster(folder)
    cluster.labels["stranger"], cluster.ports["stranger"] = {"app.kubernetes.io/name": "stranger"}, {"any": 8080}
    for name in [one for one in cluster.labels if one != "stranger"]:
        assert not any(cluster.lets("stranger", name, port) for port in cluster.ports[name].values())
        assert not cluster.lets(name, "stranger", 8080)
    assert not cluster.lets_out("stranger", "142.250.1.1", 443)


def test_in_the_dev_overlay_each_reaches_what_its_code_reads_and_nothing_else() -> None:
    cluster = Cluster(DEV)
    behind = {
        one["metadata"]["name"]: one["spec"]["selector"]["app.kubernetes.io/name"]
        for one in kustomize(DEV)
        if one["kind"] == "Service"
    }
    needed = {("kafka", "kafka", 9092)}
    for pod, addresses in read(DEV).items():
        for name, port in map(place, addresses.values()):
            needed.add((pod, behind.get(name, name), port))
    assert len(needed) > 10
    let = {
        (source, target, port)
        for source in cluster.labels
        for target in cluster.labels
        for port in cluster.ports[target].values()
        if cluster.lets(source, target, port)
    }
    assert let == needed


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_pod_resolves_names_whoever_does_that_in_the_cluster(folder: Path) -> None:
    cluster = Cluster(folder)
    system = {"kubernetes.io/metadata.name": "kube-system"}
    for name, labels in cluster.labels.items():
        for resolver in ("kube-dns", "node-local-dns"):
            assert cluster._allowed("Egress", labels, {"k8s-app": resolver}, system, 53, {}), (name, resolver)
            assert not cluster._allowed("Egress", labels, {"k8s-app": resolver}, NAMESPACE, 53, {})
        assert not cluster._allowed("Egress", labels, {"k8s-app": "metrics-server"}, system, 53, {})
        # NodeLocal DNSCache, and Google's Cloud DNS.
        for address in ("169.254.20.10", "169.254.169.254"):
            assert cluster.lets_out(name, address, 53), (name, address)
        assert not cluster.lets_out(name, "10.0.0.10", 53) and not cluster.lets_out(name, "8.8.8.8", 53)
    asking = [rule for policy in cluster.policies for rule in policy["spec"].get("egress", ())
              if any(one["port"] == 53 for one in rule["ports"])]  # fmt: skip
    assert asking, "an answer that is too long for a datagram is asked for again by TCP"
    for rule in asking:
        assert rule["ports"] == [{"protocol": kind, "port": 53} for kind in ("UDP", "TCP")]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_from_other_namespaces_only_the_checkout_and_the_metrics_are_reached(folder: Path) -> None:
    cluster = Cluster(folder)
    asking = {"kubernetes.io/metadata.name": "shop", "flit-risk/may-ask": "true"}
    collecting = {"kubernetes.io/metadata.name": "monitoring"}
    for name, ports in cluster.ports.items():
        for port_name, port in ports.items():
            assert cluster.lets_in(name, port, {}, asking) == ((name, port_name) == ("scorer", "http"))
            assert cluster.lets_in(name, port, {}, collecting) == (port_name == "operations")
            assert not cluster.lets_in(name, port, {}, {"kubernetes.io/metadata.name": "elsewhere"})
        assert set(ports.values()) >= {OPERATIONS} or name in (*ENDING, "kafka", "valkey", "bigquery")


PLACES = {
    "KAFKA__BOOTSTRAP_SERVERS": "192.0.2.1",
    "REDIS__URL": "192.0.2.65",
    "SIMTOM__URL": "192.0.2.129",
    "BIGQUERY__REST_ENDPOINT": "142.250.1.1",
}
"""An address of each range that the production overlay stands in for."""


def test_in_the_production_overlay_each_reaches_what_its_code_reads() -> None:
    cluster, config = Cluster(PROD), next(one for one in kustomize(PROD) if one["kind"] == "ConfigMap")["data"]
    ports = {
        "KAFKA__BOOTSTRAP_SERVERS": place(config["KAFKA__BOOTSTRAP_SERVERS"])[1],
        "REDIS__URL": 6379,
        "SIMTOM__URL": place(config["SIMTOM__URL"])[1],
        "BIGQUERY__REST_ENDPOINT": 443,
    }
    for pod, addresses in read(PROD).items():
        for name, address in PLACES.items():
            # Any public address is open to who needs Google's, which nobody can list.
            wanted = name in addresses or (ports[name] == 443 and "BIGQUERY__REST_ENDPOINT" in addresses)
            assert cluster.lets_out(pod, address, ports[name]) == wanted, (pod, name)


def test_in_production_each_also_reaches_what_it_reads_of_kafka_and_redis_in_the_examples_namespace() -> None:
    """Of pods, whose addresses stand in no range: the examples' own names lead there."""
    (namespace,) = yaml.safe_load_all((DEPLOY / "k8s/examples/namespace.yaml").read_text())
    where = {"kubernetes.io/metadata.name": namespace["metadata"]["name"]}
    assert where != NAMESPACE, "where nobody reaches anybody whom our policies don't name"
    cluster = Cluster(PROD)
    for pod, addresses in read(PROD).items():
        for name, port in (("KAFKA__BOOTSTRAP_SERVERS", 9093), ("REDIS__URL", 6379)):
            let = cluster._allowed("Egress", cluster.labels[pod], {}, where, port, {})
            assert let == (name in addresses), (pod, name)
        assert not cluster._allowed("Egress", cluster.labels[pod], {}, where, 443, {})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_who_asks_bigquery_has_an_account_of_its_own_and_nobody_else_has_one(folder: Path) -> None:
    accounts = {
        one["metadata"]["name"]: template["spec"].get("serviceAccountName")
        for one in kustomize(folder)
        if (template := pod_of(one)) is not None
    }
    for pod, addresses in read(folder).items():
        asks = "BIGQUERY__REST_ENDPOINT" in addresses
        assert accounts[pod] == (f"flit-risk-{pod}" if asks else "flit-risk"), pod


def test_who_tells_people_reaches_slack_and_mail_outside_and_no_mail_server_inside() -> None:
    cluster = Cluster(PROD)
    telling = {one.name for one in kubernetes_containers(PROD) if "ALERTS__SMTP_URL" in one.environment}
    assert telling == {"trainer"}
    for pod in cluster.labels:
        for port in SMTP_PORTS.values():
            assert cluster.lets_out(pod, "203.0.113.1", port) == (pod in telling), pod
            assert not cluster.lets_out(pod, "10.0.0.1", port), pod
    assert all(cluster.lets_out(pod, "203.0.113.1", 443) for pod in telling)


def test_the_metadata_server_is_for_those_who_ask_bigquery_and_the_clusters_networks_for_nobody() -> None:
    cluster = Cluster(PROD)
    for pod, addresses in read(PROD).items():
        asks = "BIGQUERY__REST_ENDPOINT" in addresses
        assert any(cluster.lets_out(pod, "169.254.169.254", port) for port in (80, 988)) == asks, pod
        for private in ("10.0.0.1", "172.20.0.1", "192.168.1.1", "169.254.169.254"):
            assert not cluster.lets_out(pod, private, 443), pod


def test_with_the_registry_in_a_bucket_whoever_has_rights_there_reaches_it_and_nobody_else() -> None:
    before, cluster = Cluster(PROD), Cluster(PROD, REGISTRY)
    for pod in cluster.labels:
        asks_bigquery = before.lets_out(pod, "142.250.1.1", 443)
        has_rights = pod in RIGHTS and RIGHTS[pod].bucket is not None
        for address, port in (("142.250.1.1", 443), ("169.254.169.254", 80), ("169.254.169.254", 988)):
            assert cluster.lets_out(pod, address, port) == (asks_bigquery or has_rights), (pod, address, port)
        for private in ("10.0.0.1", "172.20.0.1", "192.168.1.1", "169.254.169.254"):
            assert not cluster.lets_out(pod, private, 443), pod
    assert not before.lets_out("scorer", "142.250.1.1", 443), "without a bucket it asks Google nothing"


def test_googles_load_balancer_reaches_the_rest_door_and_nothing_else() -> None:
    before, cluster = Cluster(PROD), Cluster(PROD, LOAD_BALANCER)
    for pod, ports in cluster.ports.items():
        for port in {8000, *ports.values()}:
            for address in ("130.211.1.1", "35.191.7.7"):
                assert cluster.lets_address_in(pod, address, port) == (pod == "scorer" and port == 8000), (pod, port)
                assert not before.lets_address_in(pod, address, port)
            assert not cluster.lets_address_in(pod, "203.0.113.1", port), (pod, port)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_name_in_a_policy_is_a_pods(folder: Path) -> None:
    cluster = Cluster(folder)
    known = {labels["app.kubernetes.io/name"] for labels in cluster.labels.values()}
    assert len(cluster.policies) >= 4
    assert set(_names([policy["spec"] for policy in cluster.policies])) <= known


def _names(part: Any) -> Sequence[str]:
    if isinstance(part, dict):
        if part.get("key") == "app.kubernetes.io/name":
            return list(part["values"])
        own = [part["app.kubernetes.io/name"]] if "app.kubernetes.io/name" in part else []
        return [*own, *(name for each in part.values() for name in _names(each))]
    return [name for each in part for name in _names(each)] if isinstance(part, list) else []


def asked_for_metrics() -> set[str]:
    groups = yaml.safe_load((DEPLOY / "monitoring/compose/targets.yml").read_text())
    return {target.partition(":")[0] for group in groups for target in group["targets"]}


def test_in_compose_prometheus_shares_a_network_with_each_that_it_asks_and_no_two_of_them_share_it() -> None:
    found = {one.name: set(one.definition["networks"]) for one in compose_containers()}
    for name in asked_for_metrics():
        (shared,) = found[name] & found["prometheus"]
        assert {other for other, networks in found.items() if shared in networks} == {name, "prometheus"}


def test_in_compose_two_share_a_network_if_and_only_if_one_reads_the_others_address() -> None:
    found = {one.name: one for one in compose_containers()}
    for one in found.values():
        reached = {place(one.environment[name])[0] for name in ADDRESSES if name in one.environment}
        if one.name == "prometheus":
            reached = asked_for_metrics()
        for other in ("kafka", "valkey", "bigquery", "simulator"):
            shares = bool(set(one.definition["networks"]) & set(found[other].definition["networks"]))
            assert shares == (other in reached or other == one.name), f"{one.name} and {other}"
