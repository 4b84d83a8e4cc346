"""The registered models, and the switch between them, as an administrator sees them over REST."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from services.scorer.checkout import Unavailable
from services.scorer.library import ModelLibrary
from services.scorer.problems import Problem
from services.scorer.reload import ModelReloader
from shared.contracts.rejections import RejectionReason
from shared.model_artifact.manifest import VERSION_HEX_DIGITS, ArtifactFault, ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, Pointer, PromotionConflict

log = structlog.get_logger()

LISTED = 50
"""Of the latest: a list of all that ever were helps nobody, and each is verified anew."""
_VERSION = re.compile(rf"[0-9a-f]{{{VERSION_HEX_DIGITS}}}")


class Models:
    """Guarantee: only a model that this process has loaded, run and found to answer as registered is put in service,
    and the answer comes after this process has taken it over. Other processes follow within their own
    SCORER__RELOAD_SECONDS."""

    def __init__(self, registry: ModelRegistry, library: ModelLibrary, reloader: ModelReloader) -> None:
        self._registry = registry
        self._library = library
        self._reloader = reloader

    async def listing(self) -> bytes:
        """Raises Unavailable."""
        try:
            return msgspec.json.encode(await asyncio.to_thread(self._listing))
        except (ArtifactRefused, OSError) as error:
            raise Unavailable("registry-unavailable", f"the registry can't be read: {error}") from None

    async def promote(self, version: str, by: str, expected: str | None) -> bytes:
        """`expected`: the version that has to be in service; None: whichever is. Raises Problem, Unavailable."""
        if not _VERSION.fullmatch(version):
            expected_form = f"{VERSION_HEX_DIGITS} hex digits"
            raise Problem(422, RejectionReason.SHAPE, "no version", field="version", expected=expected_form)
        with _told_to_the_caller():
            await self._library.get(version)
            await asyncio.to_thread(self._registry.promote, version, by, expected=_or_any(expected))
        return await self._switched("promoted", by)

    async def rollback(self, by: str, expected: str | None) -> bytes:
        """`expected` as in `promote`: the version that is to go. Raises Problem, Unavailable."""
        with _told_to_the_caller():
            before = await asyncio.to_thread(self._registry.pointer, "previous")
            if before is not None:  # what this process can't run is nothing to go back to
                await self._library.get(before.version)
            await asyncio.to_thread(self._registry.rollback, by, expected=_or_any(expected))
        return await self._switched("rolled_back", by)

    async def _switched(self, what: str, by: str) -> bytes:
        await self._reloader.look()
        try:
            current, previous = await asyncio.to_thread(self._pointers)
        except (ArtifactRefused, OSError) as error:
            log.warning(what, by=by, error=str(error)[:200])
            raise _not_followed(f"what is in service now can't be read: {error}") from None
        serving = self._reloader.serving
        if current is not None and serving != current.version:
            log.warning(what, by=by, version=current.version, serving=serving)
            raise _not_followed(f"this process decides with {serving or 'none'} still")
        log.info(
            what, by=by, version=current.version if current else None, before=previous.version if previous else None
        )
        return msgspec.json.encode({"current": current, "previous": previous})

    def _pointers(self) -> tuple[Pointer | None, Pointer | None]:
        return self._registry.pointer("current"), self._registry.pointer("previous")

    def _listing(self) -> dict[str, Any]:
        current, previous = self._pointers()
        trials = self._registry.trials()
        arms = {arm.model_version: arm.name for arm in trials.experiment.arms} if trials.experiment else {}
        versions = self._registry.versions()
        shown = {*versions[-LISTED:], *trials.shadow, *arms, *(each.version for each in (current, previous) if each)}
        return {
            "current": current,
            "previous": previous,
            "trials": trials,
            "registered": len(versions),
            "models": [self._described(version) for version in reversed(versions) if version in shown],
        }

    def _described(self, version: str) -> dict[str, Any]:
        try:
            manifest = self._registry.load(version).manifest
        except ArtifactRefused as error:
            return {"version": version, "refused": error.reason.value, "detail": error.detail}
        return {
            "version": version,
            "family": manifest.family,
            "trained_at": manifest.trained_at,
            "feature_set_version": manifest.feature_set_version,
            "features": len(manifest.feature_names),
            "metrics": manifest.metrics,
            "signed": manifest.signature is not None,
        }


def _or_any(expected: str | None) -> str | msgspec.UnsetType:
    return msgspec.UNSET if expected is None else expected


@contextmanager
def _told_to_the_caller() -> Iterator[None]:
    """Why the registry wasn't changed. Raises Problem, Unavailable."""
    try:
        yield
    except ArtifactRefused as error:
        raise _refused(error) from None
    except PromotionConflict as error:
        switched = error.found or "none"
        raise Problem(409, "switched", str(error), field="If-Match", expected=switched) from None
    except OSError as error:
        raise Unavailable("registry-unavailable", f"the registry can't be changed: {error}") from None


def _not_followed(why: str) -> Problem:
    """No status after which clients ask again by themselves: a second rollback puts back what was to go."""
    return Problem(409, "not-followed", f"done, but {why}")


def _refused(error: ArtifactRefused) -> Problem:
    if error.reason is ArtifactFault.MISSING:
        return Problem(404, "not-found", error.detail, field="version")
    return Problem(409, "model-refused", str(error), field="version")
