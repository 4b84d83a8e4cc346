"""Families by name: our own, and those that installed distributions name as entry points.

A distribution from outside is code that runs with the trainer's rights, as every installed package does: whoever may
install one may do anything. What it can't do is take the place of one of our names.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from services.trainer.families.base import FamilyRefused, ModelFamily

GROUP = "flit_risk.model_families"

BUILT_IN = {
    "logistic": "services.trainer.families.linear:Logistic",
    "ridge": "services.trainer.families.linear:Ridge",
    "elastic-net": "services.trainer.families.linear:ElasticNet",
    "xgboost": "services.trainer.families.xgboost_trees:XGBoostTrees",
    "lightgbm": "services.trainer.families.lightgbm_trees:LightGBMTrees",
    "catboost": "services.trainer.families.catboost_trees:CatBoostTrees",
    "neural-network": "services.trainer.families.neural_network:NeuralNetwork",
    "ensemble": "services.trainer.families.ensemble:Ensemble",
}
"""The same as in pyproject.toml, which a test compares: in a checkout and in the images the code is on the path without
being installed, and then has no entry points."""

DEFAULT_FAMILIES = ("logistic", "xgboost")
"""What competes unless others are named: on this source more families find nothing more, and a training is quick."""


@dataclass(frozen=True)
class Found:
    """Where a family comes from."""

    entry: EntryPoint
    distribution: str
    """Name and version of what was installed; `flit-risk` for our own."""


def families() -> dict[str, Found]:
    """Every family that can be named, ours first. Raises FamilyRefused where two claim one name."""
    found = {name: Found(EntryPoint(name, value, GROUP), "flit-risk") for name, value in BUILT_IN.items()}
    for entry in entry_points(group=GROUP):
        known = found.get(entry.name)
        if known is not None and known.entry.value == entry.value:
            continue  # our own, of an installed copy; or one distribution that lies on the path twice
        origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed distribution"
        if known is not None:
            raise FamilyRefused(f"the family {entry.name} is claimed by {known.distribution} and by {origin}")
        found[entry.name] = Found(entry, origin)
    return found


def load(names: Iterable[str]) -> list[type[ModelFamily]]:
    """The families of these names, in that order. Raises FamilyRefused."""
    known = families()
    loaded = []
    for name in names:
        if name not in known:
            raise FamilyRefused(f"there is no model family {name!r}: there are {', '.join(known)}")
        loaded.append(_load(name, known[name]))
    return loaded


def _load(name: str, found: Found) -> type[ModelFamily]:
    where = f"{found.entry.value} of {found.distribution}"
    try:
        family = found.entry.load()
    except (ImportError, AttributeError, OSError) as error:  # the last of a library of the system's that it needs
        raise FamilyRefused(f"the family {name}, {where}, can't be loaded: {error}") from error
    if not (isinstance(family, type) and issubclass(family, ModelFamily)) or inspect.isabstract(family):
        raise FamilyRefused(f"the family {name}, {where}, is no complete subclass of ModelFamily")
    if family.family != name:
        raise FamilyRefused(f"the family {name}, {where}, calls itself {family.family}")
    return family
