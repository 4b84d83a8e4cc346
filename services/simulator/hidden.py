"""The evaluation-only record of what the stream keeps to itself: expected rates and hidden probabilities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from services.simulator.draw import Draw
from services.simulator.request import StreamRequest
from services.simulator.wire import Event


class HiddenFile:
    """Appends one JSON object a line for each event, as it is drawn: a day of history before it is sent.

    Keys: generator, mode (history | live), start_date and seed (null where there is none), transaction_id,
    customer_id, timestamp (as in the event), expected_rate, probability, will_default.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        """Raises OSError where the file can't be written."""
        with self._path.open("a"):
            pass

    def append(self, generator: str, request: StreamRequest, draw: Draw, events: Sequence[Event]) -> None:
        """Write the first `len(events)` purchases of the draw, which are these events before any noise."""
        start = request.start_date.isoformat() if request.days and request.start_date else None
        told = {
            "generator": generator,
            "mode": "history" if request.days else "live",
            "start_date": start,
            "seed": request.effective_seed,
        }
        lines = [
            json.dumps(
                told
                | {
                    "transaction_id": event["transaction_id"],
                    "customer_id": event["customer_id"],
                    "timestamp": event["_timestamp"],
                    "expected_rate": expected,
                    "probability": probability,
                    "will_default": event["will_default"],
                }
            )
            for event, expected, probability in zip(
                events, draw.expected.tolist(), draw.probability.tolist(), strict=False
            )
        ]
        with self._path.open("a") as file:
            file.write("".join(line + "\n" for line in lines))
