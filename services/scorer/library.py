"""Models by version: those in service, and those that decided earlier."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from services.scorer.slot import ModelSlot
from shared.deciding.onnx_model import OnnxModel
from shared.model_artifact.registry import ModelRegistry

KEPT = 4
"""Earlier models in memory: an analyst asks about one after the other of the same day."""


class ModelLibrary:
    def __init__(self, registry: ModelRegistry, slot: ModelSlot) -> None:
        self._registry = registry
        self._slot = slot
        self._earlier: OrderedDict[str, OnnxModel] = OrderedDict()

    async def get(self, version: str) -> OnnxModel:
        """Raises ArtifactRefused and OSError for one that can't be loaded (any more)."""
        serving = self._slot.current
        if serving is not None and serving.version == version:
            return serving
        model = self._earlier.get(version)
        if model is None:
            # In a thread: hashing, parsing and the first run take longer than a checkout may wait.
            model = await asyncio.to_thread(lambda: OnnxModel(self._registry.load(version)))
            self._earlier[version] = model
            while len(self._earlier) > KEPT:
                self._earlier.popitem(last=False)
        self._earlier.move_to_end(version)
        return model
