"""Changes of the model in service by hand. They need the registry alone, so they work while the warehouse is away."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import msgspec
import structlog

from services.trainer.cli import BY_HAND
from shared.experiments import Trials
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry

log = structlog.get_logger()


def promote(registry: ModelRegistry, arguments: Namespace) -> dict[str, Any]:
    """Puts a registered version in service, whatever the gate says. Raises ArtifactRefused if it doesn't verify."""
    registry.promote(arguments.version, BY_HAND)
    log.info("promoted", version=arguments.version, by=BY_HAND)
    return {"current": registry.current(), "previous": registry.previous()}


def rollback(registry: ModelRegistry, arguments: Namespace) -> dict[str, Any]:
    """The previous version again. Raises ArtifactRefused if there is none, PromotionConflict where another than the one
    to take out is in service."""
    version = registry.rollback(BY_HAND, expected=arguments.version or msgspec.UNSET)
    log.info("rolled_back", version=version, by=BY_HAND)
    return {"current": version, "previous": registry.previous()}


def shadow(registry: ModelRegistry, arguments: Namespace) -> dict[str, Any]:
    """Puts versions in shadow, in place of those that are there; none: nobody any more."""
    trials = registry.change_trials(lambda before: msgspec.structs.replace(before, shadow=arguments.versions))
    log.info("shadow_changed", versions=trials.shadow, by=BY_HAND)
    return {"shadow": trials.shadow}


def add_to_shadow(registry: ModelRegistry, version: str, by: str) -> None:
    """Puts a version in shadow in place of those of its family, but for who climbs from there: trained each night, they
    would only become more, and each costs every decision its time."""
    family = registry.load(version).manifest.family

    def add(before: Trials) -> Trials:
        # With who climbs goes the model that it is judged against, on probation the one to return to.
        climbing = {version for each in before.climbing for version in (each.version, each.champion)}
        others = [each for each in before.shadow if each in climbing or not _is_of(registry, each, family)]
        return msgspec.structs.replace(before, shadow=[*(each for each in others if each != version), version])

    trials = registry.change_trials(add)
    log.info("shadow_changed", versions=trials.shadow, by=by)


def _is_of(registry: ModelRegistry, version: str, family: str) -> bool:
    try:
        return registry.load(version).manifest.family == family
    except ArtifactRefused:
        return False  # no scorer loads it either; it isn't this one's to be taken away by a training


def families(_: ModelRegistry, __: Namespace) -> dict[str, Any]:
    """Every family by its name. Raises FamilyRefused where two claim one."""
    from services.trainer.families import found

    return {
        name: {"class": each.entry.value, "distribution": each.distribution} for name, each in found.families().items()
    }


def experiment(registry: ModelRegistry, arguments: Namespace) -> dict[str, Any]:
    """Starts an experiment in place of the one that runs, or stops it. Raises ArtifactRefused for a bad version."""
    trials = registry.change_trials(
        lambda before: msgspec.structs.replace(before, experiment=arguments.begun),
        by=BY_HAND,
        why="stopped by hand" if arguments.begun is None else "another one was started",
    )
    running = msgspec.to_builtins(trials.experiment)
    log.info("experiment_changed", experiment=running)
    return {"experiment": running}


COMMANDS = {"promote": promote, "rollback": rollback, "shadow": shadow, "experiment": experiment, "families": families}
