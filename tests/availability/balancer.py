"""Two scorers behind one address, as a load balancer has them, for the client that we ship."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from deploy.local.services import status_of

LOOK_EVERY_S = 0.1
"""As often as a balancer asks for readiness at best."""


@dataclass
class Backend:
    """`url`: of its REST door; `operations_port`: where it says whether it is ready."""

    url: httpx.URL
    operations_port: int
    ready: bool = True


class Balancer(httpx.BaseTransport):
    """Each attempt goes to the next backend that says it is ready, or to any where none does. An attempt that fails is
    not made again here: that is the client's part."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = tuple(backends)
        self._http = httpx.HTTPTransport(limits=httpx.Limits(max_connections=None))
        self._turn = itertools.count()
        self._stop = threading.Event()
        self._looking = threading.Thread(target=self._look, name="balancer", daemon=True)
        self._looking.start()
        self.attempts = 0
        self.lost = 0
        """Attempts that ended without an answer: refused, or cut off."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        able = [backend for backend in self._backends if backend.ready] or self._backends
        turn = next(self._turn)
        self.attempts = turn + 1
        chosen = able[turn % len(able)]
        request.url = request.url.copy_with(host=chosen.url.host, port=chosen.url.port)
        request.headers["host"] = f"{chosen.url.host}:{chosen.url.port}"
        try:
            return self._http.handle_request(request)
        except httpx.TransportError:
            self.lost += 1
            raise

    def close(self) -> None:
        self._stop.set()
        self._looking.join()
        self._http.close()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            for backend in self._backends:
                backend.ready = status_of(backend.operations_port, "/ready") == 200
