"""Takes over the model that the registry says is in service, without a restart."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import structlog

from services.scorer.metrics import MODEL_REFUSED, SERVICE, UNREADABLE
from services.scorer.slot import ModelSlot
from shared.contracts.identity import epoch_micros
from shared.deciding.onnx_model import OnnxModel
from shared.experiments import Trials
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry
from shared.telemetry.metrics import DEGRADED, MODEL_INFO, MODEL_TRAINED
from shared.telemetry.process import sleep_unless

log = structlog.get_logger()

_SERVED, _TRIED = "served", "tried"


class ModelReloader:
    """Looks at the registry's `current` every so often and swaps the model in the slot.

    Guarantee: the slot only ever holds models that were verified byte for byte and answered their golden vectors.
    Whatever is wrong with a newer one, the last good one stays (after a restart: `previous`); the fault is logged once
    and counted at each try, since what is damaged now may be replaced.
    """

    def __init__(self, registry: ModelRegistry, slot: ModelSlot, *, interval_s: float) -> None:
        self._registry = registry
        self._slot = slot
        self._interval_s = interval_s
        self._trials = Trials()
        self._tried: dict[str, OnnxModel] = {}
        self._lacking: set[str] = set()
        """Of those that are to be tried."""
        self._told: dict[str, str] = {}
        """The fault that was logged last: of what is in service, of the list of what is tried, of each that is on
        it."""
        self._looking = asyncio.Lock()
        """A switch over REST looks, too: of two looks at once the earlier one could put its model in last."""
        self._update_gauges(None)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        while not stop.is_set():
            await self.look()
            await self.look_at_trials()
            await sleep_unless(stop, self._interval_s)

    @property
    def serving(self) -> str | None:
        """The version that decides here."""
        return self._slot.current.version if self._slot.current is not None else None

    async def look(self) -> bool:
        """Whether what is in service changed."""
        async with self._looking:
            return await self._look()

    async def _look(self) -> bool:
        serving = self._slot.current
        try:
            version = await asyncio.to_thread(self._registry.current)
            if version is None or (serving is not None and serving.version == version):
                self._told.pop(_SERVED, None)
                return False
            model = await self._load(version, decides=True)
            self._told.pop(_SERVED, None)
        except (ArtifactRefused, OSError) as error:
            self._refused(error, _SERVED)
            # Without any model in service the one before is better than none: it was in service.
            fallback = await self._previous() if serving is None else None
            if fallback is None:
                return False
            model = fallback
        beside = await self._previous()
        self._slot.put(model, beside if beside and beside.feature_set_version != model.feature_set_version else None)
        self._update_gauges(model)
        log.info(
            "model_in_service",
            version=model.version,
            before=serving.version if serving else None,
            beside=[each.version for each in self._slot.lineup.champions.values() if each is not model],
        )
        if serving is not None:
            MODEL_INFO.remove(serving.version, "champion")
            with contextlib.suppress(KeyError):
                MODEL_TRAINED.remove(serving.version)
        return True

    async def look_at_trials(self) -> bool:
        """Whether other models are tried than before. One that can't be trusted isn't tried, and its arm's customers
        are decided by the champion, under the arm's name, until it can: each look tries it again."""
        try:
            # Where a candidate stands on the ladder is the trainer's affair; what is tried says the rest.
            found = await asyncio.to_thread(self._registry.trials)
            trials = msgspec.structs.replace(found, candidacy=None, successor=None)
            self._told.pop(_TRIED, None)
        except (ArtifactRefused, OSError) as error:
            self._refused(error, _TRIED)
            return False
        if trials == self._trials and not self._lacking:
            return False
        kept = self._tried if trials == self._trials else {}
        arms = {arm.name: arm.model_version for arm in trials.experiment.arms} if trials.experiment else {}
        wanted = {*trials.shadow, *arms.values()}
        tried = dict(kept)
        for version in wanted - kept.keys():
            try:
                tried[version] = await self._load(version, decides=version in arms.values())
                self._told.pop(version, None)
            except (ArtifactRefused, OSError) as error:
                self._refused(error, version)
        self._lacking = wanted - tried.keys()
        if trials == self._trials and tried.keys() == kept.keys():
            return False
        self._trials = trials
        self._slot.try_out(
            [tried[version] for version in trials.shadow if version in tried],
            trials.experiment,
            {name: tried[version] for name, version in arms.items() if version in tried},
        )
        for version in self._tried:
            MODEL_INFO.remove(version, "challenger")
        self._tried = tried
        for version in tried:
            MODEL_INFO.labels(version, "challenger").set(1)
        log.info(
            "models_tried",
            shadow=trials.shadow,
            experiment=trials.experiment.name if trials.experiment else None,
            arms=arms,
            refused=sorted(self._lacking),
        )
        return True

    async def _load(self, version: str, *, decides: bool) -> OnnxModel:
        """`decides`: it will, so it has to explain itself. Raises ArtifactRefused, OSError."""
        # In a thread: hashing, parsing and the first run take longer than a checkout may wait.
        return await asyncio.to_thread(self._load_now, version, decides)

    def _load_now(self, version: str, decides: bool) -> OnnxModel:
        files = self._registry.load(version)
        if decides:
            files.must_explain()
        return OnnxModel(files)

    async def _previous(self) -> OnnxModel | None:
        """The model before, if there is one that can be trusted; what is wrong with it is nobody's trouble."""
        try:
            pointer = await asyncio.to_thread(self._registry.pointer, "previous")
            # What was rolled back decides nothing, not even what is of its feature set alone.
            return None if pointer is None or pointer.withdrawn else await self._load(pointer.version, decides=True)
        except (ArtifactRefused, OSError):
            return None

    def _refused(self, error: ArtifactRefused | OSError, of: str) -> None:
        if isinstance(error, ArtifactRefused):
            reason, detail = error.reason.value, str(error)
        else:
            reason, detail = UNREADABLE, f"registry: {error}"
        MODEL_REFUSED.labels(reason).inc()
        if detail != self._told.get(of):
            self._told[of] = detail
            serving = self._slot.current
            log.error("model_refused", reason=reason, detail=detail, serving=serving.version if serving else None)

    def _update_gauges(self, model: OnnxModel | None) -> None:
        DEGRADED.labels(SERVICE).set(model is None)
        if model is not None:
            MODEL_INFO.labels(model.version, "champion").set(1)
            # Neither version nor signature covers this field, so it may say anything: no reason to be without a model.
            with contextlib.suppress(ValueError, TypeError):
                MODEL_TRAINED.labels(model.version).set(epoch_micros(model.trained_at) / 1e6)
