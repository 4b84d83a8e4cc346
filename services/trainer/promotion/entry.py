"""The way onto the ladder: through all gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from services.trainer.examples import Examples
from services.trainer.gates.examine import Examined, Examiner
from services.trainer.promotion.ladder import LADDER, Ladder, LadderRefused
from services.trainer.promotion.stricter import StricterThan, no_stricter, told
from services.trainer.promotion.telling import Telling
from shared.model_artifact.registry import ModelRegistry, PromotionConflict

log = structlog.get_logger()


@dataclass(frozen=True)
class Entered:
    """What came of it."""

    examined: Examined
    entered: bool = False
    """It answers in shadow now."""
    promoted: bool = False
    """It is in service: there was no model to try it beside."""
    why_not: str | None = None
    """Though it passed."""

    def answer(self) -> dict[str, Any]:
        """For the command line."""
        return {
            "version": self.examined.version,
            "champion": self.examined.champion,
            "passed": self.examined.passed,
            "refused_by": [each.gate for each in self.examined.refused_by],
            "gates": {each.gate: {"passed": each.passed, "figures": each.figures} for each in self.examined.verdicts},
            "entered": self.entered,
            "promoted": self.promoted,
            "why_not": self.why_not,
        }


@dataclass(frozen=True)
class Entry:
    registry: ModelRegistry
    examiner: Examiner
    ladder: Ladder
    telling: Telling
    stricter_than: StricterThan = no_stricter
    """Asked of whoever has passed."""

    def enter(
        self,
        version: str,
        examples: Examples,
        as_of_us: int,
        examples_of: Callable[[str], Examples] | None,
        *,
        by: str = LADDER,
        again: bool = False,
    ) -> Entered:
        """Examines a registered version on matured examples, and puts it in shadow where no gate refuses it; in service
        at once where there is no champion to try it beside, or none that can be read. Raises LadderRefused where it is
        in service already, and what the examiner and the registry raise."""
        if self.registry.current() == version:
            raise LadderRefused(f"{version} is in service already")
        found = self.examiner.examine(version, examples, as_of_us, examples_of)
        self.telling.examined(found)
        if not found.passed:
            return Entered(found)
        try:
            if found.champion is None or found.unreadable:
                if not again:
                    self.ladder.check_return(version)
                self.registry.promote(version, by, expected=found.champion)
                why = "the champion can't be read" if found.unreadable else "there is no champion to try it beside"
                log.info("promoted", version=version, by=by, reasons=[why])
                return Entered(found, promoted=True)
            stricter = self.stricter_than(version, found.champion)
            reasons = [*(str(each) for each in found.verdicts), told(stricter)]
            candidacy = self.ladder.enter(version, found.champion, reasons, by, again=again, stricter=stricter)
        except (LadderRefused, PromotionConflict) as refused:
            log.warning("not_entered", version=version, by=by, reason=str(refused))
            return Entered(found, why_not=str(refused))
        self.telling.moved(candidacy)
        return Entered(found, entered=True)
