"""Every start command, health check and probe of compose file and manifests, run as written.

Each runs in an environment that holds what the image would. Only addresses, ports and mounted paths are others, and
those through the variables that are there for it. Where this machine lets us, those of the manifests run as confined as
their pods do: see `confinement`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.local.ports import free_ports
from deploy.local.stack import EmbeddedStack
from tests.deployment import DEPLOY, DEV, Container, compose, compose_containers, kubernetes_containers
from tests.integration.images import confinement
from tests.integration.images.conftest import ImageOf
from tests.integration.images.image import ANSWER_SECONDS, POLL_SECONDS, Image, wait_until_zero

LASTING = ("simulator", "features", "scorer", "sink", "ingestor", "console", "trainer")
"""In the order of their start."""

STOP_SECONDS = 30
"""The grace that both files give; a service that takes longer would be killed."""

MLFLOW_SECONDS = 600
"""It imports a lot, and makes its database; some 20 on an idle machine."""

MOUNTED = {"/models": "MODEL_REGISTRY__URI", "/etc/flit/keys": "SCORER__API_KEYS_FILE"}
"""Where the manifests mount a volume that a service can't start without, and the variable that leads there."""

SOURCES = {"compose": compose_containers(), "kubernetes": kubernetes_containers(DEV)}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory, image_of: ImageOf) -> Iterator[dict[str, str]]:
    """Parts of our own, since the live stream writes to topics and tables; prepared by the compose file's own jobs."""
    folder = tmp_path_factory.mktemp("system")
    simulator, http, pages = free_ports(3)
    with EmbeddedStack(folder / "stack") as stack:
        (folder / "models").mkdir(mode=0o777)
        (folder / "models").chmod(0o777)  # as fsGroup does
        (folder / "keys").mkdir()
        shutil.copy(DEPLOY / "api-keys.example", folder / "keys" / "api-keys")
        (folder / "secrets").mkdir()
        for secret in (one for service in compose()["services"].values() for one in service.get("secrets", ())):
            if isinstance(secret, dict):
                shutil.copy(
                    DEPLOY / compose()["secrets"][secret["source"]]["file"], folder / "secrets" / secret["target"]
                )
        changed = {
            **stack.environment(),
            "SIMTOM__URL": f"http://127.0.0.1:{simulator}",
            "SIMULATOR__PORT": str(simulator),
            "SCORER__HTTP_PORT": str(http),
            "CONSOLE__PORT": str(pages),
            "CONSOLE__SCORER_URL": f"http://127.0.0.1:{http}",
            "MODEL_REGISTRY__URI": str(folder / "models"),
            "TRAINER__REPORTS": str(folder / "models" / "reports"),
            "ALERTS__STATE": str(folder / "models" / "alerts"),
            "SECRETS_DIR": str(folder / "secrets"),
            "SCORER__API_KEYS_FILE": str(folder / "keys" / "api-keys"),
            "LEDGER__SCORER_URL": f"http://127.0.0.1:{http}",
            "LEDGER__REPORT": str(folder / "models" / "ledger.json"),
        }
        for name in ("create-topics", "create-warehouse"):
            done = run_once(find("compose", name), image_of("sink"), changed)
            assert done.returncode == 0, done.stdout
        yield changed


def find(source: str, name: str) -> Container:
    return next(one for one in SOURCES[source] if one.name == name)


def environment(container: Container, changed: dict[str, str], **more: str) -> dict[str, str]:
    """The container's own variables with other values; none is added."""
    assert container.ours is not None
    return {name: changed.get(name, value) for name, value in container.environment.items()} | more


def started(
    container: Container, image: Image, settings: dict[str, str], confine: bool, log: Path
) -> subprocess.Popen[bytes]:
    command = container.command_line(image.entrypoint)
    if not confine:
        return image.start(command, settings, log)
    mounts: dict[Path, tuple[Path, bool]] = {}
    for mount in container.definition["volumeMounts"]:
        if (variable := MOUNTED.get(mount["mountPath"])) in settings and variable is not None:
            outside = Path(settings[variable])
            folder = outside if outside.is_dir() else outside.parent
            inside = confinement.ROOM / mount["name"]
            mounts[inside] = (folder, not mount.get("readOnly", False))
            settings = settings | {variable: str(inside / outside.relative_to(folder))}
    places = confinement.environment(image, settings)
    return image.start(confinement.confined(image, command, mounts), places, log)


def run_once(container: Container, image: Image, changed: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return image.run(container.command_line(image.entrypoint), environment(container, changed, METRICS__PORT="0"))


@pytest.mark.parametrize("name", ["topics", "warehouse"])
def test_the_job_of_the_manifests_may_run_again(image_of: ImageOf, addresses: dict[str, str], name: str) -> None:
    done = run_once(find("kubernetes", name), image_of("sink"), addresses)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("source", SOURCES)
def test_an_audit_finds_a_system_in_order_that_has_only_been_prepared(
    image_of: ImageOf, addresses: dict[str, str], source: str
) -> None:
    report = Path(addresses["LEDGER__REPORT"])
    report.unlink(missing_ok=True)
    done = run_once(find(source, "ledger"), image_of("ledger"), addresses)
    assert done.returncode == 0, done.stdout
    assert json.loads(report.read_text())["balanced"] is True
    assert "balanced" in done.stdout if source == "compose" else report.read_text() in done.stdout


@pytest.mark.parametrize("source", SOURCES)
def test_a_training_by_hand_refuses_an_empty_warehouse(
    image_of: ImageOf, addresses: dict[str, str], source: str
) -> None:
    # By hand, beside the loop that the container runs.
    container = dataclasses.replace(find(source, "trainer"), arguments=["train"])
    done = run_once(container, image_of("trainer"), addresses)
    assert done.returncode == 1, done.stdout
    assert '"event": "refused"' in done.stdout or '"event":"refused"' in done.stdout, done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("source", SOURCES)
def test_the_services_start_answer_every_probe_and_stop_in_time(
    image_of: ImageOf, addresses: dict[str, str], source: str, tmp_path: Path
) -> None:
    containers = [find(source, name) for name in LASTING]
    ports = dict(zip(LASTING, free_ports(len(LASTING)), strict=True))
    before = {name: image_of(name).files() for name in LASTING}
    confine = source == "kubernetes" and confinement.why_not() is None
    with ExitStack() as stack:
        processes: dict[str, subprocess.Popen[bytes]] = {}
        for one in containers:
            image, settings = image_of(one.name), environment(one, addresses, METRICS__PORT=str(ports[one.name]))
            processes[one.name] = started(one, image, settings, confine, tmp_path / f"{one.name}.log")
            stack.callback(processes[one.name].kill)
        for one in containers:
            image, settings = image_of(one.name), environment(one, addresses, METRICS__PORT=str(ports[one.name]))
            what = f"{one.where}\n{(tmp_path / f'{one.name}.log').read_text()}"
            wait_until_zero(image, image.health_check, settings, what)
            if source == "compose":
                wait_until_zero(image, one.definition["healthcheck"]["test"][1:], settings, what)
            else:
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    wait_until_answered(f"http://127.0.0.1:{ports[one.name]}{one.definition[probe]['httpGet']['path']}")
            # Once is enough, since it reads the same settings; the simulator's tries the port that it now holds itself.
            if source == "compose" and one.name != "simulator":
                checked = image.run([*image.entrypoint, "--check"], settings)
                assert checked.returncode == 0, checked.stdout
        for process in processes.values():
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
        # One deadline for all: they were told at the same moment.
        deadline = time.monotonic() + STOP_SECONDS
        ended = {name: process.wait(max(0.1, deadline - time.monotonic())) for name, process in processes.items()}
    assert ended == dict.fromkeys(LASTING, 0)
    if confine:
        for name in LASTING:
            log = (tmp_path / f"{name}.log").read_text()
            assert "Traceback" not in log, log
    written = {name: image_of(name).files() - before[name] for name in LASTING}
    assert not any(written.values()), f"a read-only root would have refused {written}"


def test_the_simulator_and_the_trainer_pass_their_check(image_of: ImageOf, addresses: dict[str, str]) -> None:
    for name in ("simulator", "trainer"):
        image, container = image_of(name), find("compose", name)
        checked = image.run([*image.entrypoint, "--check"], environment(container, addresses))
        assert checked.returncode == 0, checked.stdout


def test_a_check_fails_where_kafka_is_away(image_of: ImageOf, addresses: dict[str, str]) -> None:
    image, container = image_of("scorer"), find("compose", "scorer")
    nowhere = environment(container, addresses | {"KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_ports(1)[0]}"})
    assert image.run([*image.entrypoint, "--check"], nowhere).returncode == 1


@pytest.mark.slow
@pytest.mark.timeout(2 * MLFLOW_SECONDS)
def test_mlflow_serves_the_name_that_the_trainer_has_for_it(image_of: ImageOf, tmp_path: Path) -> None:
    image, container = image_of("trainer"), find("compose", "mlflow")
    (port,) = free_ports(1)
    moved = {"--port=5000": f"--port={port}"}
    command = [moved.get(part, part).replace("/mlflow/", f"{tmp_path}/") for part in container.command_line([])]
    process = image.start(command, {}, tmp_path / "log")
    try:
        check = [part.replace(":5000/", f":{port}/") for part in container.definition["healthcheck"]["test"][1:]]
        wait_until_zero(image, check, {}, container.where, MLFLOW_SECONDS)
        for host, status in (("mlflow:5000", 200), ("elsewhere.example", 403)):
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": host}
            )
            try:
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    assert answer.status == status
            except urllib.error.HTTPError as refused:
                assert refused.code == status, (host, refused.read())
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("source", SOURCES)
def test_the_emulator_starts_and_passes_its_health_check(image_of: ImageOf, source: str, tmp_path: Path) -> None:
    image, container = image_of("bigquery-emulator"), find(source, "bigquery")
    # It has arguments instead of variables, so these stand for the container's own ports and volume.
    places = dict(zip(("9050", "9060"), map(str, free_ports(2)), strict=True)) | {"/data": str(tmp_path / "data")}
    (tmp_path / "data").mkdir()
    process = image.start(
        [places.get(part, part) for part in container.command_line(image.entrypoint)], {}, tmp_path / "log"
    )
    try:
        checks = [image.health_check]
        if source == "compose":
            checks.append(container.definition["healthcheck"]["test"][1:])
        for check in checks:
            moved = [part.replace(":9050/", f":{places['9050']}/") for part in check]
            wait_until_zero(image, moved, {}, container.where)
        for probe in ("startupProbe", "readinessProbe") if source == "kubernetes" else ():
            wait_until_answered(f"http://127.0.0.1:{places['9050']}{container.definition[probe]['httpGet']['path']}")
    finally:
        process.kill()
        process.wait()


def wait_until_answered(url: str) -> None:
    """As a kubelet asks: any status from 200 to 399 will do."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=3):
                return
        except (urllib.error.URLError, OSError) as error:
            assert time.monotonic() < deadline, f"{url}: {error}"
        time.sleep(POLL_SECONDS)
