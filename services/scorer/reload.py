"""Takes over the model that the registry says is in service, without a restart."""

from __future__ import annotations

import asyncio

import structlog

from services.scorer.metrics import MODEL_REFUSED, SERVICE
from services.scorer.model import ModelSlot, OnnxModel
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry
from shared.telemetry.metrics import DEGRADED, MODEL_INFO

log = structlog.get_logger()


class ModelReloader:
    """Looks at the registry's `current` every so often and swaps the model in the slot.

    Guarantee: the slot only ever holds a model that was verified byte for byte and answered its golden vectors.
    Whatever is wrong with a newer one, the last good one stays; the fault is logged once and counted at each try, since
    what is damaged now may be replaced.
    """

    def __init__(self, registry: ModelRegistry, slot: ModelSlot, *, interval_s: float) -> None:
        self._registry = registry
        self._slot = slot
        self._interval_s = interval_s
        self._told: str | None = None
        """The fault that was logged last."""
        self._update_gauges(None)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        while not stop.is_set():
            await self.look()
            try:
                async with asyncio.timeout(self._interval_s):
                    await stop.wait()
            except TimeoutError:
                continue

    async def look(self) -> bool:
        """Whether another model was put in service."""
        serving = self._slot.current
        try:
            version = await asyncio.to_thread(self._registry.current)
            if version is None or (serving is not None and serving.version == version):
                self._told = None
                return False
            # In a thread: hashing, parsing and the first run take longer than a checkout may wait.
            model = await asyncio.to_thread(lambda: OnnxModel(self._registry.load(version)))
        except ArtifactRefused as error:
            self._refused(error.reason.value, str(error))
            return False
        except OSError as error:
            self._refused("unreadable", f"registry: {error}")
            return False
        self._slot.current = model
        self._told = None
        self._update_gauges(model.version)
        log.info("model_in_service", version=model.version, before=serving.version if serving else None)
        if serving is not None:
            MODEL_INFO.remove(serving.version, "champion")
        return True

    def _refused(self, reason: str, detail: str) -> None:
        MODEL_REFUSED.labels(reason).inc()
        if detail != self._told:
            self._told = detail
            serving = self._slot.current
            log.error("model_refused", reason=reason, detail=detail, serving=serving.version if serving else None)

    def _update_gauges(self, version: str | None) -> None:
        DEGRADED.labels(SERVICE).set(version is None)
        if version is not None:
            MODEL_INFO.labels(version, "champion").set(1)
