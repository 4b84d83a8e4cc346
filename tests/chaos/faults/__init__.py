"""The faults of `make chaos`, by kind."""

from tests.chaos.faults import cluster, inputs, links, models, processes, storage
from tests.chaos.faults.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *processes.FAULTS, *links.FAULTS, *storage.FAULTS, *cluster.FAULTS, *inputs.FAULTS, *models.FAULTS,
)  # fmt: skip
BY_NAME = {fault.name: fault for fault in FAULTS}

__all__ = ["BY_NAME", "FAULTS", "Fault"]
