"""Changes of the model in service by hand. They need the registry alone, so they work while the warehouse is away."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import structlog

from shared.model_artifact.registry import ModelRegistry

log = structlog.get_logger()

BY_HAND = "operator"


def promote(registry: ModelRegistry, arguments: Namespace) -> dict[str, Any]:
    """Puts a registered version in service, whatever the gate says. Raises ArtifactRefused if it doesn't verify."""
    registry.promote(arguments.version, BY_HAND)
    log.info("promoted", version=arguments.version, by=BY_HAND)
    return {"current": registry.current(), "previous": registry.previous()}


def rollback(registry: ModelRegistry, _: Namespace) -> dict[str, Any]:
    """The previous version again. Raises ArtifactRefused if there is none."""
    version = registry.rollback(BY_HAND)
    log.info("rolled_back", version=version, by=BY_HAND)
    return {"current": version, "previous": registry.previous()}


COMMANDS = {"promote": promote, "rollback": rollback}
