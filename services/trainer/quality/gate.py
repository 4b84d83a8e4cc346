"""What keeps a training from rows that are not as expected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.trainer.examples import Examples, TrainingRefused
from services.trainer.quality.checks import check
from services.trainer.quality.frames import example_frames
from services.trainer.spans import Span
from shared.alerts import Alerts, Severity

ALERT_KEY = "training-data"
RUNBOOK = "docs/operations/alerts.md#training-data"


def refuse_unlike(
    examples: Examples, as_of_us: int, folder: Path, alerts: Alerts, without: Sequence[Span] = ()
) -> None:
    """Raises TrainingRefused where the examples break an expectation, and tells people; once they don't any more, that
    too. `folder`: of the pages; `without`: times of which there are no examples on purpose."""
    checked = check(example_frames(examples, as_of_us, without), folder)
    if checked.faults:
        faults = [str(fault) for fault in checked.faults]
        alerts.send(
            "training refused: its examples are not as expected",
            faults,
            severity=Severity.CRITICAL,
            key=ALERT_KEY,
            link=checked.pages,
            runbook=RUNBOOK,
        )
        raise TrainingRefused(f"{'; '.join(faults)}; see {checked.pages}")
    alerts.resolve(ALERT_KEY)
