"""What kubectl makes of our folders, beside what the tests take them for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment import AUTOSCALING, BASE, DEV, KEDA, LOAD_BALANCER, MONITORING, PROD, REGISTRY, Object, kustomize

OLDEST = (1, 21)
"""The first kubectl that knows components, and patches by their paths."""


@pytest.fixture(scope="module", autouse=True)
def _one_that_knows_our_folders() -> None:
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl is not installed: it comes with Debian's package kubernetes-client, from Debian 13 on")
    command = [found, "version", "--client", "--output=json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["clientVersion"]
    version = int(told["major"]), int(re.findall(r"\d+", told["minor"])[0])
    if version < OLDEST:
        pytest.skip(
            f"kubectl {told['gitVersion']}, as Debian 12 has it, knows no components: 1.21 is the first that does"
        )


def rendered(folder: Path) -> list[Object]:
    """As `kubectl apply -k` would send it."""
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def by_name(objects: list[Object]) -> dict[tuple[str, str], Any]:
    """Without the namespace, which the tests' own rendering leaves out."""
    found = {}
    for one in objects:
        metadata = {key: value for key, value in one["metadata"].items() if key != "namespace"}
        found[one["kind"], metadata["name"]] = one | {"metadata": metadata}
    return found


@pytest.mark.parametrize("folder", [BASE, DEV, PROD], ids=lambda folder: folder.name)
def test_the_tests_read_the_folders_as_kubectl_does(folder: Path) -> None:
    theirs = rendered(folder)
    assert by_name(theirs) == by_name(kustomize(folder))
    assert all(one["metadata"].get("namespace") == "flit-risk" for one in theirs if one["kind"] != "Namespace")


@pytest.mark.parametrize(
    "component", [AUTOSCALING, KEDA, LOAD_BALANCER, MONITORING, REGISTRY], ids=lambda folder: folder.name
)
def test_each_component_fits_on_the_base(component: Path, tmp_path: Path) -> None:
    plan = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(BASE, tmp_path)],
        "components": [os.path.relpath(component, tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(plan))
    assert by_name(rendered(tmp_path)) == by_name(kustomize(BASE, component))
