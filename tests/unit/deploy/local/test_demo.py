from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from rich.console import Console

from deploy.local import demo, demo_result, observer
from deploy.local.demo import Demo
from deploy.local.demo_settings import DemoSettings
from deploy.local.demo_view import DemoView
from deploy.local.observer import Observed, Observer
from deploy.local.ownership import Ownership
from deploy.local.processes import StartFailed
from deploy.local.stack import MARKER
from shared.contracts.topics import DEAD_LETTERS, TRANSACTIONS

TIMEOUT = 30
WANTED = 3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of an earlier demo, whose result lies beside it."""
    data = tmp_path / "demo"
    data.mkdir()
    (data / MARKER).touch()
    (data / "kept").write_text("its data")
    (tmp_path / "demo.json").write_text("its result")
    monkeypatch.setenv("DEMO_DATA_DIR", str(data))
    monkeypatch.setenv("DEMO_OUT", str(tmp_path / "demo.json"))
    return data


def test_a_second_demo_is_told_of_the_first_and_touches_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_self: Demo) -> dict[str, Any]:
        raise StartFailed("the demo", "has begun")

    monkeypatch.setattr(Demo, "run", nothing)
    with (
        Ownership.take(folder),
        pytest.raises(SystemExit, match=f"already runs in {folder}, as process {os.getpid()}$"),
    ):
        demo.main()
    assert (folder / "kept").read_text() == "its data"
    assert folder.with_suffix(".json").read_text() == "its result"


def test_a_demo_that_fails_leaves_no_result_of_an_earlier_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_self: Demo) -> dict[str, Any]:
        raise StartFailed("kafka", "wasn't ready within 90 s")

    monkeypatch.setattr(Demo, "run", fails)
    with pytest.raises(SystemExit, match="demo failed: kafka wasn't ready"):
        demo.main()
    assert not folder.with_suffix(".json").exists()


@dataclass
class Ended:
    """An ingestor that has come to its end."""

    exit_code: int = 0
    running: bool = False
    log_file: Path = Path("live.log")


@dataclass
class Watched:
    """Has seen so many purchases, each decided; at the end of the topics when asked once more."""

    purchases: int
    seen: Observed = field(init=False)
    looks: int = 0

    def __post_init__(self) -> None:
        ids = {f"order-{number}": 0 for number in range(self.purchases)}
        self.seen = Observed(purchases=dict(ids), decided=dict(ids))

    def failed(self) -> None:
        return None

    async def at_end(self) -> bool:
        self.looks += 1
        return self.looks > 1


async def test_a_live_stream_of_which_a_line_was_refused_comes_to_its_end_and_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "CATCH_UP_SECONDS", 2)
    monkeypatch.setattr(demo, "metrics_of", lambda _port: {})
    settings = DemoSettings.model_validate({"events": WANTED, "DEMO_DATA_DIR": tmp_path / "demo"})
    running = Demo(settings, DemoView(Console(quiet=True)))
    monkeypatch.setattr(running, "_start", lambda *_, **__: Ended())
    monkeypatch.setattr(running, "_restart_what_ended", lambda: None)
    watched = Watched(WANTED - 1)
    await asyncio.wait_for(running._live(cast(Observer, watched), {}), TIMEOUT)
    assert watched.looks == 2, "what had not been read yet was waited for"
    result = {
        "events_ingested": len(watched.seen.purchases), "events_wanted": WANTED, "missing_decisions": 0,
        "duplicate_decisions": 0, "events_without_one_current_row": 0, "ledger_balanced": True,
    }  # fmt: skip
    assert demo_result.problems(result) == [f"{WANTED - 1} live events instead of {WANTED}"]


class PretendedConsumer:
    """Of two topics, each with five records; gives one more letter once it is let."""

    def __init__(self) -> None:
        self.ends = {TopicPartition(topic, 0): 5 for topic in (TRANSACTIONS.name, DEAD_LETTERS.name)}
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def assign(self, _partitions: object) -> None: ...
    def seek(self, _partition: TopicPartition, _offset: int) -> None: ...

    async def end_offsets(self, _partitions: object) -> Mapping[TopicPartition, int]:
        return dict(self.ends)

    async def getmany(self, **_: object) -> Mapping[TopicPartition, list[ConsumerRecord]]:
        self.asked.set()
        await self.let.wait()
        self.let.clear()
        letter = SimpleNamespace(topic=DEAD_LETTERS.name, value=b'{"reason": "range"}', offset=5)
        return {TopicPartition(DEAD_LETTERS.name, 0): [cast(ConsumerRecord, letter)]}


async def test_who_watches_is_at_the_end_once_all_that_is_there_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = PretendedConsumer()
    monkeypatch.setattr(observer, "AIOKafkaConsumer", lambda **_: consumer)
    watching = Observer({}, 1)
    await watching.start()
    try:
        await asyncio.wait_for(consumer.asked.wait(), TIMEOUT)
        consumer.asked.clear()
        assert await watching.at_end()
        consumer.ends[TopicPartition(DEAD_LETTERS.name, 0)] = 6
        assert not await watching.at_end()
        consumer.let.set()
        await asyncio.wait_for(consumer.asked.wait(), TIMEOUT)
        assert await watching.at_end()
        assert watching.seen.dead_letters == {"range": 1}
    finally:
        await watching.stop()
