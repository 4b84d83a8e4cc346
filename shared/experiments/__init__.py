"""Models tried beside the champion: who is tried, and on whom. Pure."""

from shared.experiments.assignment import CHAMPION, Arm, Ended, Experiment, Trials, arm_of, bucket
from shared.experiments.candidacy import ENDED, FAILED, Candidacy, Stage, Step, Stricter, canary_name

__all__ = [
    "CHAMPION",
    "ENDED",
    "FAILED",
    "Arm",
    "Candidacy",
    "Ended",
    "Experiment",
    "Stage",
    "Step",
    "Stricter",
    "Trials",
    "arm_of",
    "bucket",
    "canary_name",
]
