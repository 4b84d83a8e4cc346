"""How long each service takes from its start until it says that it is ready, with everything it needs there; and how
much of that is importing its modules."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from deploy.local.ports import free_ports
from deploy.local.supervisor import SERVICES
from tests.bench import booster
from tests.bench.parts import Parts
from tests.bench.report import Finding, at_most, finding
from tests.bench.rounds import numbered

MOST_S = 3.0
ARGUMENTS = {service.name: service.arguments for service in SERVICES}

Step = Callable[[str], None]


def start(rounds: int, step: Step) -> list[Finding]:
    """Seconds, round by round; one at a time."""
    (port,) = free_ports(1)
    source = {"SIMTOM__URL": f"http://127.0.0.1:{port}", "SIMULATOR__PORT": str(port)}
    took_s: dict[str, list[float]] = {name: [] for name in ARGUMENTS}
    imports_s: dict[str, list[float]] = {name: [] for name in ARGUMENTS}
    with Parts(source, warehouse=True) as parts:
        booster.train(parts.models)
        step("parts are up")
        # The ingestor is ready once the source answers.
        with parts.service("simulator").running():
            for number in numbered(rounds, warming_up=1):  # the first one fills the cache of files
                for name in ARGUMENTS:
                    taken = (_ready_s(parts, name), _imports_s(name))
                    if number:
                        took_s[name].append(taken[0])
                        imports_s[name].append(taken[1])
                step(f"round {number}")
    return [
        finding(
            f"start of {name}", "s", took_s[name],
            limit=("its imports alone", imports_s[name]), targets=[at_most("ours", MOST_S)],
        )
        for name in ARGUMENTS
    ]  # fmt: skip


def _ready_s(parts: Parts, name: str) -> float:
    (port,) = free_ports(1)  # the simulator that the ingestor asks has its own
    own = {"SIMULATOR__PORT": str(port), "CONSOLE__PORT": str(port)}
    worker = parts.service(name, *ARGUMENTS[name], settings=own)
    began = time.perf_counter()
    with worker.running():
        return time.perf_counter() - began


def _imports_s(name: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import services.{name}.__main__"], env=dict(os.environ), check=True)
    return time.perf_counter() - began
