"""Were features made of states that were up to date? An `as_of` far back is recomputed without a flaw, and a service
that takes in no outcomes at all, or a checkout that knows nobody, would balance.

Told by the times of the records on the topics, within `SLACK_MS`: longer than a process is away before it is started
again, and than a topic is left alone that holds too much to refuse.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

SLACK_MS = 120_000


@dataclass
class _Line:
    """Offsets that something had come to, in the order of their times."""

    times: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def add(self, time_ms: int, offset: int) -> None:
        """Times and offsets never go back here, whatever clocks do: an earlier time would ask for more than is known to
        have been there."""
        self.times.append(max(time_ms, self.times[-1] if self.times else time_ms))
        self.offsets.append(max(offset, self.offsets[-1] if self.offsets else offset))

    def before(self, time_ms: int) -> int:
        """The offset by then; -1: none."""
        found = bisect_left(self.times, time_ms)
        return self.offsets[found - 1] if found else -1


@dataclass
class Freshness:
    """Of all partitions. Filled in the order of the log."""

    _outcomes: dict[int, _Line] = field(default_factory=lambda: defaultdict(_Line))
    """Partition → outcomes by when they came."""
    _purchases: dict[int, _Line] = field(default_factory=lambda: defaultdict(_Line))
    """Partition → purchases by when their vectors were sent: by then they were in the states."""
    _seen_outcomes: dict[int, _Line] = field(default_factory=lambda: defaultdict(_Line))
    """Partition → the same of outcomes."""
    stale: list[str] = field(default_factory=list)
    _lacking: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition → the first outcome that its vectors lack, and since when."""

    def outcome(self, partition: int, offset: int, came_ms: int) -> None:
        self._outcomes[partition].add(came_ms, offset)

    def vector(self, partition: int, event_id: str, as_of: Mapping[str, int], sent_ms: int) -> None:
        """The first of its event. A vector that lacks an old outcome is nothing yet: who publishes may write any time
        into a record. That others lack it, too, for as long, is."""
        self._purchases[partition].add(sent_ms, as_of["transactions"] + 1)
        self._seen_outcomes[partition].add(sent_ms, as_of["outcomes"])
        expected = self._outcomes[partition].before(sent_ms - SLACK_MS)
        if as_of["outcomes"] >= expected:
            self._lacking.pop(partition, None)
            return
        lacked, since_ms = self._lacking.get(partition, (-1, sent_ms))
        if as_of["outcomes"] >= lacked:  # the first, or it goes on, if slowly
            self._lacking[partition] = (as_of["outcomes"] + 1, sent_ms)
        elif sent_ms - since_ms > SLACK_MS:
            self.stale.append(f"{event_id}: its vector knows outcomes up to {as_of['outcomes']}, of {expected}")

    def asked(self, partition: int, event_id: str, as_of: Mapping[str, int], came_ms: int, sent_ms: int) -> None:
        """A decision over REST. `came_ms`: when its purchase came to the topic; `sent_ms`: when that one's vector was
        sent. The purchase follows the look at the states at once, unless Kafka was away."""
        before_ms = min(came_ms, sent_ms) - SLACK_MS
        for name, line in (("transactions", self._purchases), ("outcomes", self._seen_outcomes)):
            if as_of[name] < (expected := line[partition].before(before_ms)):
                self.stale.append(f"{event_id}: decided as of {name} up to {as_of[name]}, of {expected}")
