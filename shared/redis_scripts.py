"""Scripts in Redis, called by their hash."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError


async def run_script(client: Redis, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
    """The script's answer. A Redis that doesn't know it, since it was started anew, is given its text."""
    try:
        return await client.evalsha(sha_of(script), len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.eval(script, len(keys), *keys, *arguments)


_SET_ALL = """
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[1]) end
"""
"""KEYS: keys. ARGV: time to live in milliseconds, values."""


async def set_all(client: Redis, values: Mapping[str, bytes], ttl_ms: int) -> None:
    """Set each key to its value for so long, whatever it held: MSET knows no time to live."""
    await run_script(client, _SET_ALL, list(values), [ttl_ms, *values.values()])


@functools.cache
def sha_of(script: str) -> str:
    """What Redis calls it by, once it was loaded."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
