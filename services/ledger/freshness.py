"""Were features made of states that were up to date? An `as_of` far back is recomputed without a flaw, and a service
that takes in no outcomes at all, or a checkout that knows nobody, would balance.

Told by the times of the records on the topics, within `SLACK_MS`: longer than a process is away before it is started
again, and than a topic is left alone that holds too much to refuse. What the time of an outcome says is no more than
what its producer wrote: it may have come to the topic much later. That it was there is proven only where a vector
knew it, where the broker stamped it, or where `as_of` never comes to it, while purchases go on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

SLACK_MS = 120_000

WENT_ON_MS = 5_000
"""Between the last purchase and the audit, where purchases go on. An outcome of an old time that comes in these seconds
is taken for one that nobody took in: a second audit tells."""

BROKERS_TIME = 1
"""As Kafka numbers the kinds of a record's time: when it was appended, by the broker's clock. By default it isn't."""


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


@dataclass(frozen=True)
class Began:
    """When the audit did, and what lay there by then."""

    at_ms: int
    outcomes: Mapping[int, int]
    """Partition → where its outcomes ended."""


@dataclass
class _Doubt:
    """Vectors that lack outcomes which may not have been there yet."""

    lacked: int = -1
    """With a vector that knows this one it has to stay a doubt."""
    told: list[str] = field(default_factory=list)


@dataclass
class Freshness:
    """Of all partitions. Filled as the audit reads: all outcomes, then all vectors, then what was asked over REST."""

    began: Began | None = None
    """None: with the last vector, and all outcomes lay there."""
    _outcomes: dict[int, _Line] = field(default_factory=lambda: defaultdict(_Line))
    """Partition → outcomes by when they came, if their producers' clocks are right."""
    _appended: dict[int, _Line] = field(default_factory=lambda: defaultdict(_Line))
    """Partition → those of them whose time is the broker's."""
    _purchases: dict[int, _Line] = field(default_factory=lambda: defaultdict(_Line))
    """Partition → purchases by when their vectors were sent: by then they were in the states."""
    _seen_outcomes: dict[int, _Line] = field(default_factory=lambda: defaultdict(_Line))
    """Partition → the same of outcomes."""
    _proven: list[str] = field(default_factory=list)
    _lacking: dict[tuple[int, bool], tuple[int, int]] = field(default_factory=dict)
    """Partition, and whether it is proven to have been there → the first outcome that its vectors lack, and since when.
    """
    _doubts: dict[int, _Doubt] = field(default_factory=dict)
    """Partition → what the rest of its vectors decides on."""
    _settled: list[str] = field(default_factory=list)
    """Doubts that stay some: the outcomes were known in the end."""

    def outcome(self, partition: int, offset: int, came_ms: int, kind_of_time: int = 0) -> None:
        """What came after the audit began is left out: by an old time of its own it would have been there long ago."""
        if self.began is not None and offset >= self.began.outcomes.get(partition, 0):
            return
        self._outcomes[partition].add(came_ms, offset)
        if kind_of_time == BROKERS_TIME:
            self._appended[partition].add(came_ms, offset)

    def vector(self, partition: int, event_id: str, as_of: Mapping[str, int], sent_ms: int) -> None:
        """The first of its event. A vector that lacks an old outcome is nothing yet: who publishes may write any time
        into a record. That others lack it, too, for as long, is; unless it came only then."""
        known, before_ms = as_of["outcomes"], sent_ms - SLACK_MS
        self._purchases[partition].add(sent_ms, as_of["transactions"] + 1)
        self._seen_outcomes[partition].add(sent_ms, known)
        if (doubt := self._doubts.get(partition)) is not None and known >= doubt.lacked:
            # In one line: a feed of the night would leave one for each purchase of the day before.
            self._settled.append(_in_one_line(self._doubts.pop(partition)))
        proven = max(line[partition].before(before_ms) for line in (self._appended, self._seen_outcomes))
        stated = self._outcomes[partition].before(before_ms)
        told = f"{event_id}: its vector knows outcomes up to {known}, of "
        # Each for itself: one odd vector amid a doubt of hours proves no more than any other.
        certain = self._lacked_long((partition, True), known, proven, sent_ms)
        perhaps = self._lacked_long((partition, False), known, stated, sent_ms)
        if certain is not None:
            self._proven.append(f"{told}{proven}")
        elif perhaps is not None:
            doubt = self._doubts.setdefault(partition, _Doubt())
            doubt.lacked = max(doubt.lacked, perhaps)
            doubt.told.append(f"{told}{stated}")

    def _lacked_long(self, what: tuple[int, bool], known: int, expected: int, sent_ms: int) -> int | None:
        """The outcome that this vector lacks as others have for `SLACK_MS`; None: there is none."""
        if known >= expected:
            self._lacking.pop(what, None)
            return None
        lacked, since_ms = self._lacking.get(what, (-1, sent_ms))
        if known >= lacked:  # the first, or it goes on, if slowly
            self._lacking[what] = (known + 1, sent_ms)
            return None
        return lacked if sent_ms - since_ms > SLACK_MS else None

    @property
    def stale(self) -> list[str]:
        """What was certainly minutes behind."""
        return [
            *self._proven,
            *(told for partition, doubt in self._doubts.items() if self._went_on(partition) for told in doubt.told),
        ]

    @property
    def not_checkable(self) -> list[str]:
        """What was minutes behind if the outcomes' own times are right. One line for as long as `as_of` stood still."""
        quiet = [doubt for partition, doubt in self._doubts.items() if not self._went_on(partition)]
        return [*self._settled, *map(_in_one_line, quiet)]

    def _went_on(self, partition: int) -> bool:
        """Whether purchases came until the audit began. Behind the last one outcomes may have come that no vector could
        know: a nightly feed of which the next purchase tells."""
        return self.began is None or self._purchases[partition].times[-1] >= self.began.at_ms - WENT_ON_MS

    def asked(self, partition: int, event_id: str, as_of: Mapping[str, int], came_ms: int, sent_ms: int) -> None:
        """A decision over REST. `came_ms`: when its purchase came to the topic; `sent_ms`: when that one's vector was
        sent. The purchase follows the look at the states at once, unless Kafka was away."""
        before_ms = min(came_ms, sent_ms) - SLACK_MS
        for name, line in (("transactions", self._purchases), ("outcomes", self._seen_outcomes)):
            if as_of[name] < (expected := line[partition].before(before_ms)):
                self._proven.append(f"{event_id}: decided as of {name} up to {as_of[name]}, of {expected}")


def _in_one_line(doubt: _Doubt) -> str:
    more = f", as {len(doubt.told) - 1} more do" if len(doubt.told) > 1 else ""
    return f"{doubt.told[0]} by their own times{more}; whether those were there already can't be told"
