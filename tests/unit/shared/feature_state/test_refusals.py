"""Of the refusals in Redis the earliest are forgotten: whether some were, is known."""

from __future__ import annotations

from typing import Any, cast

import pytest

from shared.feature_state import FeatureStateStore
from shared.feature_state import store as store_module

KEPT = 3


class SortedSet:
    """A server with one sorted set, whose members are their own scores."""

    def __init__(self, *kept: int) -> None:
        self._kept = sorted(kept)

    async def zrangebyscore(
        self, _: str, low: int | str, high: int | str, start: int = 0, num: int | None = None
    ) -> list[bytes]:
        least = float(low)
        below = float(high.removeprefix("(")) if isinstance(high, str) else high + 1
        found = [b"%d" % each for each in self._kept if least <= each < below]
        return found[start:][:num]


@pytest.mark.parametrize(
    ("kept", "low", "remembered"),
    [
        ((), 0, True),
        ((5, 6), 0, True),
        ((5, 6, 7), 6, True),  # 5 is there still, and 4 would have gone before it
        ((5, 6, 7), 5, False),  # 4 may have been one
        ((5, 6, 7), 0, False),
    ],
)
async def test_a_store_knows_whether_it_has_forgotten_refusals(
    monkeypatch: pytest.MonkeyPatch, kept: tuple[int, ...], low: int, remembered: bool
) -> None:
    monkeypatch.setattr(store_module, "KEPT_REFUSALS", KEPT)
    store = FeatureStateStore(cast(Any, SortedSet(*kept)))
    assert await store.remembers_refusals(0, low) is remembered
