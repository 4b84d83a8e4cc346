"""Writing an object of a bucket only where it is still the one that was read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage.retry import DEFAULT_RETRY

TIMEOUT_S = (5.0, 20.0)
"""To connect, and between two parts of an answer. Of each try."""

RETRY = DEFAULT_RETRY.with_timeout(10.0)
"""Of reading, and of writing what never changes: whoever does can go on with what it has, and tries again later. A
scorer that starts must not wait for minutes."""

NEW = 0
"""Generation of an object that isn't there."""


def write_where(blob: Callable[[], Any], data: bytes, expected: int, content_type: str = "text/plain") -> int:
    """The object's new generation. `blob`: makes a handle of the object. `expected`: its generation, or NEW.

    Raises PreconditionFailed where somebody else has moved it since, and what Google's client raises. A write whose
    answer was lost is tried again by the client, and then finds the object moved, by itself: that is no conflict.
    """
    there = blob()
    try:
        there.upload_from_string(data, content_type=content_type, if_generation_match=expected, timeout=TIMEOUT_S)
    except PreconditionFailed:
        generation = _generation_of(blob(), data)
        if generation is None:
            raise
        return generation
    return int(there.generation)


def _generation_of(there: Any, data: bytes) -> int | None:
    """Of the object, if it holds this."""
    try:
        there.reload(timeout=TIMEOUT_S, retry=RETRY)
        held = there.download_as_bytes(if_generation_match=there.generation, timeout=TIMEOUT_S, retry=RETRY)
    except (NotFound, PreconditionFailed):
        return None
    return int(there.generation) if held == data else None
