"""What the loop remembers, in the registry: there it is as durable as what it is about, and others can read it."""

from __future__ import annotations

from services.trainer.lifecycle.triggers import State
from shared.model_artifact.registry import ModelRegistry

NOTE = "lifecycle"


def remembered(registry: ModelRegistry) -> State:
    """Raises what the registry does where it is away."""
    return registry.note(NOTE, State) or State()


def keep(registry: ModelRegistry, state: State) -> None:
    registry.keep_note(NOTE, state)
