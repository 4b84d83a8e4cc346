"""To which segment and which group each purchase belongs, from the warehouse."""

from __future__ import annotations

from collections.abc import Callable

from services.trainer.examples import Examples
from services.trainer.gates.dossier import Groups
from services.trainer.purchased import read_segments
from services.trainer.segments import GROUPS, SEGMENTS
from services.trainer.warehouse import Warehouse

GroupsOf = Callable[[Examples], Groups]


def of_warehouse(warehouse: Warehouse) -> GroupsOf:
    """Reads the purchases of the examples' time."""

    def groups(examples: Examples) -> Groups:
        read = read_segments(warehouse, examples)
        return Groups({name: read[name] for name in SEGMENTS}, {name: read[name] for name in GROUPS})

    return groups
