"""The model's word against a running system, at loads that it was not made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from deploy.capacity.cost import log_bytes, predicted_cpu, redis_bytes
from deploy.capacity.figures import Figures
from shared.contracts.topics import DECISIONS, FEATURES, TRANSACTIONS
from tests.capacity import watching
from tests.capacity.loads import PACED_S, Loads
from tests.capacity.redis_use import used_bytes
from tests.load.purchases import CUSTOMERS, Purchases
from tests.load.running import WARM_CALLS, WARM_EVENTS, LoadedSystem
from tests.load.shapes import Rates

LOADS = (Rates(20, 60), Rates(5, 140), Rates(30, 30))
"""Between those that were measured, in other mixes."""
WARM = 5000
"""Purchases at once before the first of them: as at the measuring, no broker has just started."""
MOST_APART = 0.20


@dataclass(frozen=True, slots=True)
class Compared:
    load: str
    what: str
    unit: str
    predicted: float
    measured: float

    @property
    def apart(self) -> float:
        """Of the measured; negative where the model said less. Where nothing was measured, the model was all wrong."""
        return self.predicted / self.measured - 1.0 if self.measured else 1.0

    @property
    def close(self) -> bool:
        return abs(self.apart) <= MOST_APART


@dataclass
class Sum:
    """What the system has taken in since its start."""

    purchases: float = float(WARM_EVENTS + WARM_CALLS)
    keys: float = 0.0

    def redis(self, figures: Figures) -> float:
        return redis_bytes(
            figures,
            customers=CUSTOMERS,
            purchases_each=self.purchases / CUSTOMERS,
            claims=self.purchases,
            keys=self.keys,
        )


def compare(
    figures: Figures, loaded: LoadedSystem, folder: Path, step: Callable[[str], None], seconds: float = PACED_S
) -> list[Compared]:
    loads, valkey, held = Loads(loaded, folder), loaded.system.stack.valkey.url, Sum()
    loads.backlog(list(islice(Purchases(), WARM)))
    held.purchases += WARM
    found: list[Compared] = []
    for rates in LOADS:
        name = f"{rates.events} events/s, {rates.checkouts} checkouts/s"
        redis_before, log_before = used_bytes(valkey), _log(loaded)
        predicted_before, counted_before = held.redis(figures), watching.moment(loaded)
        span = loads.paced(rates, seconds)
        whole = watching.between(counted_before, watching.moment(loaded))
        held.purchases += whole.purchases
        held.keys += whole.checkouts
        grown = used_bytes(valkey) - redis_before
        records = dict.fromkeys((TRANSACTIONS.name, FEATURES.name, DECISIONS.name), whole.purchases)
        compared = [
            *_cpu(name, figures, span),
            Compared(name, "redis", "bytes", held.redis(figures) - predicted_before, grown),
            Compared(name, "log", "bytes", log_bytes(figures, records), _log(loaded) - log_before),
        ]
        step(f"{name}: furthest {max((each.apart for each in compared), key=abs):+.0%}")
        found += compared
    return found


def _cpu(load: str, figures: Figures, span: watching.Span) -> Iterator[Compared]:
    """At the rates that really were."""
    events = span.purchase_rate - span.checkout_rate
    for part, cpu in predicted_cpu(figures, events, span.checkout_rate).items():
        yield Compared(load, part, "CPU s/s", cpu, span.cpu(part))


def _log(loaded: LoadedSystem) -> int:
    return sum(watching.log_bytes(loaded).values())
