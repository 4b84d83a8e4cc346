"""A kustomization of ours in a cluster."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.documentation.repository import ROOT, included
from tests.cluster.control_plane import CALL_S, ControlPlane

NAMESPACE = "flit-risk"
READY_S = 90
LOOK_S = 0.1


@dataclass(frozen=True)
class Installed:
    cluster: ControlPlane
    folder: Path

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """In our namespace."""
        return self.cluster.kubectl(f"--namespace={NAMESPACE}", *arguments, given=given)

    def get(self, *arguments: str) -> Any:
        return self.cluster.get(f"--namespace={NAMESPACE}", *arguments)

    def names(self, kind: str) -> list[str]:
        return [one["metadata"]["name"] for one in self.get(kind)["items"]]

    def ready(self) -> None:
        """Wait until every workload has all of its pods, and `prepare` is done."""
        for workload in ("deployment", "statefulset"):
            for name in self.names(workload):
                self.kubectl("rollout", "status", f"{workload}/{name}", f"--timeout={READY_S}s")
        self.kubectl("wait", "--for=condition=complete", "job/prepare", f"--timeout={READY_S}s")

    def typed(self, page: str, first: str, last: str | None = None) -> str:
        """What a page has one type, typed: it has to stand there, and to succeed. With `last`: its lines from the one
        that begins with `first` to the next that begins with `last`. The overlay that it names is the one that is
        installed."""
        text = first if last is None else _lines(page, first, last)
        assert text in _read(page), f"{page} doesn't say: {text}"
        for overlay in ("dev", "prod"):
            text = text.replace(f"deploy/k8s/overlays/{overlay}", str(self.folder))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=ROOT,
            env=self.cluster.environment,
            capture_output=True,
            text=True,
            timeout=CALL_S,
            check=False,
        )
        said = f"{text}\nstatus {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        assert done.returncode == 0, said
        assert "Warning" not in done.stderr, said
        return done.stdout

    def refused(self) -> list[str]:
        """What a controller wanted to make and wasn't let, a pod above all."""
        events = self.get("events", "--field-selector=type=Warning")["items"]
        return [
            f"{one['involvedObject']['name']}: {one['message']}" for one in events if one["reason"] == "FailedCreate"
        ]

    def pods(self, name: str) -> list[Any]:
        """Of one service, without those that are leaving."""
        found = self.get("pods", f"--selector=app.kubernetes.io/name={name}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    @contextmanager
    def watched(self, deployment: str) -> Iterator[list[int]]:
        """How many of its pods were available meanwhile, at each look."""
        seen: list[int] = []
        over = threading.Event()

        def look() -> None:
            while not over.is_set():
                seen.append(self.get("deployment", deployment)["status"].get("availableReplicas", 0))
                time.sleep(LOOK_S)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()


def _read(page: str) -> str:
    return "\n".join(line.strip() for line in included((ROOT / page).read_text()).splitlines())


def _lines(page: str, first: str, last: str) -> str:
    lines = _read(page).splitlines()
    (begin, *_) = (number for number, line in enumerate(lines) if line.startswith(first))
    (end, *_) = (number for number in range(begin, len(lines)) if lines[number].startswith(last))
    return "\n".join(lines[begin : end + 1])
