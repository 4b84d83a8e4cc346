"""Yesterday's purchases into the warehouse, their quality, features, and a model that learns from what has matured.

Each task is a command of the project, run by its own interpreter (`FLIT_PYTHON`) in its own folder (`FLIT_HOME`):
Airflow's libraries and the project's never meet. Each may be run again at any time: a day that was read isn't read
again, a day that was loaded isn't loaded again, and what is there isn't made again. So a retry, a cleared task and
`airflow backfill create --dag-id flit_daily --from-date … --to-date …` all do what one hopes.
"""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

HOME = os.environ.get("FLIT_HOME", ".")
PYTHON = os.environ.get("FLIT_PYTHON", "python")
ARCHIVE = os.environ.get("FLIT_ARCHIVE", ".local/archive")
DAILY = os.environ.get("FLIT_DAILY", "1000")
"""Events a day that the source is asked for, about."""

YESTERDAY = "{{ macros.ds_add(ds, -1) }}"
FOUR_WEEKS_AGO = "{{ macros.ds_add(ds, -29) }}"
SEED = "{{ macros.ds_format(macros.ds_add(ds, -1), '%Y-%m-%d', '%Y%m%d') }}"
"""Of the day, and so of its run: the same day asked for again is the same day."""


RUNBOOK = "docs/operations/alerts.md#nightly-run"


def tell(context: dict[str, Any]) -> None:
    """Of a task that has failed for good, where the project sends its alerts."""
    task = context["task_instance"]
    title = f"{task.dag_id}: {task.task_id} failed"
    detail = [f"for {context.get('ds')}, after {task.try_number} attempts", str(context.get("exception"))[:500]]
    alert("--severity", "critical", "--key", title, "--runbook", RUNBOOK, "--", title, *detail)


def tell_over(context: dict[str, Any]) -> None:
    """That a task which had failed for good has run: says nothing of any other."""
    task = context["task_instance"]
    alert("--resolve", f"{task.dag_id}: {task.task_id} failed")


def alert(*arguments: str) -> None:
    subprocess.run([PYTHON, "-m", "shared.alerts", *arguments], cwd=HOME, check=False, timeout=60)


def command(name: str, module: str, arguments: str, *, minutes: int = 60) -> BashOperator:
    """A command of the project. `minutes`: after which it counts as hanging."""
    return BashOperator(
        task_id=name,
        bash_command=f'cd "$FLIT_HOME" && exec "$FLIT_PYTHON" -m {module} {arguments}',
        env={"FLIT_HOME": HOME, "FLIT_PYTHON": PYTHON, "METRICS__PORT": "0", "PYTHONPATH": HOME},
        append_env=True,
        execution_timeout=timedelta(minutes=minutes),
        on_failure_callback=tell,
        on_success_callback=tell_over,
    )


with DAG(
    dag_id="flit_daily",
    description=__doc__.splitlines()[0],
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # One day after the other: each training learns from all days before it.
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    tags=["flit-risk"],
    doc_md=__doc__,
) as dag:
    read = command(
        "read",
        "services.ingestor",
        f'backfill --start {YESTERDAY} --end {YESTERDAY} --daily {DAILY} --seed {SEED} --to "{ARCHIVE}"',
    )
    load = command("load", "services.sink", f'load "{ARCHIVE}"')
    features = command("features", "services.trainer", "reprocess --workers 2")
    quality = command("quality", "services.trainer", f"quality --since {FOUR_WEEKS_AGO}")
    train = command("train", "services.trainer", "train --shadow", minutes=180)
    evaluate = command("evaluate", "services.trainer", "evaluate")
    drift = command("drift", "services.trainer", "drift --days 7")

    read >> load >> features >> quality >> train >> [evaluate, drift]
