"""How far the events of a part have come: ingested, decided, in the warehouse."""

from __future__ import annotations

from rich.progress import Progress, TaskID

from services.ledger.log_reader import LogReader
from shared.contracts.topics import ALL, DECISIONS, FEATURES, OUTCOMES, TRANSACTIONS


class HistoryProgress:
    """Reads ends and committed offsets at each `update`. `expected`: events to come, about; 0 where unknown."""

    def __init__(self, reader: LogReader, expected: int) -> None:
        self._reader = reader
        self._expected = expected
        self.ingested = 0
        self.decided = 0
        self.sunk = 0
        """Decisions in the warehouse."""
        self.settled = False
        """Whether nothing is under way: every service has taken in all that there is."""
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def show(self, bars: Progress) -> None:
        self._bars = bars
        for name in ("ingested", "decided", "in the warehouse"):
            self._tasks[name] = bars.add_task(name, total=self._expected)

    def all_ingested(self) -> None:
        """From now on the number of events is known."""
        self._expected = self.ingested

    async def update(self) -> None:
        ends = {topic.name: await self._reader.ends(topic.name) for topic in ALL}
        committed = {group: await self._reader.committed(f"flit-{group}") for group in ("features", "scorer", "sink")}
        self.ingested = sum(ends[TRANSACTIONS.name].values())
        self.decided = sum(ends[DECISIONS.name].values())
        self.sunk = sum(offset for partition, offset in committed["sink"].items() if partition.topic == DECISIONS.name)
        read_by = {
            "features": (TRANSACTIONS, OUTCOMES),
            "scorer": (FEATURES,),
            "sink": ALL,
        }
        self.settled = all(
            committed[group].get(partition, 0) >= end
            for group, read in read_by.items()
            for topic in read
            for partition, end in ends[topic.name].items()
        )
        if self._bars is not None:
            for name, count in (
                ("ingested", self.ingested),
                ("decided", self.decided),
                ("in the warehouse", self.sunk),
            ):
                self._bars.update(self._tasks[name], completed=count, total=max(self._expected, count))
