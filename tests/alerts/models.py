"""Faults of models, policies and of those who look after them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import yaml

from deploy.local.processes import ManagedProcess
from deploy.monitoring.alerts import MODEL_DAYS
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.registry import ModelRegistry
from tests.alerts.floor import START_S, Floor, now, refusing
from tests.integration.trainer.monitored import rows_of, write

DRIFT_FACTOR = 6.0
"""Purchases become so many times as dear."""
WEEK = 7


async def registry_is_empty(floor: Floor) -> None:
    folder = floor.world.data_dir / "no-models"
    folder.mkdir(exist_ok=True)
    with floor.running_with("scorer", MODEL_REGISTRY__URI=str(folder)):
        await floor.fires("NoModel", "DecisionsDegraded", patience_s=START_S + 60)


async def promoted_model_is_damaged(floor: Floor) -> None:
    registry, good = floor.world.registry, floor.world.model
    other = floor.trained_now(-2.3)
    damage_once_promoted(registry, other, floor.world.process("scorer"))
    try:
        await floor.fires("ModelRefused")
    finally:
        registry.rollback("alerts")
    assert registry.current() == good


def damage_once_promoted(registry: ModelRegistry, version: str, scorer: ManagedProcess) -> None:
    """Promote it, and change its bytes before the scorer looks."""
    scorer.pause()
    try:
        registry.promote(version, "tests", expected=registry.current())
        weights = next(Path(registry.root).rglob(f"{version}/model.onnx"))
        weights.chmod(0o644)
        weights.write_bytes(weights.read_bytes() + b"\0")
    finally:
        scorer.resume()


async def model_is_old(floor: Floor) -> None:
    age = timedelta(seconds=floor.scaled(timedelta(days=MODEL_DAYS + 1).total_seconds()))
    registry = floor.world.registry
    registry.promote(floor.trained_now(-2.4, trained_at=datetime.now(UTC) - age), "alerts")
    try:
        await floor.fires("ModelOld", patience_s=floor.scaled(3600) + 120)
    finally:
        floor.world.model = floor.trained_now(-2.5)
        registry.promote(floor.world.model, "alerts")


async def policy_is_no_policy(floor: Floor) -> None:
    good = floor.policy_file.read_text()
    floor.policy_file.write_text("version: [")
    try:
        await floor.fires("PolicyRefused")
    finally:
        floor.policy_file.write_text(good)


async def limiter_is_tight(floor: Floor) -> None:
    """More is approved than the lender has funds for: one dollar."""
    good = floor.policy_file.read_text()
    policy = yaml.safe_load(good)
    policy["limiter"]["most_approved_usd"] = "1"
    floor.policy_file.write_text(yaml.safe_dump(policy))
    try:
        await floor.fires("LimiterHolds")
    finally:
        floor.policy_file.write_text(good)


async def guard_sees_nothing(floor: Floor) -> None:
    """The warehouse is away for it alone. Each of its looks tries for half a minute."""
    floor.experiment()
    with refusing(floor.guard_s_link):
        await floor.fires("ExperimentUnwatched", patience_s=240)


async def monitor_sees_nothing(floor: Floor) -> None:
    with refusing(floor.monitor_s_link):
        await floor.fires("ModelsUnwatched", patience_s=240)


async def field_is_no_longer_sent(floor: Floor) -> None:
    """For a week; the week after, it is there again."""
    await asyncio.to_thread(_another_week, floor, 1, float("nan"))
    await floor.fires("ModelConcern", patience_s=240)
    await asyncio.to_thread(_another_week, floor, 2, 1.0)
    await floor.clears("ModelConcern", since=now(), patience_s=240)


async def purchases_change(floor: Floor) -> None:
    """For a week they are dearer; the week after, they are as they were."""
    await asyncio.to_thread(_another_week, floor, 3, DRIFT_FACTOR)
    await floor.fires("FeatureDrift", patience_s=240)
    await asyncio.to_thread(_another_week, floor, 4, 1.0)
    await floor.clears("FeatureDrift", since=now(), patience_s=240)


def _another_week(floor: Floor, number: int, factor: float) -> None:
    """The last whole week of the past once more, so many weeks later, with amounts times `factor`; NaN: with no amount
    among the features."""
    examples = floor.past.history.examples
    last_day = int(examples.occurred_us.max()) // MICROS_PER_DAY
    week = examples.take(examples.occurred_us // MICROS_PER_DAY > last_day - WEEK - 1)
    later_us = number * (WEEK + 1) * MICROS_PER_DAY
    features = week.features.copy()
    features[:, week.feature_names.index("amount")] *= factor
    again = replace(
        week,
        event_id=np.array([f"{event}-again-{number}" for event in week.event_id], object),
        occurred_us=week.occurred_us + later_us,
        mature_us=week.mature_us + later_us,
        amount=week.amount if np.isnan(factor) else week.amount * factor,
        features=features,
    )
    rates = np.full(len(again), float(floor.past.history.expected_rate.mean()))
    first = 1_000_000 * number
    write(floor.past.settings, rows_of(again, rates.tolist(), first, model_version=floor.past.version))
