"""A Kubernetes of a test's own: API server, controllers and scheduler are real, nodes and pods are kwok's.

What is applied is checked, admitted, expanded into pods and placed as in any cluster. No container runs: kwok says that
each does, and is ready, as soon as it is placed.
"""

from __future__ import annotations

import csv
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from tests.cluster.build import programs, stages

START_S = 120.0
CALL_S = 120.0
ZONES = ("a", "b", "c")
NODE = {"cpu": "16", "memory": "64Gi", "pods": "110"}
VOLUMES, VOLUME_SIZE = 12, "200Gi"
"""Nobody here makes a volume for a claim, so some lie ready, of the cluster's default class."""
CLASS = "ready-made"


class ControlPlane:
    """Use as a context manager. `folder`: what it keeps, and its logs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.kubeconfig = folder / "kubeconfig"
        etcd, peers, self._port, controllers, scheduler, kwok = free_ports(6)
        self._token = secrets.token_urlsafe()
        self._write_keys()
        at = "--bind-address=127.0.0.1"
        ours = f"--kubeconfig={self.kubeconfig}"
        self._etcd = self._process(
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-cluster=default=http://127.0.0.1:{peers}",
        )
        self._server = self._process(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            at,
            f"--secure-port={self._port}",
            "--advertise-address=127.0.0.1",
            f"--cert-dir={folder / 'certificates'}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
        )
        self._others = [
            self._process(
                "kube-controller-manager",
                ours,
                at,
                f"--secure-port={controllers}",
                f"--cert-dir={folder / 'certificates-controllers'}",
                f"--service-account-private-key-file={folder / 'accounts.key'}",
                f"--root-ca-file={self._authority}",
                "--leader-elect=false",
            ),
            self._process(
                "kube-scheduler", ours, at, f"--secure-port={scheduler}",
                f"--cert-dir={folder / 'certificates-scheduler'}", "--leader-elect=false",
            ),
            self._process(
                "kwok", ours, "--manage-all-nodes=true", f"--server-address=127.0.0.1:{kwok}",
                *(f"--config={each}" for each in stages()),
            ),
        ]  # fmt: skip
        self._running = ExitStack()

    @property
    def _authority(self) -> Path:
        """The API server signs its certificate itself."""
        return self._folder / "certificates/apiserver.crt"

    def __enter__(self) -> Self:
        with ExitStack() as running:
            for process in (self._etcd, self._server):
                process.start()
                running.callback(process.stop)
            self._server.wait_until(self._ready, START_S)
            for process in self._others:
                process.start()
                running.callback(process.stop)
            self._make_nodes()
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)

    def run(
        self, *arguments: str, given: str | None = None, program: str = "kubectl"
    ) -> subprocess.CompletedProcess[str]:
        """kubectl, of this cluster, whatever comes of it."""
        return subprocess.run(
            [str(programs() / program), *arguments],
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=CALL_S,
            check=False,
        )

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What it prints; it has to succeed, and to warn of nothing."""
        done = self.run(*arguments, given=given)
        said = f"kubectl {' '.join(arguments)}: status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0, said
        assert "Warning" not in done.stderr, said
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Objects as the API has them."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    @property
    def environment(self) -> dict[str, str]:
        """Of a shell in which `kubectl` is about this cluster."""
        path = f"{programs()}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": path, "HOME": str(self._folder)}

    def until(self, done: Callable[[], bool], timeout: float = START_S) -> None:
        """Raises StartFailed where it isn't."""
        self._server.wait_until(done, timeout)

    def _process(self, program: str, *arguments: str) -> ManagedProcess:
        command: Sequence[str] = (str(programs() / program), *arguments)
        return ManagedProcess(program, command, log_file=self._folder / f"{program}.log", environment=self.environment)

    def _ready(self) -> bool:
        if not self._authority.exists():
            return False
        self._write_kubeconfig()
        return self.run("get", "--raw=/readyz").returncode == 0

    def _write_keys(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (self._folder / "accounts.key").write_bytes(private)
        (self._folder / "accounts.pub").write_bytes(public)
        with (self._folder / "tokens.csv").open("w", newline="") as tokens:
            csv.writer(tokens).writerow([self._token, "tests", "tests", "system:masters"])

    def _write_kubeconfig(self) -> None:
        cluster = {"server": f"https://127.0.0.1:{self._port}", "certificate-authority": str(self._authority)}
        described = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": {"token": self._token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
        self.kubeconfig.write_text(yaml.safe_dump(described))

    def _make_nodes(self) -> None:
        """One in each zone, and volumes for whoever claims one."""
        nodes = [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": f"node-{zone}",
                    "labels": {"kubernetes.io/hostname": f"node-{zone}", "topology.kubernetes.io/zone": zone},
                },
                "status": {"allocatable": NODE, "capacity": NODE},
            }
            for zone in ZONES
        ]
        kept = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/no-provisioner",
        }
        volumes = [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"volume-{number}"},
                "spec": {
                    "capacity": {"storage": VOLUME_SIZE},
                    "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                    "storageClassName": CLASS,
                    "hostPath": {"path": f"/volumes/{number}"},
                },
            }
            for number in range(VOLUMES)
        ]
        self.kubectl("apply", "--filename=-", given=yaml.safe_dump_all([*nodes, kept, *volumes]))
