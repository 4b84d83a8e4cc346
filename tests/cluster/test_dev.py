"""The dev overlay in a cluster: taken whole, every pod admitted and placed, and the guide's commands typed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import installed
from tests.cluster.control_plane import ZONES, ControlPlane
from tests.cluster.installed import Installed
from tests.deployment import DEV, kustomize

pytestmark = pytest.mark.cluster
GUIDE, BY_HAND = "docs/how-to/kubernetes.md", "docs/operations/where-to-type.md"
RUNBOOKS = "docs/operations/runbooks"
OURS = "kubectl -n flit-risk"


@pytest.fixture(scope="module")
def dev(control_plane: ControlPlane) -> Iterator[Installed]:
    with installed(control_plane, DEV) as found:
        found.ready()
        yield found


def test_every_pod_was_let_in_and_runs(dev: Installed) -> None:
    assert dev.refused() == []
    wanted = {
        one["metadata"]["name"]: one["spec"].get("replicas", 1) for one in kustomize(DEV) if one["kind"] == "Deployment"
    }
    has = {one["metadata"]["name"]: one["status"]["availableReplicas"] for one in dev.get("deployments")["items"]}
    assert has == wanted


def test_what_was_applied_is_there_as_it_was_written(dev: Installed) -> None:
    """Nothing is left out or put differently by the server: the same folder again would change nothing."""
    assert dev.cluster.kubectl("diff", f"--kustomize={DEV}") == ""


def test_a_service_s_processes_stand_in_different_zones(dev: Installed) -> None:
    dev.kubectl("scale", "deployment/scorer", f"--replicas={len(ZONES)}")
    dev.kubectl("rollout", "status", "deployment/scorer", "--timeout=60s")
    assert {pod["spec"]["nodeName"] for pod in dev.pods("scorer")} == {f"node-{zone}" for zone in ZONES}
    dev.typed(GUIDE, "kubectl apply -k deploy/k8s/overlays/dev")


def test_a_pod_that_isn_t_restricted_is_refused(dev: Installed) -> None:
    done = dev.cluster.run("--namespace=flit-risk", "run", "intruder", "--image=anything", "--privileged")
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr


def test_the_past_is_brought_in_before_the_first_purchase(dev: Installed) -> None:
    dev.typed(GUIDE, f"{OURS} debug", f"{OURS} wait --for=condition=complete job/prepare")
    (copy,) = dev.pods("ingestor")
    (container,) = copy["spec"]["containers"]
    assert (copy["metadata"]["name"], container["command"]) == ("by-hand", ["sleep", "infinity"])
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    dev.typed(GUIDE, f"{OURS} delete pod by-hand")
    dev.typed(GUIDE, "kubectl apply -k deploy/k8s/overlays/dev")
    dev.ready()
    assert len(dev.pods("ingestor")) == 1


def test_an_audit_and_a_comparison_by_hand(dev: Installed) -> None:
    dev.typed(GUIDE, "audit=ledger-", "until ")
    (job,) = (name for name in dev.names("jobs") if name.startswith("ledger-"))
    dev.kubectl("wait", "--for=condition=complete", f"job/{job}", "--timeout=60s")
    dev.typed(f"{RUNBOOKS}/RowsUnproven.md", f"{OURS} create job by-hand --from=cronjob/reconcile")
    dev.kubectl("wait", "--for=condition=complete", "job/by-hand", "--timeout=60s")
    dev.typed(BY_HAND, f"{OURS} delete job by-hand")


def test_a_customer_is_erased_by_a_job_that_the_comparison_s_success_doesn_t_count(dev: Installed) -> None:
    dev.typed(BY_HAND, f"{OURS} create job by-hand", "until ")
    job = dev.get("job", "by-hand")
    assert "ownerReferences" not in job["metadata"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (pod["serviceAccountName"], container["args"], container["stdin"]) == ("flit-risk-sink", ["erase"], True)
    dev.kubectl("wait", "--for=condition=complete", "job/by-hand", "--timeout=60s")
    dev.typed(BY_HAND, f"{OURS} delete job by-hand")
    assert dev.refused() == []


def test_refused_records_are_sent_again_by_a_job(dev: Installed) -> None:
    dev.typed(BY_HAND, "image=", f"| {OURS} apply")
    dev.kubectl("wait", "--for=condition=complete", "job/by-hand", "--timeout=60s")
    (container,) = dev.get("job", "by-hand")["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["args"][0]) == ("flit-risk/ingestor:0.1.0", "replay-dead-letters")
    dev.typed(BY_HAND, f"{OURS} delete job by-hand")


def test_states_are_made_anew_by_a_copy_of_a_pod(dev: Installed) -> None:
    dev.typed(BY_HAND, f"{OURS} debug", f"{OURS} label pod")
    dev.typed(BY_HAND, f"{OURS} scale deployment/features --replicas=0")
    dev.typed(BY_HAND, f"{OURS} wait --for=delete", f"{OURS} wait --for=delete")
    assert [pod["metadata"]["name"] for pod in dev.pods("features")] == ["by-hand"]
    dev.typed(BY_HAND, f"{OURS} delete pod by-hand")
    dev.typed(BY_HAND, f"{OURS} scale deployment/features --replicas=4")
    dev.kubectl("rollout", "status", "deployment/features", "--timeout=60s")
    dev.typed(GUIDE, "kubectl apply -k deploy/k8s/overlays/dev")


@pytest.mark.parametrize(
    ("page", "command"),
    [
        (GUIDE, f"{OURS} rollout restart deployment"),
        (GUIDE, f"{OURS} get deployments,hpa"),
        (GUIDE, f"{OURS} scale deployment/features --replicas=4"),
        (f"{RUNBOOKS}/SourceStopped.md", f"{OURS} rollout restart deployment/ingestor"),
        (f"{RUNBOOKS}/TopicHalted.md", f"{OURS} set env deployment/features FEATURES__REFUSALS_PER_MINUTE=0"),
        (f"{RUNBOOKS}/ServiceDown.md", f"{OURS} get pods"),
        (f"{RUNBOOKS}/RowsUnproven.md", f"{OURS} get cronjob,jobs"),
        (f"{RUNBOOKS}/ExperimentUnwatched.md", f"{OURS} describe deployment/trainer"),
    ],
)  # fmt: skip
def test_what_the_pages_have_one_type_works(dev: Installed, page: str, command: str) -> None:
    dev.typed(page, command)
    dev.ready()
    assert dev.refused() == []
