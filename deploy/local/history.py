"""The past of a system that begins: the days before today go through its topics, and a first model learns from them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.processes import ManagedProcess, StartFailed, Stopped
from deploy.local.progress import HistoryProgress
from deploy.local.services import Service, metrics_of
from services.ledger.log_reader import LogReader

DEFAULT_SEED = 20260601
FEWEST_DAYS = 90
"""84 for labels to mature, the rest to train and to hold out."""

POLL_SECONDS = 0.25
CATCH_UP_SECONDS = 180
"""How long the services may need after the last event was ingested."""
TOOL_SECONDS = 300
"""For a training or an audit: each takes a fraction of it."""
MODEL_SECONDS = 30

Until = Callable[[Callable[[], Awaitable[bool]], float, str], Awaitable[None]]
"""Waits for a condition, for so many seconds; the words say for what. Raises StartFailed once they have passed."""


class HistorySettings(BaseSettings):
    """Of the environment, by variables of the same names. Empty ones count as unset, since make exports them so."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    seed: int = Field(default=DEFAULT_SEED, ge=1)
    history_days: int = Field(default=150, le=366)
    history_daily: int = Field(default=300, ge=10)
    """Events a day, about: weekdays and holidays differ."""

    @field_validator("history_days")
    @classmethod
    def _enough_to_learn_from(cls, days: int) -> int:
        if days < FEWEST_DAYS:
            raise ValueError(f"no fewer than {FEWEST_DAYS}: labels have to mature")
        return days

    @property
    def history(self) -> tuple[date, date]:
        """First and last day: it ends yesterday, so that the live stream goes on from there."""
        last = datetime.now(UTC).date() - timedelta(days=1)
        return last - timedelta(days=self.history_days - 1), last

    @property
    def ingesting(self) -> list[str]:
        """What the ingestor is told."""
        first, last = self.history
        days = ["--start", str(first), "--end", str(last)]
        return ["history", *days, "--daily", str(self.history_daily), "--seed", str(self.seed)]


class BeginningSettings(HistorySettings):
    """As above; 0 days: no past, and no model."""

    @field_validator("history_days")
    @classmethod
    def _enough_to_learn_from(cls, days: int) -> int:
        return days and super()._enough_to_learn_from(days)


async def streamed(ingestor: ManagedProcess, progress: HistoryProgress, until: Until) -> None:
    """Return once all that this process ingests is decided, and in the warehouse. Raises StartFailed."""

    async def ingested() -> bool:
        await progress.update()
        return not ingestor.running

    await until(ingested, float("inf"), "the history")
    if ingestor.exit_code != 0:
        raise StartFailed("the history", f"ended with status {ingestor.exit_code}", ingestor.log_file)
    progress.all_ingested()

    async def done() -> bool:
        await progress.update()
        return progress.settled

    await until(done, CATCH_UP_SECONDS, "decisions and rows of the history")


def last_answer(log: Path) -> dict[str, Any]:
    """What a service's command has answered: its last line."""
    answer: dict[str, Any] = json.loads(log.read_text().strip().splitlines()[-1])
    return answer


async def in_service(version: str, scorer_port: int, until: Until) -> None:
    """Return once the scorer decides with this model. Raises StartFailed."""
    wanted = f'version="{version}"'

    async def taken_over() -> bool:
        samples = await asyncio.to_thread(metrics_of, scorer_port)
        return any(
            name.startswith("flit_model_info{") and wanted in name and value == 1 for name, value in samples.items()
        )

    await until(taken_over, MODEL_SECONDS, f"the scorer to take over model {version}")


class Beginning:
    """The past of a stack that is kept in a folder. Interrupted, it goes on where it was."""

    def __init__(self, folder: Path, settings: BeginningSettings, *, new: bool) -> None:
        self._logs = folder.absolute() / "logs"
        self._pending = folder / "history.json"
        """What the ingestor is told, for as long as it isn't done: the same each time, or days would have other events.
        Later, live purchases have come, and nothing may come before them."""
        if new and settings.history_days:
            self._pending.write_text(json.dumps(settings.ingesting))

    @property
    def needed(self) -> bool:
        return self._pending.exists()

    @property
    def arguments(self) -> list[str]:
        """What the ingestor is told, where it is needed."""
        arguments: list[str] = json.loads(self._pending.read_text())
        return arguments

    async def brought(
        self, environment: Mapping[str, str], scorer_port: int, say: Callable[[str], object], stop: threading.Event
    ) -> None:
        """`environment`: of every process. `scorer_port`: its operations port. Raises StartFailed, Stopped."""
        reader = LogReader({"bootstrap_servers": environment["KAFKA__BOOTSTRAP_SERVERS"]})
        progress = HistoryProgress(reader, expected=0)

        async def until(done: Callable[[], Awaitable[bool]], patience: float, what: str) -> None:
            deadline = time.monotonic() + patience
            while not await done():
                if stop.is_set():
                    raise Stopped
                if time.monotonic() > deadline:
                    raise StartFailed("the beginning", f"waited {patience:.0f} s for {what}; logs: {self._logs}")
                say(
                    "training a first model"
                    if progress.settled
                    else f"history: {progress.ingested:,} purchases, {progress.decided:,} decided, "
                    f"{progress.sunk:,} in the warehouse"
                )
                await asyncio.sleep(POLL_SECONDS)

        ingestor = self._process(Service("ingestor", 0, self.arguments), environment)
        trainer = self._process(Service("trainer", 0, ("train", "--promote")), environment)

        async def trained() -> bool:
            return not trainer.running

        await reader.start()
        try:
            ingestor.start()
            await streamed(ingestor, progress, until)
            trainer.start()
            await until(trained, TOOL_SECONDS, "a first model")
            if trainer.exit_code != 0:
                raise StartFailed("the first training", f"ended with status {trainer.exit_code}", trainer.log_file)
            await in_service(last_answer(trainer.log_file)["version"], scorer_port, until)
        finally:
            for process in (ingestor, trainer):
                await asyncio.to_thread(process.stop)
            await reader.close()
        self._pending.unlink()

    def _process(self, service: Service, environment: Mapping[str, str]) -> ManagedProcess:
        return ManagedProcess(
            service.name,
            service.command,
            log_file=self._logs / f"beginning-{service.name}.log",
            environment=service.full_environment(environment),
        )
