"""`--check`: whether everything that the scorer needs answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.scorer.metrics import SERVICE
from services.scorer.model import OnnxModel
from shared.feature_state import FeatureStateStore, PartitionCountMismatch
from shared.kafka.admin import check_topics
from shared.kafka.errors import GaveUp, TopicMismatch, TransientError
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry
from shared.settings import KafkaSettings


async def check(kafka: KafkaSettings, states: FeatureStateStore, registry: ModelRegistry) -> dict[str, str]:
    """For each dependency `ok`, or what is wrong with it. No model is fine: the fallback decides until there is one."""

    async def brokers() -> str:
        await check_topics(kafka, SERVICE)
        return "ok"

    async def redis() -> str:
        await states.check_partitions(kafka.partitions)
        return "ok"

    async def model() -> str:
        version = registry.current()
        if version is None:
            return "ok (none promoted yet)"
        OnnxModel(registry.load(version))
        return f"ok ({version})"

    return {"kafka": await _try(brokers), "redis": await _try(redis), "model": await _try(model)}


async def _try(probe: Callable[[], Awaitable[str]]) -> str:
    try:
        return await probe()
    except (TransientError, GaveUp, TopicMismatch, PartitionCountMismatch, ArtifactRefused, OSError) as error:
        return f"{type(error).__name__}: {error}"
