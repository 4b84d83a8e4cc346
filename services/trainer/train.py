"""Fits and calibrates every candidate, and chooses one: by log-loss on the validation part, never on the test part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from services.trainer.calibration import fit_platt
from services.trainer.evaluate import Customers, log_losses, numbered, weighted_mean, weighted_mean_error
from services.trainer.examples import Examples, TrainingRefused
from services.trainer.families import ModelFamily, Sample
from services.trainer.prohibited import check_inputs
from services.trainer.split import Split
from shared.model_artifact.manifest import Calibration

log = structlog.get_logger()

Progress = Callable[[str], None]
"""Called with what was just done, once a step."""


@dataclass(frozen=True)
class Trained:
    candidate: ModelFamily
    feature_names: tuple[str, ...]
    calibration: Calibration
    validation_losses: NDArray[np.float64]
    """[n] log-losses of the validation part's rows, in nats."""
    validation_weight: NDArray[np.float64]
    """[n] of those rows."""
    validation_customers: Customers
    """[n] whose each of them is."""
    fitted_on: str = "the train part"

    @property
    def validation_log_loss(self) -> float:
        return weighted_mean(self.validation_losses, self.validation_weight)

    def probability(self, examples: Examples) -> NDArray[np.float64]:
        """[n] calibrated probabilities of default."""
        return self.calibration.apply(self.candidate.raw_probability(examples.columns(self.feature_names)))


def informative_features(train: Examples, wanted: Sequence[str]) -> tuple[str, ...]:
    """`wanted` less what is the same in every row of the train part: it can teach nothing there, and a value first seen
    later would be read by no experience. Missing is a value of its own: where it comes and goes, it may tell."""
    matrix = train.columns(tuple(wanted))
    missing = np.isnan(matrix)
    known = np.where(missing, np.float32(0), matrix)
    lowest = np.where(missing, np.inf, known).min(axis=0)
    highest = np.where(missing, -np.inf, known).max(axis=0)
    share = missing.mean(axis=0)
    varies = (lowest < highest) | ((share > 0) & (share < 1))
    return tuple(name for name, keep in zip(wanted, varies, strict=True) if keep)


def sample_of(examples: Examples, names: Sequence[str]) -> Sample:
    """With columns `names`."""
    return Sample(examples.columns(tuple(names)), examples.label, examples.weight)


def learn(split: Split, candidates: Sequence[ModelFamily], progress: Progress | None = None) -> list[Trained]:
    """Every candidate that has something to learn from, fitted on the train part and calibrated on the validation part,
    in the order given. One whose code fails is left out, and said: it may be a plug-in, and the others are none the
    worse for it. Raises TrainingRefused if nobody is left, or if one would look at a prohibited basis.

    The validation part is used three times (early stopping, calibration, choice), so its figures flatter a little;
    the test part is not touched here.
    """
    trained: list[Trained] = []
    failed: list[str] = []
    customers = numbered(split.validate.customer_id)
    with one_thread():
        for candidate in candidates:
            check_inputs(candidate.inputs.features)
            names = informative_features(split.train, candidate.inputs.features)
            if not names:
                continue
            train, validate = (sample_of(part, names) for part in (split.train, split.validate))
            try:
                candidate.fit(names, train, validate)
                raw = candidate.raw_probability(split.validate.columns(names))
                calibration = fit_platt(raw, validate.label, validate.weight)
            except Exception as error:  # of a library, or of whoever wrote the plug-in
                log.error("family_failed", model=candidate.name, exc_info=error)
                failed.append(f"{candidate.family}: {error!r}")
                continue
            losses = log_losses(validate.label, calibration.apply(raw))
            trained.append(Trained(candidate, names, calibration, losses, validate.weight, customers))
            if progress is not None:
                progress(candidate.name)
    if failed and not trained:
        raise TrainingRefused(f"no family could be fitted: {'; '.join(failed)}")
    if not trained:
        raise TrainingRefused("every feature is the same in all rows: nothing can be learnt")
    return trained


CLEARLY = 2.0
"""Standard errors of the paired difference of log-losses by which a more complex model must be better. On a few
thousand rows the best of five by a hair is the luckiest of five, and the simplest ranks new purchases better. (The
standard-error rule of Breiman et al., 1984, there with one error.)"""


def choose(trained: Sequence[Trained]) -> Trained:
    """The simplest (first) model that no later one clearly beats on the validation part.

    Models that can't explain themselves are left out, unless there are no others: what is registered is meant to
    decide.
    """
    able = [each for each in trained if each.candidate.explains] or list(trained)
    chosen = able[0]
    for challenger in able[1:]:
        gained = chosen.validation_losses - challenger.validation_losses
        weight = chosen.validation_weight
        error = weighted_mean_error(gained, weight, chosen.validation_customers)
        if weighted_mean(gained, weight) > CLEARLY * error:
            chosen = challenger
    return chosen


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in a fixed order: with several threads the last bits of a fit depend on who came first, and with them the
    model's version."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield
