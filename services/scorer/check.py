"""`--check`: whether everything that the scorer needs answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from services.scorer.metrics import SERVICE
from shared.contracts.topics import DECISIONS, FEATURES
from shared.deciding.onnx_model import OnnxModel
from shared.feature_state import FeatureStateStore, PartitionCountMismatch
from shared.kafka.admin import check_topics, retention_ms
from shared.kafka.errors import GaveUp, TopicMismatch, TransientError
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry
from shared.settings import KafkaSettings

log = structlog.get_logger()


async def check(
    kafka: KafkaSettings, states: FeatureStateStore, registry: ModelRegistry, *, claim_ttl_s: int
) -> dict[str, str]:
    """For each dependency `ok`, or what is wrong with it. No model is fine: the fallback decides until there is one."""

    async def brokers() -> str:
        await check_topics(kafka, SERVICE)
        return "ok"

    async def redis() -> str:
        await states.compare_partitions(kafka.partitions)
        return "ok"

    async def model() -> str:
        version = registry.current()
        if version is None:
            return "ok (none promoted yet)"
        OnnxModel(registry.load(version))
        return f"ok ({version})"

    async def claims() -> str:
        wrong, short = await _retention(kafka, claim_ttl_s)
        return wrong or ("ok" if short is None else f"ok, but {short}")

    probes = {"kafka": brokers, "redis": redis, "model": model, "claims": claims}
    return {name: await _try(probe) for name, probe in probes.items()}


async def tell_of_claims_that_outlive_their_topic(kafka: KafkaSettings, claim_ttl_s: int) -> None:
    """Log an error where what Redis loses couldn't all be restored, and a warning where a vector may outlive its claim.
    No reason not to start: nothing is lost yet, nor decided twice."""
    try:
        wrong, short = await _retention(kafka, claim_ttl_s)
    except TransientError:
        return  # said by everything else
    if wrong is not None:
        log.error("claims_outlive_their_topic", error=wrong)
    if short is not None:
        log.warning("vectors_outlive_claims", detail=short)


async def _retention(kafka: KafkaSettings, claim_ttl_s: int) -> tuple[str | None, str | None]:
    """What is wrong with how long claims live, and what may come of it; each None where there is nothing. Raises
    TransientError."""
    kept_ms = await retention_ms(kafka, DECISIONS.name, FEATURES.name)
    return _outlived(kept_ms.get(DECISIONS.name), claim_ttl_s), _too_short(kept_ms.get(FEATURES.name), claim_ttl_s)


def _outlived(kept_ms: int | None, claim_ttl_s: int) -> str | None:
    """None, or why claims live longer than the decisions that they are restored from."""
    if kept_ms is None or kept_ms < 0 or kept_ms >= claim_ttl_s * 1000:
        return None
    return (
        f"{DECISIONS.name} keeps records for {kept_ms // 1000} s (its retention.ms), less than"
        f" SCORER__CLAIM_TTL_SECONDS, {claim_ttl_s}"
    )


def _too_short(kept_ms: int | None, claim_ttl_s: int) -> str | None:
    """None, or what may happen where claims are forgotten before the vectors that they were made for."""
    if kept_ms is None or 0 <= kept_ms <= claim_ttl_s * 1000:
        return None
    kept = "for ever" if kept_ms < 0 else f"for {kept_ms // 1000} s"
    return (
        f"{FEATURES.name} keeps vectors {kept}, claims live for {claim_ttl_s} s (SCORER__CLAIM_TTL_SECONDS): an event"
        " of a checkout is decided twice where its vector comes later than that"
    )


async def _try(probe: Callable[[], Awaitable[str]]) -> str:
    try:
        return await probe()
    except (TransientError, GaveUp, TopicMismatch, PartitionCountMismatch, ArtifactRefused, OSError) as error:
        return f"{type(error).__name__}: {error}"
