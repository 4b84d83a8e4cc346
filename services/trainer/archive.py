"""Models and policies of the past, as the registry keeps them: what decided then can be asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from shared.deciding import Model
from shared.deciding.onnx_model import OnnxModel
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, RegistryAway
from shared.policy import Policy, PolicyFileError, load_policy

Kept = TypeVar("Kept", OnnxModel, Policy)


class NotKept(Exception):
    """A model or a policy isn't there any more, or can't be read; the text says which and why."""


class Archive:
    """Each is loaded once. Raises NotKept for one that isn't there any more, RegistryAway where that isn't known."""

    def __init__(self, registry: ModelRegistry, policies: Iterable[Policy] = ()) -> None:
        """`policies`: beside those that the registry keeps."""
        self._registry = registry
        self._models: dict[str, OnnxModel] = {}
        self._policies = {policy.name: policy for policy in policies}
        self._lacking: dict[str, str] = {}

    def model(self, version: str) -> Model:
        return self._once(self._models, version, lambda: OnnxModel(self._registry.load(version)))

    def policy(self, name: str) -> Policy:
        return self._once(self._policies, name, lambda: self._kept(name))

    def _kept(self, name: str) -> Policy:
        policy = load_policy(self._registry.kept_policy(name), kept=True)
        if policy.name != name:  # decisions made again by it would be those of another policy
            raise PolicyFileError(f"what is kept under this name is {policy.name}")
        return policy

    def _once(self, known: dict[str, Kept], name: str, load: Callable[[], Kept]) -> Kept:
        if name in self._lacking:
            raise NotKept(self._lacking[name])
        if name not in known:
            try:
                known[name] = load()
            except (ArtifactRefused, PolicyFileError) as error:
                self._lacking[name] = f"{name}: {error}"
                raise NotKept(self._lacking[name]) from None
            except OSError as error:  # it may be there all the same
                raise RegistryAway(f"{name}: {error}") from error
        return known[name]
