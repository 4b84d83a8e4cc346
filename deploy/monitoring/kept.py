"""Whether objectives were kept between two looks at the services' metrics: what Prometheus would find, without one."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from deploy.monitoring.objectives import OBJECTIVES, Counter, Matcher, Objective

TIMEOUT_S = 5.0

Series = tuple[str, str, frozenset[tuple[str, str]]]
"""Where it was read, its metric, its labels."""
Look = Mapping[Series, float]
"""Every sample of several processes, at one moment."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of one objective."""

    objective: Objective
    events: float
    bad: float

    @property
    def good_share(self) -> float | None:
        """None where nothing was counted, which keeps no objective."""
        return (self.events - self.bad) / self.events if self.events else None

    @property
    def held(self) -> bool:
        return self.good_share is not None and self.bad <= self.objective.budget * self.events


def look(addresses: Iterable[str]) -> Look:
    """Read each address (`http://host:port/metrics`). Raises OSError where one doesn't answer."""
    found: dict[Series, float] = {}
    for address in addresses:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[(address, sample.name, frozenset(sample.labels.items()))] = sample.value
    return found


def kept(before: Look, after: Look, objectives: Iterable[Objective] = OBJECTIVES) -> list[Kept]:
    """Each objective, over the time between the two looks."""
    return [_kept(objective, before, after) for objective in objectives]


def _kept(objective: Objective, before: Look, after: Look) -> Kept:
    everything, part = (rise(counter, before, after) for counter in (objective.everything, objective.part))
    return Kept(objective, everything, part if objective.part_is == "bad" else everything - part)


def rise(counter: Counter, before: Look, after: Look) -> float:
    """By how much it rose. A series that is lower than before began anew in a new process, as in Prometheus."""
    rise = 0.0
    for series, value in after.items():
        _, metric, labels = series
        if metric == counter.metric and all(_agrees(matcher, dict(labels)) for matcher in counter.labels):
            earlier = before.get(series, 0.0)
            rise += value - earlier if value >= earlier else value
    return rise


def _agrees(matcher: Matcher, labels: Mapping[str, str]) -> bool:
    value = labels.get(matcher.label, "")
    if matcher.operator == "=~":
        return re.fullmatch(matcher.value, value) is not None
    return (value == matcher.value) == (matcher.operator == "=")
