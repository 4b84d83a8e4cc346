"""Images without a container engine: the Dockerfile's own steps, run into a folder.

An `Image` holds what the container would: a fresh environment made by the Dockerfile's own commands from one extra and
the lock, the files of its COPY lines, and the variables of its ENV lines. Only the root of the file system differs.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.deployment import REPOSITORY, Stage, image_environment, stages

TARGETS = {"bigquery-emulator": "bigquery-emulator"}
"""Images that are a stage of their own; all others are the stage `service` with the name as SERVICE."""

INSTALL_SECONDS = 240
"""About 2 from uv's cache; a cold cache has to fetch up to 400 MB first."""
ANSWER_SECONDS = 90
"""For a service to be ready, on a machine that others use too. Usually 5."""
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Image:
    name: str
    root: Path

    @property
    def packages(self) -> Path:
        return self.root / "opt"

    @property
    def app(self) -> Path:
        return self.root / "app"

    @property
    def stage(self) -> Stage:
        return stages()[TARGETS.get(self.name, "service")]

    @property
    def entrypoint(self) -> list[str]:
        command: list[str] = json.loads(self.stage.last("ENTRYPOINT"))
        return command

    @property
    def health_check(self) -> list[str]:
        command: list[str] = json.loads(self.stage.last("HEALTHCHECK").partition(" CMD ")[2])
        return command

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """The container's: nothing of this process's own, so that only what is declared can be relied on."""
        declared = image_environment(self.stage) | {"SERVICE": self.name}
        places = {
            "PATH": declared["PATH"].replace("/opt/flit", str(self.packages)).replace("$PATH", "/usr/bin:/bin"),
            "PYTHONPATH": str(self.app),
            "HOME": str(self.root / "tmp"),
            "TMPDIR": str(self.root / "tmp"),
        }
        return {**declared, **places, **more}

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                command, cwd=self.app, env=self.environment(environment), stdout=output, stderr=subprocess.STDOUT
            )

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.app,
            env=self.environment(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )

    def distributions(self) -> set[str]:
        """Names of the installed packages, in lower case."""
        return {path.name.split("-")[0].lower().replace("_", "-") for path in self.packages.rglob("*.dist-info")}

    def bytes(self) -> int:
        """Of packages and code. The base image's Python is not in it."""
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())

    def files(self) -> set[Path]:
        return set(self.app.rglob("*"))


def build(name: str, root: Path) -> Image:
    """Run the Dockerfile's steps for an image. Raises CalledProcessError where one of them fails."""
    image = Image(name, root)
    for folder in ("app", "tmp", "build"):
        (root / folder).mkdir(parents=True)
    for file in stages()["installer"].last("COPY").split()[:-1]:
        shutil.copy(REPOSITORY / file, root / "build")
    packages = "emulator-packages" if image.stage.name == "bigquery-emulator" else "service-packages"
    make_environment = stages()["installer"].last("RUN").split(" && ")[-1]
    install = re.sub(r"^--mount=\S+ ", "", stages()[packages].last("RUN"))
    # Named outright: left to itself, uv may find another Python of this machine and install into that.
    assert make_environment == 'uv venv "$VIRTUAL_ENV"'
    assert install.startswith('uv pip install --python "$VIRTUAL_ENV" ')
    environment = {
        # No UV_… of the caller: UV_PYTHON, for one, would win over VIRTUAL_ENV.
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("VIRTUAL_ENV", "UV_PYTHON", "UV_SYSTEM"))
        },
        # uv of this environment, Python of the machine: what the base image and its own first step provide.
        "PATH": f"{_uv()}:{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin",
        "VIRTUAL_ENV": str(image.packages),
        "SERVICE": name,
        "UV_PYTHON_DOWNLOADS": "never",
    }
    for command in (make_environment, install):
        subprocess.run(
            ["/bin/sh", "-ec", command],
            cwd=root / "build",
            env=environment,
            check=True,
            timeout=INSTALL_SECONDS,
            capture_output=True,
        )
    assert (image.packages / "pyvenv.cfg").exists() and image.distributions(), "packages went elsewhere"
    shutil.rmtree(root / "build")
    for line in image.stage.all("COPY"):
        if not line.startswith("--from="):
            *sources, destination = line.replace("${SERVICE}", name).split()
            for source in sources:
                _copy(REPOSITORY / source, image.app / destination, into=destination.endswith("/"))
    return image


def _copy(source: Path, destination: Path, *, into: bool) -> None:
    target = destination / source.name if into else destination
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@functools.cache
def _uv() -> Path:
    found = Path(sys.prefix) / "bin" / "uv"
    assert found.exists()
    return found.parent


def wait_until_zero(
    image: Image, command: Sequence[str], environment: Mapping[str, str], what: str, patience: float = ANSWER_SECONDS
) -> None:
    """Run a health check until it passes, as an engine does."""
    deadline = time.monotonic() + patience
    while (last := image.run(command, environment)).returncode != 0:
        assert time.monotonic() < deadline, f"{what}: {shlex.join(command)}: {last.stdout}"
        time.sleep(POLL_SECONDS)
