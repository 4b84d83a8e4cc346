"""Yesterday's purchases into the warehouse, their quality, features, and a model that learns from what has matured.

Each task is a command of the project, run by its own interpreter (`FLIT_PYTHON`) in its own folder (`FLIT_HOME`):
Airflow's libraries and the project's never meet. Each may be run again at any time: a day that was read isn't read
again, a day that was loaded isn't loaded again, and what is there isn't made again. So a retry, a cleared task and
`airflow backfill create --dag-id flit_daily --from-date … --to-date … --max-active-runs 1` all do what one hopes.
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
READ = os.environ.get("FLIT_READ", "true") == "true"
"""Whether days are read from the source and loaded. Where purchases come through the topics, they are there already."""
TRAIN = os.environ.get("FLIT_TRAIN", "train --shadow")
"""How it is trained. Beside the service `trainer`, which lets its own candidate climb, nothing else may promote one."""

NIGHT = "(dag_run.logical_date or dag_run.run_after) | ds"
"""Who starts a run by hand may name no date."""
YESTERDAY = f"{{{{ macros.ds_add({NIGHT}, -1) }}}}"
TODAY = f"{{{{ {NIGHT} }}}}"
FOUR_WEEKS_AGO = f"{{{{ macros.ds_add({NIGHT}, -29) }}}}"
SEED = f"{{{{ macros.ds_format(macros.ds_add({NIGHT}, -1), '%Y-%m-%d', '%Y%m%d') }}}}"
"""Of the day, and so of its run: the same day asked for again is the same day."""

OF_ONE_DAY = ("read",)
"""Tasks whose success for one day says nothing of another: a day that is missing stays missing."""

RUNBOOK = "docs/operations/alerts.md#nightly-run"
NIGHT_KEY = "flit_daily: the night's run failed"


def tell(context: dict[str, Any]) -> None:
    """Of a task that has failed for good, where the project sends its alerts."""
    task = context["task_instance"]
    detail = [f"for {night(context)}, after {task.try_number} attempts", str(context.get("exception"))[:500]]
    told(key_of(context), f"{task.dag_id}: {task.task_id} failed", *detail)


def tell_over(context: dict[str, Any]) -> None:
    """That a task which had failed for good has run: says nothing of any other."""
    alert("--resolve", key_of(context))


def tell_of_run(context: dict[str, Any]) -> None:
    """Of a night that took too long: its tasks are then skipped, and none of them is told of as failed."""
    if context.get("reason") != "task_failure":
        told(NIGHT_KEY, NIGHT_KEY, f"for {night(context)}: {context.get('reason')}")


def tell_run_over(_: dict[str, Any]) -> None:
    alert("--resolve", NIGHT_KEY)


def key_of(context: dict[str, Any]) -> str:
    task = context["task_instance"]
    of_day = f" for {night(context)}" if task.task_id in OF_ONE_DAY else ""
    return f"{task.dag_id}: {task.task_id} failed{of_day}"


def night(context: dict[str, Any]) -> str:
    run = context["dag_run"]
    return f"{run.logical_date or run.run_after:%Y-%m-%d}"


def told(key: str, title: str, *detail: str) -> None:
    alert("--severity", "critical", "--key", key, "--runbook", RUNBOOK, "--", title, *detail)


def alert(*arguments: str) -> None:
    subprocess.run([PYTHON, "-m", "shared.alerts", *arguments], cwd=HOME, check=False, timeout=60)


TOO_EARLY = 75
"""The trainer's exit status where nothing is wrong: too little has matured, there is no model yet, or another training
is under way. The task is skipped, and nobody is told."""


def command(
    name: str, module: str, arguments: str, *, minutes: int = 60, retries: int = 2, **more: Any
) -> BashOperator:
    """A command of the project. `minutes`: after which it counts as hanging. `more`: of the operator."""
    return BashOperator(
        task_id=name,
        bash_command=f'cd "$FLIT_HOME" && exec "$FLIT_PYTHON" -m {module} {arguments}',
        env={"FLIT_HOME": HOME, "FLIT_PYTHON": PYTHON, "METRICS__PORT": "0", "PYTHONPATH": HOME},
        append_env=True,
        skip_on_exit_code=TOO_EARLY,
        retries=retries,
        execution_timeout=timedelta(minutes=minutes),
        on_failure_callback=tell,
        on_success_callback=tell_over,
        **more,
    )


with DAG(
    dag_id="flit_daily",
    description=__doc__.splitlines()[0],
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # One day after the other: each training learns from all days before it.
    max_active_runs=1,
    max_active_tasks=1,  # each may take all of the memory
    dagrun_timeout=timedelta(hours=14),  # each task may take all of its time, and train all of it twice
    on_failure_callback=tell_of_run,
    on_success_callback=tell_run_over,
    default_args={"retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    tags=["flit-risk"],
    doc_md=__doc__,
) as dag:
    features = command("features", "services.trainer", "reprocess --workers 2")
    quality = command("quality", "services.trainer", f"quality --since {FOUR_WEEKS_AGO} --until {TODAY}")
    train = command("train", "services.trainer", TRAIN, minutes=180, retries=1)
    # Of the model in service, whether or not one was trained tonight.
    evaluate = command("evaluate", "services.trainer", "evaluate", trigger_rule="none_failed")
    drift = command("drift", "services.trainer", "drift --days 7")

    # A training looks at its own examples: it doesn't wait for an odd day of purchases to leave the four weeks.
    features >> [quality, train, drift]
    train >> evaluate
    if READ:
        read = command(
            "read",
            "services.ingestor",
            f'backfill --start {YESTERDAY} --end {YESTERDAY} --daily {DAILY} --seed {SEED} --to "{ARCHIVE}"',
        )
        load = command("load", "services.sink", f'load "{ARCHIVE}"')
        read >> load >> features
