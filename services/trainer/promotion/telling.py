"""Gates and steps told to people and to the warehouse: the log, an alert, a row of `model_evaluations`.

What was decided has been decided already: where the row can't be written, that is logged, and nothing is undone.
"""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from services.trainer import metrics
from services.trainer.gates.examine import Examined
from services.trainer.warehouse import Evaluation, Warehouse, record
from shared.alerts import Alerts
from shared.contracts.identity import canonical_time, from_epoch_micros
from shared.experiments import Candidacy, Stage
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry

log = structlog.get_logger()

TITLES = {
    Stage.SHADOW: "model {version} answers in shadow",
    Stage.CANARY: "model {version} decides for its canary",
    Stage.PROBATION: "model {version} is in service, on probation",
    Stage.CONFIRMED: "model {version} stays in service",
    Stage.OUTDATED: "model {version} has left the ladder",
    Stage.WITHDRAWN: "model {version} withdrawn",
    Stage.ROLLED_BACK: "model {version} rolled back",
}


class Telling:
    def __init__(self, registry: ModelRegistry, warehouse: Warehouse, alerts: Alerts) -> None:
        self._registry, self._warehouse, self._alerts = registry, warehouse, alerts

    def examined(self, found: Examined) -> None:
        """Every gate's verdict in the log; an alert that names those that refused it."""
        for each in found.verdicts:
            log.info("gate", version=found.version, gate=each.gate, passed=each.passed, figures=each.figures)
        if not found.passed:
            gates = ", ".join(each.gate for each in found.refused_by)
            log.error("candidate_refused", version=found.version, gates=gates)
            self._alerts.send(f"model {found.version} refused: {gates}", [str(each) for each in found.refused_by])
        seen, now = found.holdout, canonical_time(datetime.now(UTC))
        window = (now, now) if seen is None else tuple(from_epoch_micros(int(at)) for at in seen.occurred_us[[0, -1]])
        told = [{"gate": each.gate, "passed": each.passed, "figures": each.figures} for each in found.verdicts]
        record(
            self._warehouse,
            Evaluation(
                model_version=found.version,
                family=self._family(found.version),
                kind="gate",
                window_from=window[0],
                window_to=window[1],
                rows=0 if seen is None else len(seen),
                metrics={each.gate: float(each.passed) for each in found.verdicts},
                detail={"passed": found.passed, "champion": found.champion, "gates": told},
            ),
        )
        for each in found.refused_by:
            metrics.CANDIDATES_REFUSED.labels(each.gate).inc()

    def moved(self, candidacy: Candidacy) -> None:
        """The last step of a candidacy."""
        last = candidacy.steps[-1]
        before = candidacy.steps[-2] if len(candidacy.steps) > 1 else None
        title = TITLES.get(last.stage, "model {version}: " + last.stage).format(version=candidacy.version)
        self._alerts.send(title, [f"by {last.by}", *last.reasons])
        metrics.LADDER_STEPS.labels(last.stage).inc()
        record(
            self._warehouse,
            Evaluation(
                model_version=candidacy.version,
                family=self._family(candidacy.version),
                kind="promotion",
                window_from=before.at if before else last.at,
                window_to=last.at,
                rows=int(candidacy.evidence.get("decisions", 0)),
                metrics=candidacy.evidence,
                detail={
                    "from": before.stage if before else None,
                    "to": last.stage,
                    "by": last.by,
                    "champion": candidacy.champion,
                    "reasons": last.reasons,
                },
            ),
        )

    def _family(self, version: str) -> str:
        try:
            return self._registry.load(version).manifest.family
        except ArtifactRefused:
            return "unreadable"
