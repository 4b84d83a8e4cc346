"""Puts a registered candidate to all gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Economics
from services.trainer.examples import Examples
from services.trainer.export import run_onnx
from services.trainer.gate import Champion, ask_champion
from services.trainer.gates.calibration import calibration
from services.trainer.gates.dossier import Applications, Dossier
from services.trainer.gates.fairness import fairness
from services.trainer.gates.groups import GroupsOf
from services.trainer.gates.integrity import integrity
from services.trainer.gates.latency import latency
from services.trainer.gates.leakage import leakage, of_lineage
from services.trainer.gates.limits import GateLimits
from services.trainer.gates.mismatch import Comparison, mismatch
from services.trainer.gates.parity import parity
from services.trainer.gates.performance import performance
from services.trainer.gates.stability import stability
from services.trainer.gates.verdict import LEAKAGE, PARITY, WITHOUT_CHAMPION, GateVerdict, of_faults
from services.trainer.workflow import evaluate_version
from shared.deciding.onnx_model import OnnxModel
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused
from shared.model_artifact.registry import ModelRegistry


@dataclass(frozen=True)
class Examined:
    version: str
    champion: str | None
    """The version in service, which a step has to find there."""
    verdicts: tuple[GateVerdict, ...]
    holdout: Examples | None
    """None where it wasn't even read."""
    unreadable: bool = False
    """There is a champion, and it can't be loaded: nothing can be tried beside it."""

    @property
    def first(self) -> bool:
        """There is no champion: nothing but the fallback is lost by a model that is unfair, or worse than the rule."""
        return self.champion is None

    @property
    def refused_by(self) -> list[GateVerdict]:
        """Without a champion, only what a first model has to pass as well."""
        return [each for each in self.verdicts if not each.passed and (not self.first or each.gate in WITHOUT_CHAMPION)]

    @property
    def passed(self) -> bool:
        return not self.refused_by


@dataclass(frozen=True)
class Examiner:
    """What all candidates are examined with."""

    registry: ModelRegistry
    groups_of: GroupsOf
    compared: Comparison
    limits: GateLimits
    economics: Economics
    seed: int

    def examine(
        self,
        version: str,
        examples: Examples,
        as_of_us: int,
        examples_of: Callable[[str], Examples] | None = None,
    ) -> Examined:
        """All verdicts on matured examples that the version has not learnt from: a model that can't be trusted gets the
        first alone. Raises TrainingRefused where there are no such examples, and what the ports raise."""
        sound, files = integrity(self.registry, version)
        if files is None:
            return self._unseen(version, sound)
        unfit = self._unfit(files, examples)
        if unfit is not None:
            return self._unseen(version, sound, unfit)
        holdout, probability, _ = evaluate_version(
            self.registry, version, examples, as_of_us, self.economics, self.seed
        )
        champion = ask_champion(self.registry, holdout, examples_of)
        groups = self.groups_of(holdout)
        applied = _asked(files, groups.applications, holdout.feature_names)
        dossier = Dossier(files, holdout, probability, champion, groups, applied, self.economics)
        verdicts = (
            sound,
            parity(dossier),
            leakage(dossier),
            latency(files, self._files(champion), self.limits),
            mismatch(self.compared(files.manifest.feature_set_version), self.limits),
            performance(dossier, self.limits),
            calibration(dossier, self.limits),
            stability(dossier, self.limits),
            fairness(dossier, self.limits),
        )
        unreadable = champion.absent and champion.version is not None
        return Examined(version, champion.version, verdicts, holdout, unreadable)

    def _unseen(self, version: str, *verdicts: GateVerdict) -> Examined:
        return Examined(version, self.registry.current(), verdicts, None)

    def _unfit(self, files: ModelFiles, examples: Examples) -> GateVerdict | None:
        """Why it can't even be asked, if it can't."""
        names = files.manifest.feature_names
        if not set(names) <= set(examples.feature_names):
            return of_faults(LEAKAGE, of_lineage(names, examples.feature_names), "")
        try:
            OnnxModel(files)
        except ArtifactRefused as refused:
            if refused.reason is not ArtifactFault.INCOMPATIBLE:  # of features that aren't ours lineage tells more
                return GateVerdict(PARITY, False, str(refused))
        return None

    def _files(self, champion: Champion) -> ModelFiles | None:
        """Of a champion that could be asked."""
        if champion.version is None or champion.probability is None:
            return None
        return self.registry.load(champion.version)


def _asked(files: ModelFiles, applications: Applications, names: tuple[str, ...]) -> NDArray[np.float64]:
    """[m] calibrated probabilities of default. `names`: of the applications' features."""
    if len(applications) == 0:
        return np.zeros(0)
    places = [names.index(name) for name in files.manifest.feature_names]
    return files.manifest.calibration.apply(run_onnx(files.onnx, applications.features[:, places]))
