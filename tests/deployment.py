"""Dockerfile, compose file and Kubernetes manifests as the tests read them."""

from __future__ import annotations

import copy
import functools
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]
DEPLOY = REPOSITORY / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
BASE, DEV, PROD = (DEPLOY / "k8s" / folder for folder in ("base", "overlays/dev", "overlays/prod"))
AUTOSCALING, KEDA, MONITORING, REGISTRY, LOAD_BALANCER = (
    DEPLOY / "k8s/components" / name
    for name in ("autoscaling", "keda", "monitoring", "registry-in-bucket", "google-load-balancer")
)
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

OURS = "flit-risk/"
"""What the names of our own images begin with, before a registry is put in front."""

Object = dict[str, Any]
_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


@dataclass(frozen=True)
class Container:
    """A container of either file, in the same terms."""

    where: str
    name: str
    image: str
    environment: Mapping[str, str]
    command: Sequence[str] | None = None
    """In place of the image's entry point."""
    arguments: Sequence[str] = ()
    own_variables: frozenset[str] = frozenset()
    """The part of the environment that is meant for this container alone."""
    definition: Object = field(default_factory=dict)

    @property
    def ours(self) -> str | None:
        """The name of our image, which is the service's; None for a foreign one."""
        _, found, name = self.image.partition(OURS)
        return name.partition(":")[0] if found else None

    def command_line(self, entrypoint: Sequence[str]) -> list[str]:
        return [*(entrypoint if self.command is None else self.command), *self.arguments]


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands twice, as compose and kubectl do, and knows compose's own `!override`."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node: Any = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, f"a key stands twice in {keys}", node.start_mark)
        return node


def _overriding(loader: _Strict, node: yaml.SequenceNode) -> list[Any]:
    return list(loader.construct_sequence(node))


_Strict.add_constructor("!override", _overriding)


def compose(file: Path = COMPOSE) -> Object:
    """A compose file, with the defaults of its variables put in."""
    return copy.deepcopy(_composed(file))


@functools.cache
def _composed(file: Path) -> Object:
    document: Object = yaml.load(_DEFAULT.sub(r"\1", file.read_text()), Loader=_Strict)
    return document


def compose_containers() -> list[Container]:
    return [
        Container(
            where=f"compose {name}",
            name=name,
            image=service["image"],
            environment=service.get("environment", {}),
            command=service.get("entrypoint"),
            arguments=service.get("command", ()),
            own_variables=frozenset(service.get("environment", {})) | _secret_variables(service),
            definition=service,
        )
        for name, service in compose()["services"].items()
    ]


def _secret_variables(service: Object) -> frozenset[str]:
    """Settings whose values compose mounts as files."""
    targets = (one["target"] for one in service.get("secrets", ()) if isinstance(one, dict))
    return frozenset(target for target in targets if "__" in target)


def kustomize(folder: Path, *more: Path) -> list[Object]:
    """The objects of a kustomization with its patches applied: as much of kustomize as our folders use (tests/system
    compares with kustomize itself). `more`: components beside those that it names.

    Raises LookupError for a patch without an object, and ValueError where merging would take more than maps and plain
    lists.
    """
    plan = _plan(folder)
    objects: list[Object] = []
    for resource in plan["resources"]:
        path = folder / resource
        objects += kustomize(path) if path.is_dir() else _documents(path)
    for component in [*(folder / one for one in plan.get("components", ())), *more]:
        part = _plan(component)
        objects += [document for resource in part["resources"] for document in _documents(component / resource)]
        objects = _patched(objects, part, component)
    objects = _patched(objects, plan, folder)
    for image in plan.get("images", ()):
        for each in (each for one in objects for each in _pod_containers(one)):
            if each["image"].partition(":")[0] == image["name"]:
                each["image"] = f"{image['newName']}:{image['newTag']}"
    return objects


def _plan(folder: Path) -> Object:
    plan = _documents(folder / "kustomization.yaml")[0]
    unknown = set(plan) - {"apiVersion", "kind", "namespace", "resources", "components", "patches", "images"}
    if unknown:
        raise ValueError(f"{folder}: {unknown} is not understood here")
    return plan


def _patched(objects: list[Object], plan: Object, folder: Path) -> list[Object]:
    for patch in plan.get("patches", ()):
        for document in _documents(folder / patch["path"]):
            objects = apply_patch(objects, document)
    return objects


def apply_patch(objects: Sequence[Object], patch: Object) -> list[Object]:
    if identity(patch) not in [identity(one) for one in objects]:
        raise LookupError(f"no object for the patch of {identity(patch)}")
    return [_merged(one, patch) if identity(one) == identity(patch) else one for one in objects]


def identity(one: Object) -> tuple[str, str, str]:
    return one["apiVersion"], one["kind"], one["metadata"]["name"]


def ours(containers: Iterable[Container]) -> list[Container]:
    """Those that run a program of this repository with settings: neither the emulator nor MLflow's server."""
    return [one for one in containers if one.ours and one.ours != "bigquery-emulator" and one.name != "mlflow"]


def kubernetes_containers(folder: Path) -> list[Container]:
    """With the Secrets as their example has them, where they are made outside of the folder."""
    objects = kustomize(folder)
    example = folder / "secrets.example.yaml"
    given = [*objects, *(_documents(example) if example.exists() else ())]
    shared = {(one["kind"], one["metadata"]["name"]): one for one in given if one["kind"] in ("ConfigMap", "Secret")}
    found: list[Container] = []
    for one in objects:
        for each in _pod_containers(one):
            environment: dict[str, str] = {}
            for source in each.get("envFrom", ()):
                for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                    held = shared.get((kind, source.get(key, {}).get("name")), {})
                    environment |= held.get("data", {}) | held.get("stringData", {})
            own = {variable["name"]: variable["value"] for variable in each.get("env", ())}
            found.append(
                Container(
                    where=f"{folder.name} {one['kind']}/{one['metadata']['name']} {each['name']}",
                    name=each["name"],
                    image=each["image"],
                    environment=environment | own,
                    command=each.get("command"),
                    arguments=each.get("args", ()),
                    own_variables=frozenset(own),
                    definition=each,
                )
            )
    return found


def pod_of(one: Object) -> Object | None:
    """The pod template of a workload: its `metadata` and `spec`."""
    spec = one.get("spec", {})
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    pod: Object | None = spec.get("template")
    return pod


def _pod_containers(one: Object) -> list[Object]:
    pod = pod_of(one)
    return [] if pod is None else [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def _documents(path: Path) -> list[Object]:
    return copy.deepcopy(_parsed(path))


@functools.cache
def _parsed(path: Path) -> list[Object]:
    return list(yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader))  # ten times as fast as in Python


def _merged(old: Any, new: Any, key: str = "") -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        merged = {
            key: _merged(old[key], new[key], key) if key in old and key in new else (old | new)[key]
            for key in old | new
        }
        return {key: value for key, value in merged.items() if value is not None}  # null takes a field away
    if key in ("volumes", "containers", "env"):  # by their names; those that a patch changes come first
        held = {item["name"]: item for item in old}
        changed = {item["name"]: _merged(held.pop(item["name"], {}), item) for item in new}
        return [*changed.values(), *held.values()]
    if isinstance(old, list) and any(isinstance(item, dict) for item in old):
        raise ValueError("lists of maps are merged by keys that differ from list to list: put it into the base instead")
    return new


_UNITS = {"mb": 2**20, "gb": 2**30, "Mi": 2**20, "Gi": 2**30, "M": 2**20, "G": 2**30}


def size(text: str) -> int:
    """In bytes, of what Valkey, Kubernetes or compose (whose G is the binary one) writes so."""
    number, unit = text.rstrip("bgimBGIM"), text.lstrip("0123456789")
    return int(number) * _UNITS[unit]


@dataclass(frozen=True)
class Stage:
    """One `FROM` of the Dockerfile."""

    name: str
    base: str
    instructions: Sequence[tuple[str, str]]

    def all(self, instruction: str) -> list[str]:
        return [value for name, value in self.instructions if name == instruction]

    def last(self, instruction: str) -> str:
        return self.all(instruction)[-1]


def stages() -> dict[str, Stage]:
    """By name, in the order of the file."""
    found: dict[str, Stage] = {}
    for instruction, value in _instructions():
        if instruction == "FROM":
            base, _, name = value.partition(" AS ")
            found[name] = Stage(name, base, [])
        elif found:
            stage = found[next(reversed(found))]
            found[stage.name] = Stage(stage.name, stage.base, [*stage.instructions, (instruction, value)])
    return found


def image_environment(stage: Stage) -> dict[str, str]:
    """What `ENV` sets in a stage and in those below it; variables in the values stay as they are written."""
    below = stages().get(stage.base)
    environment = {} if below is None else image_environment(below)
    for line in stage.all("ENV"):
        environment |= dict(part.split("=", 1) for part in shlex.split(line))
    return environment


def _instructions() -> Iterator[tuple[str, str]]:
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            instruction, _, value = line.strip().partition(" ")
            yield instruction, re.sub(r"\s{2,}", " ", value.strip())
