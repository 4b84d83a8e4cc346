"""One training, from examples to a registered and perhaps promoted model. Knows no warehouse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from services.trainer.card import Measured, model_card
from services.trainer.evaluate import Economics, evaluate
from services.trainer.examples import Examples, TrainingRefused
from services.trainer.export import check_explanation, check_parity, golden_vectors, graph_of, run_onnx
from services.trainer.families import ModelFamily
from services.trainer.gate import Champion, Verdict, ask_champion, judge
from services.trainer.learning_set import hazard_set, matured_set, unseen
from services.trainer.maturity.known import Known
from services.trainer.monitoring.reference import Arrivals, encode_reference, reference_days, reference_of
from services.trainer.promotion.ladder import Ladder, LadderRefused
from services.trainer.refit import refitted
from services.trainer.segments import Columns, by_segment
from services.trainer.stability import reasons_stability
from services.trainer.train import Progress, Trained, choose, learn
from services.trainer.tuning import NO_TRIALS, Budget, tune
from shared.contracts.identity import canonical_time
from shared.model_artifact.explanation import encode_explanation
from shared.model_artifact.manifest import (
    CARD_FILE,
    EXPLANATION_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    ArtifactRefused,
    DataWindow,
    Manifest,
)
from shared.model_artifact.registry import ModelRegistry, PromotionConflict

log = structlog.get_logger()

PROMOTED_BY = "trainer"

UNEXPLAINED = "it gives no exact contributions: it may answer in shadow, and never decide"


@dataclass(frozen=True)
class Plan:
    """What stays the same from one training to the next."""

    validate_share: float
    test_share: float
    economics: Economics
    seed: int
    tuning: Budget = NO_TRIALS


@dataclass(frozen=True)
class Outcome:
    manifest: Manifest
    name: str
    holdout: Examples
    """The test part."""
    probability: NDArray[np.float64]
    """[n] calibrated, of the test part, as the exported model gives them."""
    card: dict[str, object]
    promoted: bool
    reasons: tuple[str, ...]


def train_and_register(
    examples: Examples,
    as_of_us: int,
    candidates: Sequence[ModelFamily],
    plan: Plan,
    registry: ModelRegistry,
    *,
    promote: bool,
    examples_of: Callable[[str], Examples] | None = None,
    arrivals: Arrivals | None = None,
    known: Known | None = None,
    segments_of: Callable[[Examples], Columns] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Trains on what has matured at `as_of_us`, registers the best candidate, and promotes it if the gate lets it.

    `examples_of`: the same purchases in another feature set, where the champion is of one. `arrivals`: all purchases of
    some days, lent or not, which the monitor's reference is made of; without it the model has none. `known`: what is
    known of all purchases at that moment, to learn from that instead of what has matured (services/trainer/maturity).
    `segments_of`: what the purchases of some examples were, for the card. `progress`: told of each step done.

    Raises TrainingRefused (too little data), ExportRefused (the export answers otherwise), and what the registry
    raises. Nothing is registered in these cases, nor where the process ends at any step before the last two.
    """
    step = progress or (lambda _: None)
    if known is None:
        learnt_from = matured_set(examples, as_of_us, plan.validate_share, plan.test_share)
    else:
        learnt_from = hazard_set(known, candidates, plan.validate_share, plan.test_share)
    split = learnt_from.split
    step("split")
    tuned = tune(split, learn(split, candidates, step), plan.tuning, plan.seed)
    chosen = choose(tuned.trained)
    step("tuned")
    chosen = refitted(chosen, split)
    step("fitted again")
    onnx = graph_of(chosen.candidate)
    step("exported")
    holdout = np.concatenate([part.columns(chosen.feature_names) for part in (split.validate, split.test)])
    parity = check_parity(chosen.candidate, onnx, holdout)
    explanation, _ = check_explanation(chosen.candidate, onnx, holdout)
    step("parity checked")

    test = split.test
    inputs = test.columns(chosen.feature_names)
    probability = chosen.calibration.apply(run_onnx(onnx, inputs))
    metrics = evaluate(test, probability, plan.economics, plan.seed)
    step("evaluated")
    columns = segments_of(test) if segments_of is not None else {}
    measured = Measured(
        metrics,
        parity,
        by_segment(test, probability, columns, plan.economics, plan.seed),
        reasons_stability(chosen, split),
    )
    card = model_card(chosen, tuned.trained, tuned.trials, learnt_from, measured, explanation, plan.economics)
    step("card written")

    manifest = _manifest(chosen, examples.feature_set_version, learnt_from.window, metrics, onnx, inputs)
    files = {
        MODEL_FILE: onnx,
        CARD_FILE: msgspec.json.format(msgspec.json.encode(card, order="deterministic"), indent=2),
    }
    if explanation is not None:
        files[EXPLANATION_FILE] = encode_explanation(explanation)
    if arrivals is not None:
        files |= _reference(arrivals, learnt_from.window, chosen, onnx)
    champion = ask_champion(registry, test, examples_of)
    step("champion asked")
    version = registry.register(manifest, files)
    log.info("model_registered", version=version, model=chosen.candidate.name, parity=parity)
    step("registered")
    verdict = judge(test, probability, champion, plan.economics)
    if explanation is None:
        verdict = Verdict(False, (UNEXPLAINED, *verdict.reasons))
    promoted, reasons = _promote(registry, version, champion, verdict, promote)
    step("judged")
    return Outcome(registry.load(version).manifest, chosen.candidate.name, test, probability, card, promoted, reasons)


def _reference(arrivals: Arrivals, window: DataWindow, chosen: Trained, onnx: bytes) -> dict[str, bytes]:
    """The reference's file; none where the purchases of those days are gone."""
    days = reference_days(window)
    purchases = arrivals(*days, chosen.feature_names)
    if len(purchases) == 0:
        return {}
    probability = chosen.calibration.apply(run_onnx(onnx, purchases.features))
    return {REFERENCE_FILE: encode_reference(reference_of(purchases, chosen.feature_names, probability, days))}


def _promote(
    registry: ModelRegistry, version: str, champion: Champion, verdict: Verdict, wanted: bool
) -> tuple[bool, tuple[str, ...]]:
    """Whether this version is in service afterwards, and why or why not."""
    if champion.version == version and champion.trouble is None:
        return True, ("this very model is in service already",)
    if not wanted:
        return False, ("not asked to promote", *verdict.reasons)
    if verdict.promote and (why := _stays_out(registry, version)) is not None:
        log.warning("promotion_refused", version=version, reasons=[why])
        return False, (why, *verdict.reasons)
    if verdict.promote:
        try:
            registry.promote(version, PROMOTED_BY, expected=champion.version)
        except PromotionConflict as conflict:
            log.warning("promotion_refused", version=version, reasons=[str(conflict)])
            return False, (str(conflict), *verdict.reasons)
    log.info("promotion_decided", version=version, promoted=verdict.promote, reasons=list(verdict.reasons))
    return verdict.promote, verdict.reasons


def _stays_out(registry: ModelRegistry, version: str) -> str | None:
    """Why a version isn't put in service by itself, though it is better: it was taken out, and training on the same
    data gives it again. None: nothing is known against it."""
    try:
        Ladder(registry).check_return(version)
        before = registry.pointer("previous")
    except (LadderRefused, ArtifactRefused) as refused:
        return f"{refused}; `promote` puts it in service all the same"
    if before is not None and before.withdrawn and before.version == version:
        return f"{version} was rolled back, and stays out; `promote` puts it in service all the same"
    return None


def _manifest(
    chosen: Trained,
    feature_set_version: str,
    window: DataWindow,
    metrics: dict[str, float],
    onnx: bytes,
    inputs: NDArray[np.float32],
) -> Manifest:
    return Manifest(
        version="",
        family=chosen.candidate.family,
        feature_set_version=feature_set_version,
        feature_names=list(chosen.feature_names),
        files={},
        calibration=chosen.calibration,
        metrics=metrics,
        data_window=window,
        golden=golden_vectors(onnx, chosen.calibration, inputs),
        trained_at=canonical_time(datetime.now(UTC)),
    )


def evaluate_version(
    registry: ModelRegistry, version: str, examples: Examples, as_of_us: int, economics: Economics, seed: int
) -> tuple[Examples, NDArray[np.float64], dict[str, float]]:
    """A registered model on matured examples that it has not seen, that is, later than its own test part if there are
    any, else its test part: (those examples, [n] probabilities, figures). Raises TrainingRefused if there are none."""
    files = registry.load(version)
    manifest = files.manifest
    fresh = unseen(manifest.data_window, examples.ordered().matured(as_of_us))
    if len(fresh) == 0 or fresh.label.min() == fresh.label.max():
        raise TrainingRefused(f"there is no matured example that model {version} has not learnt from")
    raw = run_onnx(files.onnx, fresh.columns(tuple(manifest.feature_names)))
    probability = manifest.calibration.apply(raw)
    return fresh, probability, evaluate(fresh, probability, economics, seed)
