"""simtom's drift: prices move with the wall clock's distance from `start_time`."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from services.simulator.request import StreamRequest

MONTH = timedelta(days=30)
YEAR = timedelta(days=365)
GRADUAL_STEEPNESS = 6.0
"""The logistic curve of `gradual` goes from 5% to 95% of the strength within about one month."""


def price_factor(request: StreamRequest, began: datetime, now: datetime) -> float:
    """What prices are multiplied by at the wall clock's `now`.

    Time runs from `start_time` (default: when the stream began), times `time_compression`. linear: + strength a
    month; seasonal: ± strength over a year; sudden: + strength after a month; gradual: the same along a logistic
    curve. Raises TypeError for a time-zone-aware `start_time`: with simtom, too, the body then breaks.
    """
    if request.drift_type == "none":
        return 1.0
    elapsed = (now - (request.start_time or began)) * request.time_compression
    months = elapsed / MONTH
    shape = {
        "linear": months,
        "seasonal": math.sin(2 * math.pi * (elapsed / YEAR)),
        "sudden": float(months >= 1.0),
        "gradual": 0.5 + 0.5 * math.tanh(GRADUAL_STEEPNESS / 2 * (months - 1.0)),
    }[request.drift_type]
    return max(0.0, 1.0 + request.drift_strength * shape)
