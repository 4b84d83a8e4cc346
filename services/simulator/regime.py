"""Changes of the world at given event times: our own addition, to have something for monitors to find.

`attributes`: with a chance of `strength` a purchase is of a risky kind (stretched or high-risk scenario, electronics)
and a new customer has one of the lower two credit bands. The law of default stays: only what comes in changes.
`law`: what default depends on moves by `strength` to other weights, and its odds rise by as much. What comes in stays:
the event's own `risk_score` doesn't know of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from services.simulator.law import Floats
from services.simulator.population import Ints
from services.simulator.request import RegimeChange


def strengths(changes: Sequence[RegimeChange], kind: Literal["attributes", "law"], times_us: Ints) -> Floats:
    """The strength at each event time: that of the latest change of this kind, 0 before the first."""
    result = np.zeros(len(times_us))
    for change in sorted((change for change in changes if change.kind == kind), key=lambda change: change.at):
        at = np.datetime64(change.at, "us").astype(np.int64)
        result[times_us >= at] = change.strength
    return result
