"""Metrics of the trainer's own. It is a job, not a server: they are served on METRICS__PORT while a command runs."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

TRAINING_SECONDS = Gauge("flit_training_seconds", "How long the last training took, by its step", ["step"])
TRAINING_EXAMPLES = Gauge("flit_training_examples", "Matured examples in the last training, by part", ["part"])
PURCHASES_KNOWN = Gauge("flit_purchases_known", "Purchases by what is known of them so far", ["status"])
KNOWN_DEFAULTS = Gauge(
    "flit_known_defaults_ratio", "Share known to have defaulted at an age (Kaplan-Meier)", ["instalments", "age_days"]
)
EARLY_DEFAULTS = Gauge(
    "flit_early_defaults_ratio",
    "Share of recent purchases that missed a first payment",
    ["instalments", "age_days"],
)
EARLY_DEFAULT_EXCESS = Gauge(
    "flit_early_defaults_standard_errors",
    "By how many standard errors that share is above that of purchases with final labels",
    ["instalments", "age_days"],
)
EXPERIMENT_EVIDENCE = Gauge(
    "flit_experiment_evidence_ratio",
    "Evidence that a guardrail is broken, in logarithms, as a share of what stops the experiment",
    ["experiment", "arm", "guardrail"],
)
EXPERIMENTS_STOPPED = Counter(
    "flit_experiments_stopped_total", "Experiments stopped by their guardrails", ["guardrail"]
)
GUARD_LOOKS = Counter("flit_guard_looks_total", "Looks at the experiment that runs", ["result"])
PROMOTIONS = Counter("flit_promotions_total", "Trained models, by whether they went into service", ["result"])
ROUNDS = Counter("flit_watch_rounds_total", "Rounds of the loop that looks after the models", ["result"])
TRIGGERED = Counter("flit_trainings_total", "Trainings that the loop has begun", ["trigger", "result"])
CANDIDATES_REFUSED = Counter("flit_candidates_refused_total", "Candidates refused, by the gate that did", ["gate"])
LADDER_STEPS = Counter("flit_ladder_steps_total", "Steps of candidates, by the stage that they led to", ["stage"])
