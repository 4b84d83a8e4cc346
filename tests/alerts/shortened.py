"""The project's own rules with all their time shortened by one factor: what takes an hour is seen in a minute.

Three things in a rule are times: the range that it looks back over (`[1h]`), how long it has to hold (`for`), and the
age of something in seconds (`> 24 * 3600`). These are divided, and no other number is: what asks for so many events in
an hour (`rate(…[1h]) * 3600 >= 100`) goes on asking for the same rate.
"""

from __future__ import annotations

import copy
import re

from deploy.monitoring.rules import Document

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_RANGE = re.compile(r"\[(\d+)([smhd])\]")
_AGE = re.compile(r"(> \d+) \* (3600|86400)\b")


def shortened(document: Document, factor: float) -> Document:
    """A copy. `factor`: above 1; what results is in whole milliseconds."""
    made = copy.deepcopy(document)
    for group in made["groups"]:
        for rule in group["rules"]:
            rule["expr"] = shortened_expression(rule["expr"], factor)
            if "for" in rule:
                rule["for"] = _duration(rule["for"][:-1], rule["for"][-1], factor)
    return made


def shortened_expression(expression: str, factor: float) -> str:
    ranges = _RANGE.sub(lambda found: f"[{_duration(found[1], found[2], factor)}]", expression)
    return _AGE.sub(lambda found: f"{found[1]} * {int(found[2]) / factor:g}", ranges)


def _duration(number: str, unit: str, factor: float) -> str:
    return f"{round(int(number) * UNITS_S[unit] * 1000 / factor)}ms"
