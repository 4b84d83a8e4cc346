"""Models tried beside the champion: who is tried, and on whom. Pure."""

from shared.experiments.assignment import CHAMPION, Arm, Ended, Experiment, Trials, arm_of, bucket

__all__ = ["CHAMPION", "Arm", "Ended", "Experiment", "Trials", "arm_of", "bucket"]
