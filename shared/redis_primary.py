"""Connections that notice when the Redis they lead to is the primary no longer.

After a planned switch-over the old primary goes on answering: look-ups work, every write is refused (`READONLY`), and a
connection that is kept would lead there for ever, though the address is another machine's by now.
"""

from __future__ import annotations

from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError

Client = TypeVar("Client", bound=Redis)


class _LeavesAReplica:
    """Part of a connection's class."""

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*arguments, **options)  # type: ignore[misc]
        except ReadOnlyError as error:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise RedisConnectionError(f"no primary any more: {error}") from None


def leaving_replicas(client: Client) -> Client:
    """The client, whose connections are given up, and made anew, where a write is refused by a replica: the error is
    then that of a lost connection. Before it is used."""
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_LeavesAReplica, pool.connection_class), {})
    return client
