"""A Kubernetes of its own, built from the Go modules that go.mod pins: `python -m tests.cluster.build`.

Takes half an hour of two cores the first time, and nothing afterwards; a build that was cut off goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.local.stack import CACHE_DIR

FOLDER = Path(__file__).parent
PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
"""Name → package. The smallest first: what is wrong with the machine shows soon."""

KWOK = "sigs.k8s.io/kwok"


class CannotBuild(Exception):
    """Says what is missing."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """An operator's own kinds, as its module holds them. Only read, so it needs no place in go.mod."""

    module: str
    version: str
    digest: str
    folder: str


OPERATORS = {
    "keda": Definitions(
        "github.com/kedacore/keda/v2", "v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=", "config/crd/bases"
    ),
    "prometheus": Definitions(
        "github.com/prometheus-operator/prometheus-operator", "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=", "example/prometheus-operator-crd",
    ),
}  # fmt: skip


def programs() -> Path:
    """The folder of what go.mod and go.sum give; it may hold none of it yet."""
    pinned = b"".join((FOLDER / name).read_bytes() for name in ("go.mod", "go.sum"))
    return CACHE_DIR / "cluster" / hashlib.sha256(pinned).hexdigest()[:12]


def missing() -> list[str]:
    """Programs that aren't built yet."""
    return [name for name in PROGRAMS if not (programs() / name).exists()]


def build(name: str) -> None:
    """Raises CannotBuild."""
    target = programs() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".part")
    _go("build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", f"-o={unfinished}", PROGRAMS[name])
    unfinished.rename(target)


def stages() -> list[Path]:
    """What kwok says of nodes and pods: the files of its own module."""
    module = Path(_go("list", "-mod=readonly", "-m", "-f={{.Dir}}", KWOK).strip())
    if not module.is_dir():
        module = Path(json.loads(_go("mod", "download", "-json", KWOK))["Dir"])
    folder = module / "kustomize/stage"
    return sorted(each for part in ("node/fast", "pod/fast") for each in (folder / part).glob("*-*.yaml"))


def definitions(operator: Definitions) -> Path:
    """The folder of its CustomResourceDefinitions. Raises CannotBuild where the module isn't the pinned one."""
    found = json.loads(_go("mod", "download", "-json", f"{operator.module}@{operator.version}"))
    if found["Sum"] != operator.digest:
        raise CannotBuild(f"{operator.module} {operator.version} is {found['Sum']}, not {operator.digest}")
    return Path(found["Dir"]) / operator.folder


def _go(*arguments: str) -> str:
    """What it prints. Raises CannotBuild with what it says of its failure."""
    if shutil.which("go") is None:
        raise CannotBuild("needs Go, 1.26 or later, to build Kubernetes with")
    done = subprocess.run(["go", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"go {' '.join(arguments[:3])}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def main() -> None:
    console = Console()
    try:
        for name in missing():
            with console.status(f"building {name}, minutes the first time"):
                build(name)
            console.print(f"built {name}")
    except CannotBuild as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
