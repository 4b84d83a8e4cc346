"""The subcommand `monitor`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
import structlog

from services.trainer.examples import TrainingRefused
from services.trainer.job import Answer, Job
from services.trainer.lifecycle.memory import remembered
from services.trainer.monitoring import metrics
from services.trainer.monitoring.alarms import WEEK
from services.trainer.monitoring.look import Concern, Look, concerns
from services.trainer.monitoring.monitor import Monitor
from services.trainer.monitoring.reference import Reference
from services.trainer.rounds import told_to_stop, until_stopped
from services.trainer.spans import Span
from services.trainer.warehouse import WarehouseUnavailable
from shared.contracts.identity import epoch_micros
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import RegistryAway

log = structlog.get_logger()

COMMANDS = ("monitor",)
STEPS = 4
"""That a look tells of, for a progress bar."""


class Monitoring(Job):
    """The subcommands named in `COMMANDS`."""

    def monitor(self, arguments: Namespace) -> Answer:
        if arguments.every is not None:
            away = (WarehouseUnavailable, RegistryAway, ArtifactRefused, TrainingRefused)
            return until_stopped(
                lambda: self._answer(None, in_detail=None), {}, arguments.every, told_to_stop(),
                away=away, failures=metrics.LOOKS, event="look_failed",
            )  # fmt: skip
        return self._answer(arguments.as_of, in_detail=True)

    def _answer(self, as_of_us: int | None, *, in_detail: bool | None) -> Answer:
        look, page_at = self.look(as_of_us, in_detail=in_detail)
        return summary(look) | {"html": page_at}

    def look(self, as_of_us: int | None, *, in_detail: bool | None) -> tuple[Look, str]:
        """What one look found, and where its page is.

        `in_detail`: with evidently's report, which reads the purchases again; None: where something drifted."""
        from services.trainer.monitoring.page import page  # plotly: other subcommands don't wait for it

        broken = remembered(self._registry).poisoned
        monitor = Monitor(self._warehouse, self._propensity, self._settings.trainer.economics, self._step, broken)
        files = self._registry.load(self._current())
        reference = monitor.reference(files)
        look = monitor.look(files, reference, as_of_us)
        found = concerns(look)
        metrics.show(look)
        metrics.LOOKS.labels("concerned" if found else "calm").inc()
        for concern, reasons in found.items():
            log.warning("concern", concern=concern, version=look.model_version, reasons=reasons)
        drawn = Concern.DRIFT in found if in_detail is None else in_detail
        detail = self._evidently(files, reference, look, broken) if drawn else None
        name = f"monitor-{look.model_version}.html"
        page_at = self._report(name, page(look, reference, detail))
        self._step("reported")
        return look, page_at

    def _evidently(self, files: ModelFiles, reference: Reference, look: Look, without: Sequence[Span]) -> str | None:
        """File name of evidently's report, in the folder of reports; None where there are too few purchases.
        `without`: none of these times in what it compares with."""
        from services.trainer.drift import drift_report

        names, feature_set = tuple(files.manifest.feature_names), files.manifest.feature_set_version
        until_us = look.until_day * MICROS_PER_DAY
        start, end = (epoch_micros(moment) for moment in reference.span)
        before = self._warehouse.features_between(start, end - 1, names, feature_set, without)
        now = self._warehouse.features_between(until_us - WEEK * MICROS_PER_DAY, until_us - 1, names, feature_set)
        try:
            report = drift_report(before, now, names, self._settings.trainer.seed)
        except TrainingRefused as few:
            log.info("no_detailed_report", reason=str(few))
            return None
        name = f"monitor-{look.model_version}-features.html"
        self._report(name, report.html)
        return name


def summary(look: Look) -> dict[str, Any]:
    """A look in one line of JSON."""
    whole = look.latest("four weeks", matured=True)
    latest = look.latest("four weeks", matured=False)
    expected = latest.estimate.auc.value if latest else float("nan")
    performance: dict[str, Any] = {"expected_auc": expected if np.isfinite(expected) else None}
    if whole is not None and whole.realized is not None and whole.on_matured is not None:
        performance |= {
            "auc": whole.realized.auc,
            "estimated_auc": whole.on_matured.auc.value,
            "estimated_auc_error": whole.on_matured.auc.error,
            "log_loss": whole.realized.log_loss,
            "estimated_log_loss": whole.on_matured.log_loss.value,
            "profit_bp": whole.realized.profit_bp,
            "rows": whole.realized.rows,
        }
    return {
        "version": look.model_version,
        "as_of": look.as_of,
        "purchases": look.purchases,
        "days_read": look.days_read,
        "concerns": {str(concern): reasons for concern, reasons in concerns(look).items()},
        "scores": {finding.name: round(finding.score, 6) for finding in look.weekly()},
        "performance": performance,
        "degraded_share": look.freshness.degraded_share,
        "dead_letters": dict(look.quality.dead_letters),
        "mismatch_share": look.quality.mismatch_share,
    }
