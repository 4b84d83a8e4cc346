"""What a compose client makes of our files, beside what the tests take them for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment import COMPOSE, DEPLOY, Object, compose, size

AIRFLOW, SCALE = DEPLOY / "airflow/docker-compose.yml", DEPLOY / "scale.yml"
PROFILES = ("full", "audit", "airflow")
Client = tuple[str, ...]


@pytest.fixture(scope="module")
def client() -> Client:
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]) and _version(command):
            return command
    pytest.skip("no compose client is installed: it comes with Debian's package docker-compose")


def _version(client: Client) -> tuple[int, ...]:
    """Empty where the command isn't known."""
    done = subprocess.run([*client, "version", "--short"], capture_output=True, text=True, check=False)
    return tuple(map(int, re.findall(r"\d+", done.stdout)[:3])) if done.returncode == 0 else ()


def readable(client: Client, folder: Path, *files: Path) -> list[Path]:
    """The files, for Debian 12's client as copies without the two keys that later ones alone know."""
    if _version(client) >= (2,):
        return list(files)
    copies = [folder / f"{number}.yml" for number in range(len(files))]
    for file, copy in zip(files, copies, strict=True):
        copy.write_text(re.sub(r"^name: .*\n|, pids: \d+", "", file.read_text(), flags=re.MULTILINE))
    return copies


def configuration(client: Client, folder: Path, *files: Path) -> Object:
    """The files as the client understands them, with every profile and the defaults of their variables: that needs no
    engine."""
    (folder / "empty.env").touch()  # in place of deploy/.env, which pins images on some machines
    options = ["--project-directory", str(DEPLOY), "--env-file", str(folder / "empty.env")]
    options += [option for file in files for option in ("--file", str(file))]
    options += [option for profile in PROFILES for option in ("--profile", profile)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run([*client, *options, "config"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Object = yaml.safe_load(done.stdout)
    return found


def plain(document: Object) -> Object:
    """In one notation, of those that a compose file may be written in."""
    return {
        "services": {name: _service(service) for name, service in document["services"].items()},
        "networks": set(document.get("networks", ())),
        "volumes": set(document.get("volumes", ())),
        "secrets": {name: _path(secret["file"]) for name, secret in document.get("secrets", {}).items()},
    }


def _service(service: Object) -> Object:
    found = {
        key: service[key]
        for key in (
            "image", "entrypoint", "command", "user", "restart", "read_only", "cap_drop", "security_opt", "tmpfs",
            "profiles",
        )
        if service.get(key) is not None
    }  # fmt: skip
    limits, check = service["deploy"]["resources"]["limits"], service["healthcheck"]
    if check.get("disable"):
        check = {"test": ["NONE"]}
    return found | {
        "build": {**service.get("build", {}), "context": _path(service.get("build", {}).get("context", "."))},
        "environment": dict(service.get("environment", {})),
        "networks": set(service["networks"]),
        "waits for": {name: wish["condition"] for name, wish in service.get("depends_on", {}).items()},
        "ports": {_port(port) for port in service.get("ports", ())},
        "volumes": {_volume(volume) for volume in service.get("volumes", ())},
        "secrets": {_secret(secret) for secret in service.get("secrets", ())},
        "healthcheck": {key: value if key in ("test", "retries") else _seconds(value) for key, value in check.items()},
        "stops within": _seconds(service.get("stop_grace_period", "0s")),
        "limits": (float(limits["cpus"]), _bytes(str(limits["memory"])), limits.get("pids")),
    }


def _path(text: str) -> Path:
    return (DEPLOY / text).resolve()


def _port(port: str | Mapping[str, Any]) -> tuple[str, str, str]:
    if isinstance(port, str):
        address, published, target = port.removesuffix("/tcp").split(":")
        return address, published, target
    return port["host_ip"], str(port["published"]), str(port["target"])


def _volume(volume: str | Mapping[str, Any]) -> tuple[str, str, bool]:
    if isinstance(volume, str):
        source, target, mode = f"{volume}:rw".split(":")[:3]
        return _source(source), target, mode == "ro"
    return _source(volume["source"]), volume["target"], volume.get("read_only", False)


def _source(text: str) -> str:
    """A volume's name, or the path of a file of ours."""
    return str(_path(text)) if "/" in text else text


def _secret(secret: str | Mapping[str, Any]) -> tuple[str, str]:
    if isinstance(secret, str):
        return secret, secret
    return secret["source"], secret.get("target", secret["source"]).removeprefix("/run/secrets/")


def _seconds(text: str) -> int:
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def _bytes(text: str) -> int:
    return int(text) if text.isdigit() else size(text)


def test_the_tests_read_the_file_as_the_client_does(client: Client, tmp_path: Path) -> None:
    (file,) = readable(client, tmp_path, COMPOSE)
    theirs, ours = plain(configuration(client, tmp_path, file)), plain(compose(file))
    assert set(theirs["services"]) == set(ours["services"])
    for name, service in ours["services"].items():
        assert theirs["services"][name] == service, name
    assert theirs == ours


def test_airflow_comes_beside_the_system(client: Client, tmp_path: Path) -> None:
    files = readable(client, tmp_path, COMPOSE, AIRFLOW)
    ours, more = map(compose, files)
    both = ours | {part: ours[part] | more[part] for part in ("services", "volumes")}
    assert plain(configuration(client, tmp_path, *files)) == plain(both)


def test_a_scaled_service_has_the_ports_of_its_range_alone(client: Client, tmp_path: Path) -> None:
    if _version(client) < (2, 24, 4):
        pytest.skip(f"{' '.join(client)} doesn't know `!override`: Compose 2.24.4 does, Debian 12 has 1.29")
    ours = compose()
    for name, changed in compose(SCALE)["services"].items():
        service, volumes = ours["services"][name], changed.get("volumes", [])
        targets = {volume.split(":")[1] for volume in volumes}
        kept = [volume for volume in service.get("volumes", ()) if volume.split(":")[1] not in targets]
        service |= changed | {"volumes": [*kept, *volumes]}
    assert plain(configuration(client, tmp_path, COMPOSE, SCALE)) == plain(ours)


def test_a_key_that_the_client_does_not_know_is_refused(client: Client, tmp_path: Path) -> None:
    (file,) = readable(client, tmp_path, COMPOSE)
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(file.read_text().replace("    restart: ", "    restarts: ", 1))
    with pytest.raises(AssertionError, match="restarts"):
        configuration(client, tmp_path, wrong)
