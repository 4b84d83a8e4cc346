"""Settings of the trainer."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field, field_validator, model_validator

from services.trainer.evaluate import Economics
from services.trainer.experiments.limits import Limits
from services.trainer.families.found import DEFAULT_FAMILIES
from services.trainer.ladder_settings import GatesSection, LadderSection
from services.trainer.lifecycle.settings import LifecycleSection
from shared.alerts import AlertsSettings
from shared.settings import BigQuerySettings, MetricsSettings, ModelRegistrySettings, Section, ServiceSettings

DEFAULT_METRICS_PORT = 9105


class GuardSection(Section):
    """Rates are differences to the champion's, such as 0.05: five in a hundred customers."""

    alpha: float = Field(default=0.05, gt=0, lt=1)
    """The chance that an experiment in which no limit is broken is ever stopped, however often it is looked at."""
    declines: float = Field(default=0.05, ge=0, lt=1)
    """How many more customers an arm may decline."""
    slow_seconds: float = Field(default=0.5, gt=0)
    """From the purchase's record to the decision's: what takes longer counts as slow."""
    slow: float = Field(default=0.02, ge=0, lt=1)
    """How many more decisions of an arm may be slow."""
    miscalibration: float = Field(default=0.3, ge=0)
    """In log-odds: how far defaults may lie from what the arm said. 0.3 is a third more than expected."""
    approval_by_group: float = Field(default=0.10, ge=0, lt=1)
    """How many fewer an arm may approve within one age bracket or state."""
    settle_seconds: float = Field(default=10.0, ge=0)
    """After the start of an experiment, until its decisions count. Longer than scorers take to learn of it
    (SCORER__RELOAD_SECONDS)."""

    @property
    def limits(self) -> Limits:
        return self.filled(Limits)


class TrainerSection(Section):
    seed: int = 20260601
    """Of the fits and of the bootstrap. Same data, same seed: same version."""
    families: str = Field(default=",".join(DEFAULT_FAMILIES), pattern=r"^\s*[\w-]+(\s*,\s*[\w-]+)*\s*$")
    """Model families that compete in a training, in this order, with commas between: `python -m services.trainer
    families` lists them. More take longer, and what is registered is one model."""
    threads: int = Field(default=1, ge=1)
    """For fitting trees. More is faster on hundreds of thousands of rows; fix it, since it may move the last bits."""
    validate_share: float = Field(default=0.2, gt=0, lt=0.5)
    test_share: float = Field(default=0.2, gt=0, lt=0.5)
    margin_on_good: float = Field(default=0.03, gt=0)
    """Earned on a loan that is repaid, as a share of its amount: an assumption, stated wherever it is used."""
    loss_on_default: float = Field(default=0.60, gt=0)
    """Lost on a default, as a share of its amount."""
    labels: Literal["matured", "hazard"] = "matured"
    """Learn from purchases that have matured, or from all that is known so far (docs/explanation/label-maturity.md)."""
    tuning_trials: int = Field(default=4, ge=0)
    """Fits with other settings, beside those of the candidates as they are; each takes as long as one of theirs."""
    tuning_seconds: float | None = Field(default=None, gt=0)
    """No trial is begun after so long. How many were made is on the model card: set as `tuning_trials`, that number
    gives the same version again."""
    mlflow_tracking_uri: str | None = Field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI") or None)
    """Where trainings are tracked and models mirrored, such as `sqlite:///mlflow.db` or `https://mlflow.example`;
    unset, nowhere (services/trainer/tracking.py)."""
    guard: GuardSection = GuardSection()
    gates: GatesSection = GatesSection()
    ladder: LadderSection = LadderSection()
    lifecycle: LifecycleSection = LifecycleSection()
    check_data: bool = True
    """Whether a training is refused where its examples break an expectation (services/trainer/quality)."""
    reports: str = "out/trainer"
    """Folder for drift reports and the readable model card."""

    @field_validator("mlflow_tracking_uri", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @property
    def family_names(self) -> list[str]:
        return [name.strip() for name in self.families.split(",") if name.strip()]

    @property
    def economics(self) -> Economics:
        return Economics(self.margin_on_good, self.loss_on_default)


class TrainerSettings(ServiceSettings):
    metrics: MetricsSettings = MetricsSettings(port=DEFAULT_METRICS_PORT)
    bigquery: BigQuerySettings = BigQuerySettings()
    model_registry: ModelRegistrySettings = ModelRegistrySettings()
    alerts: AlertsSettings = AlertsSettings()
    trainer: TrainerSection = TrainerSection()

    @model_validator(mode="after")
    def _production_checks_signatures(self) -> TrainerSettings:
        keys = self.model_registry.public_keys_file, self.model_registry.signing_key_file
        if self.profile == "production" and keys == (None, None):
            raise ValueError("MODEL_REGISTRY__PUBLIC_KEYS_FILE must be set in the production profile")
        return self

    def lacks_for(self, command: str | None) -> str | None:
        """What must be set in the production profile for a command that registers models, and isn't. All others, the
        guard's above all, do without the key that signs."""
        unsigned = self.profile == "production" and self.model_registry.signing_key_file is None
        return "MODEL_REGISTRY__SIGNING_KEY_FILE" if unsigned and command in ("train", "watch") else None
