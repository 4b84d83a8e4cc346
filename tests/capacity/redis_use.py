"""What Redis holds, by what it is for."""

from __future__ import annotations

from dataclasses import dataclass

import redis

CLAIM, KEY = "d:*", "i:*"
ASKED = 500
"""Of each kind: keys of one kind are much alike."""
SCANNED = 1000


@dataclass(frozen=True, slots=True)
class Use:
    """Sizes are of a key with its value, as Redis counts them, on average."""

    used_bytes: int
    """All that the server has allocated, for data and for its own upkeep."""
    customers_bytes: float
    """Of all states and accounts of the customers that were asked about."""
    claim_bytes: float
    key_bytes: float
    """Of an Idempotency-Key."""


def use(url: str, customers: str) -> Use:
    """`customers`: what their ids begin with."""
    with redis.Redis.from_url(url) as client:
        states = [_sizes(client, f"{{p*}}:{kind}:{customers}*") for kind in "cx"]
        return Use(
            used_bytes=used_bytes(url),
            customers_bytes=sum(mean * count for mean, count in states),
            claim_bytes=_sizes(client, CLAIM)[0],
            key_bytes=_sizes(client, KEY)[0],
        )


def used_bytes(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("memory")["used_memory"])


def _sizes(client: redis.Redis, pattern: str) -> tuple[float, int]:
    """Of the keys that match: their mean size, and how many there are. One that has expired meanwhile is left out."""
    keys = list(client.scan_iter(pattern, count=SCANNED))
    asked = keys[:: max(1, len(keys) // ASKED)]
    sizes = [size for key in asked if (size := client.memory_usage(key, samples=0)) is not None]
    return (sum(sizes) / len(sizes) if sizes else 0.0), len(keys)
