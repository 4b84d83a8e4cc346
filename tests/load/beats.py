"""When a user's purchases are due. Pure: no client and no clock."""

from __future__ import annotations

BEAT_S = 1.0
"""Between two purchases of one user."""


class Beats:
    """Each a beat after the one before, whatever became of that: who was kept waiting makes up for what fell due
    meanwhile, and all of it is late. A system that stands still can't hide what it kept from being asked."""

    def __init__(self, first_s: float) -> None:
        self.due_s = first_s

    def wait_s(self, now_s: float) -> float:
        """Until the next is due; none where it is already."""
        return max(0.0, self.due_s - now_s)

    def done(self, now_s: float) -> float:
        """The one that was due is over: how long that took in s, from when it was due."""
        took_s, self.due_s = now_s - self.due_s, self.due_s + BEAT_S
        return took_s

    def missed(self, end_s: float, allowed_s: float) -> list[float]:
        """Of those that never came to their turn before the end: for how long each had been due by then. What was due
        for no longer than it may take isn't late yet."""
        waited, due_s = [], self.due_s
        while end_s - due_s > allowed_s:
            waited.append(end_s - due_s)
            due_s += BEAT_S
        return waited
