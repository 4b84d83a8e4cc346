"""A server of other people's that a benchmark starts, and asks over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy.local.services import status_of


@dataclass(frozen=True)
class HttpPeer:
    """How to start it, and where it is then."""

    command: list[str]
    port: int
    ready_path: str
    environment: Mapping[str, str] | None = None
    """The whole of it; None: ours."""

    def ready(self) -> bool:
        return status_of(self.port, self.ready_path) == 200
