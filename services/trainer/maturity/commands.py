"""The subcommand about what is known so far."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict

from services.trainer import metrics
from services.trainer.job import Answer, Job
from services.trainer.maturity.known import Known
from services.trainer.maturity.proxy import EarlyRate, early_rates
from services.trainer.maturity.reading import known_purchases
from services.trainer.maturity.vintages import described, vintages, whole
from shared.contracts.identity import from_epoch_micros
from shared.feature_definitions import FEATURE_SET_VERSION

COMMANDS = ("vintages",)


class Maturity(Job):
    """The subcommands named in `COMMANDS`."""

    def vintages(self, arguments: Namespace) -> Answer:
        from services.trainer.maturity.page import page  # plotly: other subcommands don't wait for it

        as_of_us = self._warehouse.clock() if arguments.as_of is None else arguments.as_of
        known = known_purchases(self._warehouse, as_of_us, FEATURE_SET_VERSION, self._propensity)
        self._step("read")
        found, early, as_of = vintages(known, arguments.by), early_rates(known), from_epoch_micros(as_of_us)
        report = self._report("vintages.html", page(as_of, known.counts(), found, early))
        _show(known, early)
        self._step("written")
        return {
            "as_of": as_of,
            "by": arguments.by,
            "purchases": known.counts(),
            "all": [described(vintage) for vintage in whole(known)],
            "vintages": [described(vintage) for vintage in found],
            "early": [asdict(each) for each in early],
            "html": report,
        }


def _show(known: Known, early: Sequence[EarlyRate]) -> None:
    """As metrics."""
    for status, count in known.counts().items():
        metrics.PURCHASES_KNOWN.labels(status).set(count)
    for vintage in whole(known):
        for point in vintage.points:
            metrics.KNOWN_DEFAULTS.labels(str(vintage.instalments), str(point.age_days)).set(point.share)
    for each in early:
        labels = (str(each.instalments), str(each.age_days))
        if each.recent_rate is not None and each.standard_errors is not None:
            metrics.EARLY_DEFAULTS.labels(*labels).set(each.recent_rate)
            metrics.EARLY_DEFAULT_EXCESS.labels(*labels).set(each.standard_errors)
