"""One control plane for all tests here; each installs what it needs, and takes it away again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.build import OPERATORS, definitions, missing
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installed import Installed


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    assert not missing(), f"{missing()} isn't built: python -m tests.cluster.build"
    with ControlPlane(tmp_path_factory.mktemp("cluster") / "control-plane") as running:
        for operator in OPERATORS.values():  # on the server: they are too long for the note that kubectl leaves
            running.kubectl("apply", "--server-side", f"--filename={definitions(operator)}")
        yield running


@contextmanager
def installed(control_plane: ControlPlane, folder: Path) -> Iterator[Installed]:
    """What a kustomization gives, applied as the guide says, until it is ready; gone at the end."""
    control_plane.kubectl("apply", f"--kustomize={folder}")
    try:
        yield Installed(control_plane, folder)
    finally:
        control_plane.kubectl("delete", "namespace", "flit-risk", "--timeout=90s")
