"""The production overlay with every component in a cluster: scaled, upgraded, drained, as its guide says."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import installed
from tests.cluster.control_plane import ZONES, ControlPlane
from tests.cluster.installed import Installed
from tests.deployment import AUTOSCALING, DEPLOY, KEDA, MONITORING, PROD, REGISTRY

pytestmark = pytest.mark.cluster
GUIDE, BY_HAND = "docs/how-to/kubernetes.md", "docs/operations/where-to-type.md"
UPGRADED = ("sink", "features", "scorer", "ingestor", "trainer", "console")


@pytest.fixture(scope="module")
def prod(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A copy of the folders, of which all operators' components are taken in, and with the Secrets of the example."""
    folder = tmp_path_factory.mktemp("prod") / "k8s"
    shutil.copytree(DEPLOY / "k8s", folder)
    overlay = folder / PROD.relative_to(DEPLOY / "k8s")
    plan = overlay / "kustomization.yaml"
    plan.write_text(re.sub(r"# - (\.\./\.\./components/(?:keda|monitoring))$", r"- \1", plan.read_text(), flags=re.M))
    assert {"../../components/keda", "../../components/monitoring"} <= set(
        yaml.safe_load(plan.read_text())["components"]
    )
    control_plane.kubectl("apply", f"--filename={DEPLOY / 'k8s/base/namespace.yaml'}")
    control_plane.kubectl("apply", f"--filename={overlay / 'secrets.example.yaml'}")
    with installed(control_plane, overlay) as found:
        found.ready()
        yield found


def test_every_pod_was_let_in_and_runs(prod: Installed) -> None:
    assert prod.refused() == []
    assert set(prod.names("scaledobject")) == {"features", "sink"}
    assert prod.names("servicemonitor") == ["flit-risk"]


def test_what_was_applied_is_there_as_it_was_written(prod: Installed) -> None:
    assert prod.cluster.kubectl("diff", f"--kustomize={prod.folder}") == ""


def test_the_autoscaler_s_floor_holds_without_a_measurement(prod: Installed) -> None:
    """Before metrics come in, and where they never do."""

    def scorers() -> int:
        return int(prod.get("deployment", "scorer")["status"].get("availableReplicas", 0))

    floor = prod.get("hpa", "scorer")["spec"]["minReplicas"]
    prod.cluster.until(lambda: scorers() == floor)
    prod.typed(GUIDE, """kubectl -n flit-risk patch hpa scorer --patch '{"spec": {"minReplicas": 8}}'""")
    prod.cluster.until(lambda: scorers() == 8)
    prod.kubectl("patch", "hpa", "scorer", f'--patch={{"spec": {{"minReplicas": {floor}}}}}')


def test_what_operators_own_is_changed_as_the_pages_say(prod: Installed) -> None:
    prod.typed(
        GUIDE,
        """kubectl -n flit-risk patch scaledobject features --type merge --patch '{"spec": {"minReplicaCount": 4}}'""",
    )
    paused = "kubectl -n flit-risk annotate scaledobject features autoscaling.keda.sh/paused-replicas"
    prod.typed(BY_HAND, f"{paused}=0 --overwrite")
    prod.typed(BY_HAND, f"{paused}-")
    prod.typed(GUIDE, "python -m deploy.monitoring.operator | kubectl apply --namespace flit-risk -f -")
    prod.typed(
        GUIDE, "kubectl -n flit-risk label servicemonitor,prometheusrule flit-risk release=kube-prometheus-stack"
    )
    prod.typed("docs/operations/runbooks/ServiceDown.md", "kubectl -n flit-risk get deployments,servicemonitors")
    prod.typed(
        GUIDE,
        "kubectl -n flit-risk annotate serviceaccount flit-risk-sink "
        "iam.gke.io/gcp-service-account=flit-risk-sink@PROJECT.iam.gserviceaccount.com",
    )
    prod.cluster.kubectl("apply", f"--kustomize={prod.folder}")
    kept = prod.get("servicemonitor", "flit-risk")["metadata"]["labels"]
    assert kept["release"] == "kube-prometheus-stack"


def test_a_new_version_comes_in_without_a_pause(prod: Installed) -> None:
    plan = prod.folder / "kustomization.yaml"
    plan.write_text(plan.read_text().replace("newTag: 0.1.0", "newTag: 0.2.0"))
    floor = prod.get("hpa", "scorer")["spec"]["minReplicas"]
    with prod.watched("scorer") as available:
        prod.typed(GUIDE, "kubectl -n flit-risk delete job/prepare --ignore-not-found")
        prod.typed(GUIDE, "kubectl apply -k deploy/k8s/overlays/prod")
        prod.typed(GUIDE, "kubectl -n flit-risk wait --for=condition=complete job/prepare --timeout=5m")
        for name in UPGRADED:
            prod.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    assert min(available) >= floor, available
    for name in UPGRADED:
        images = {container["image"] for pod in prod.pods(name) for container in pod["spec"]["containers"]}
        assert images == {f"registry.example.com/flit-risk/{name}:0.2.0"}
    assert prod.refused() == []


def test_nodes_are_drained_one_after_the_other_and_somebody_answers_all_the_while(prod: Installed) -> None:
    budgets = {one["metadata"]["name"] for one in prod.get("poddisruptionbudgets")["items"]}
    assert {"ingestor", "features", "scorer", "sink"} <= budgets
    for zone in ZONES:
        with prod.watched("scorer") as available:
            prod.cluster.kubectl(
                "drain", f"node-{zone}", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s"
            )
            prod.ready()
        assert min(available) >= prod.get("hpa", "scorer")["spec"]["minReplicas"] - 1, available
        left = prod.get("pods", f"--field-selector=spec.nodeName=node-{zone},status.phase=Running")["items"]
        assert left == []
        prod.cluster.kubectl("uncordon", f"node-{zone}")


def test_the_registry_in_a_bucket_is_taken_too(prod: Installed, tmp_path: Path) -> None:
    """Asked of the server, and not applied: it takes the claim away."""
    plan = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "flit-risk",
        "resources": [os.path.relpath(DEPLOY / "k8s/base", tmp_path)],
        "components": [os.path.relpath(each, tmp_path) for each in (AUTOSCALING, KEDA, MONITORING, REGISTRY)],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(plan))
    prod.kubectl("delete", "job/prepare", "--ignore-not-found")
    prod.cluster.kubectl("apply", "--dry-run=server", f"--kustomize={tmp_path}")
