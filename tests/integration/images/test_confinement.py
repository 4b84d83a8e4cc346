"""Each image's program as another user, without a capability, where nothing but /tmp can be written."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.images import confinement
from tests.integration.images.confinement import APP, PACKAGES, ROOM, TMP, TMP_MEGABYTES, USER, confined, environment
from tests.integration.images.conftest import ImageOf
from tests.integration.images.image import ANSWER_SECONDS

pytestmark = pytest.mark.skipif(confinement.why_not() is not None, reason=f"needs root: {confinement.why_not()}")

SERVICES = ("simulator", "ingestor", "features", "scorer", "sink", "trainer", "ledger", "console")
TRY = """
import os, pathlib, sys
print(os.getuid(), os.getgid(), os.getgroups())
status = pathlib.Path("/proc/self/status").read_text()
print([line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))])
for place in sys.argv[1:]:
    try:
        pathlib.Path(place, "written").write_text("x")
        print(place, "written")
    except OSError as error:
        print(place, type(error).__name__, error.errno)
"""


def run(image_of: ImageOf, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    image = image_of(name)
    return subprocess.run(
        confined(image, command),
        env=image.environment(environment(image, {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=ANSWER_SECONDS,
        check=False,
    )


def test_the_confined_process_is_nobody_here_and_can_write_to_its_tmp_alone(image_of: ImageOf) -> None:
    places = [str(one) for one in (APP, PACKAGES, ROOM, "/", "/var/tmp", "/tmp", "/usr/local/bin", TMP)]
    done = run(image_of, "scorer", ["python", "-c", TRY, *places])
    who, powers, *written = done.stdout.splitlines()
    assert who == f"{USER} {USER} []", done.stdout
    assert powers == str(["0" * 16, "0" * 16, "1"])
    assert len(written) == len(places)
    assert written[-1] == f"{TMP} written"
    assert not [line for line in written[:-1] if "written" in line.split()], done.stdout


def test_its_tmp_is_as_small_as_the_manifests_make_it(image_of: ImageOf) -> None:
    fill = f"open('{TMP}/full', 'wb').write(bytes({TMP_MEGABYTES + 1} << 20))"
    assert "No space left on device" in run(image_of, "scorer", ["python", "-c", fill]).stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_confined_as_far_as_its_first_bad_setting(image_of: ImageOf, name: str) -> None:
    image = image_of(name)
    shown = run(image_of, name, [*image.entrypoint, "--help"])
    assert shown.returncode == 0, shown.stdout
    assert f"python -m services.{name}" in shown.stdout
