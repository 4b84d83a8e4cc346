"""What `enter` answers, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from services.trainer.cli import parse
from services.trainer.examples import Examples
from services.trainer.gates.examine import Examined, Examiner
from services.trainer.gates.verdict import GateVerdict
from services.trainer.ladder_commands import Climbing
from services.trainer.promotion.entry import Entered, Entry
from services.trainer.promotion.ladder import Ladder
from services.trainer.promotion.telling import Telling
from services.trainer.settings import TrainerSettings
from services.trainer.warehouse import Warehouse
from shared.experiments import Stage
from shared.model_artifact.registry import ModelRegistry
from tests.unit.scorer.parts import register
from tests.unit.trainer.synthetic import ALL_MATURE_US, synthetic_examples

PASSED = Examined("a" * 16, "b" * 16, (), None)
REFUSED = Examined("a" * 16, "b" * 16, (GateVerdict("parity", False, "far off"),), None)


class Decided(Climbing):
    """To which the gates and the ladder say what they are told to."""

    found: Entered

    def _examples(self, as_of_us: int | None) -> tuple[int, Examples]:
        return ALL_MATURE_US, synthetic_examples(10)

    def let_in(self, *_: Any, **__: Any) -> Entered:
        return self.found


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (Entered(PASSED, entered=True), 0),
        (Entered(PASSED, promoted=True), 0),
        (Entered(PASSED, why_not="another is on the ladder already"), 1),
        (Entered(REFUSED), 1),
    ],
)
def test_who_enters_nothing_ends_with_another_status(tmp_path: Path, found: Entered, status: int) -> None:
    registry = ModelRegistry(str(tmp_path / "models"))
    job = Decided(TrainerSettings(), cast(Warehouse, None), registry, lambda _: None)
    job.found = found
    assert job.enter(parse(["enter", "a" * 16]))["exit_status"] == status


def test_who_passed_and_was_not_let_in_is_in_the_log_with_the_reason(tmp_path: Path) -> None:
    registry = ModelRegistry(str(tmp_path / "models"))
    champion, candidate = (register(registry, intercept=intercept) for intercept in (-2.0, -1.0))
    registry.promote(champion, "a test")
    ladder = Ladder(registry)
    ladder.end(ladder.enter(candidate, champion, [], "a test"), Stage.WITHDRAWN, ["more declines"])

    class Passing:
        def examine(self, version: str, *_: Any) -> Examined:
            return Examined(version, champion, (), None)

    class Silent:
        def examined(self, found: Examined) -> None: ...

    entry = Entry(registry, cast(Examiner, Passing()), ladder, cast(Telling, Silent()))
    with capture_logs() as lines:
        found = entry.enter(candidate, synthetic_examples(10), ALL_MATURE_US, None)
    assert (found.entered, "more declines" in str(found.why_not)) == (False, True)
    assert [line["reason"] for line in lines if line["event"] == "not_entered"] == [found.why_not]
