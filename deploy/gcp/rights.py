"""Who may do what in Google Cloud, declared once. Pure.

A service that is not named here asks Google nothing. Roles are Google's own, the least that hold what the code does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.warehouse.tables import BNPL_RAW, DATASETS, FEATURES, ML, ML_RAW, MODEL_EVALUATIONS

ACCOUNT_PREFIX = "flit-risk-"
"""Of accounts, Google's and Kubernetes' alike: `flit-risk-sink` is the sink's in both."""

VIEWER, EDITOR = "roles/bigquery.dataViewer", "roles/bigquery.dataEditor"
JOBS = "roles/bigquery.jobUser"
"""To run a query. What it may read, the rights on datasets say."""
READ_SESSIONS = "roles/bigquery.readSessionUser"
OBJECT_USER, OBJECT_VIEWER = "roles/storage.objectUser", "roles/storage.objectViewer"


@dataclass(frozen=True, slots=True)
class Rights:
    project: Sequence[str] = ()
    datasets: Mapping[str, str] = field(default_factory=dict)
    """Dataset → role."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Dataset and table → role: given once the tables are there."""
    bucket: str | None = None
    """Role on the registry's bucket, where the registry lies in one."""


RIGHTS: Mapping[str, Rights] = {
    # Creates tables and views through the API; adds columns to a table that has rows by a query (ALTER TABLE).
    "prepare": Rights([JOBS], dict.fromkeys(DATASETS, EDITOR)),
    # Appends rows, and looks at its start whether tables and views are as declared.
    "sink": Rights([JOBS], {BNPL_RAW: EDITOR, ML_RAW: EDITOR, ML: VIEWER}),
    # Compares the log with the rows.
    "reconcile": Rights([JOBS], {BNPL_RAW: VIEWER, ML_RAW: VIEWER}),
    # Holds them against everything else, once in a while, and reads all of them.
    "ledger": Rights([JOBS, READ_SESSIONS], {BNPL_RAW: VIEWER, ML_RAW: VIEWER}),
    # Makes states anew from what retention has taken from the log.
    "features": Rights([JOBS], {BNPL_RAW: VIEWER, ML_RAW: VIEWER}),
    # Learns from views, whose tables it must be able to read; its answers lie in tables of ML for a while, and so do
    # drift and performance. Verdicts stand beside the decisions, none of which it may touch; features of the past,
    # which it makes again before each candidate's gates, beside those of the stream.
    "trainer": Rights(
        [JOBS, READ_SESSIONS],
        {BNPL_RAW: VIEWER, ML_RAW: VIEWER, ML: EDITOR},
        {MODEL_EVALUATIONS.id: EDITOR, FEATURES.id: EDITOR},
        OBJECT_USER,
    ),
    # Only reads; whatever changes something goes through REST.
    "console": Rights([JOBS], dict.fromkeys(DATASETS, VIEWER), bucket=OBJECT_VIEWER),
    # The policies that were in service, and which model is, where an administrator switches over REST.
    "scorer": Rights(bucket=OBJECT_USER),
}
