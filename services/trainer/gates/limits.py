"""What is configured of the gates. Apart, since settings need it and no statistics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GateLimits:
    noise: float = 0.05
    """The chance that a candidate that is no better in log-loss passes for better, by luck of the hold-out alone."""
    profit_noise: float = 0.05
    """The same of profit, where a few defaults decide and more data is needed."""
    loss_spread: float = 0.75
    """What a default costs is not known to the cent: it depends on how much was paid before, and on what is recovered.
    Champion and candidate are compared by their mean profit over all losses from so much below the stated one to so
    much above it, as a share of it, but not beyond the whole amount. 0: by the profit at the stated one alone."""
    false_alarms: float = 0.05
    """The chance that calibration, stability or fairness refuses a sound candidate: each gate's, over all of its
    segments or groups together."""
    miscalibration: float = 0.3
    """In log-odds, how far defaults may lie from what was said: 0.3 is a third more. As of the guardrail."""
    impact_ratio: float = 0.8
    """Least rate of approval of a group, as a share of everybody else's: the four-fifths rule of US practice."""
    error_by_group: float = 0.10
    """How many more in a hundred of a group's good customers may be turned away, or of its defaults approved, than of
    everybody else's."""
    one_row_ms: float = 1.0
    """Of the graph alone, at p99: a checkout has 150 ms in all, and a sound model takes a twentieth of this."""
    batch_ms: float = 10.0
    """Of the graph alone, at p99, for `latency.BATCH_ROWS` rows."""
    times_champion: float = 3.0
    """Above these limits it may still take so many times what the champion takes in the same process: on a busy machine
    both are slow."""
    mismatch: float = 0.001
    """Share of decisions whose features differ from those that the history runner makes of the same moment."""
