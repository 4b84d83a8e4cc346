"""What Redis holds, told by what it is for, on a real server."""

from __future__ import annotations

import pytest
import redis

from shared.claim_keys import key_of
from tests.capacity.redis_use import use


def test_states_are_told_by_their_customers_and_claims_by_their_key(redis_url: str, unique: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        before = use(redis_url, unique).used_bytes
        for number in range(50):
            client.set(f"{{p{number % 4}}}:c:{unique}-{number}", b"s" * 1000)
            client.hset(f"{{p{number % 4}}}:x:{unique}-{number}", "event", "1 2 3 4")
            client.set(f"{{p0}}:c:somebody-else-{unique}-{number}", b"s" * 9000)
            client.set(key_of(f"{unique}-{number}"), b"c" * 2000, ex=3600)
        found = use(redis_url, unique)
        client.delete(*client.scan_iter(f"*{unique}*", count=1000))
    assert 50 * 1000 < found.customers_bytes < 50 * 1600
    assert 2000 < found.claim_bytes < 2600
    assert found.used_bytes - before == pytest.approx(50 * (1100 + 9100 + 2100), rel=0.3)


def test_where_nothing_is_held_nothing_is_counted(redis_url: str, unique: str) -> None:
    assert use(redis_url, unique).customers_bytes == 0.0
