"""Two kinds of failure.

TransientError   the same call may work in a moment: retried, with a deadline
Rejection        (shared.contracts.rejections) the input itself is wrong: never retried, dead-lettered
"""

from __future__ import annotations


class TransientError(Exception):
    """A dependency is away or slow. Nothing is known to be lost; what wasn't acknowledged has to be done again."""


class TopicMismatch(Exception):
    """A topic exists with another partition count than the settings say: customers would change partitions."""


class GaveUp(Exception):
    """Ends the process, and is meant to: the message says all there is to say. A restart, or a person, mends it."""


class BadTlsFile(GaveUp):
    """A certificate or key can't be used. The message names the setting."""
