"""The port for operators: `/live`, `/ready` and `/metrics`, apart from whatever the service itself serves."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

log = structlog.get_logger()

MOST_CONNECTIONS = 64
"""Open at once; a few probes and collectors need a handful. Each costs a thread and a file, and the files are the same
that the service's own connections need: without a bound whoever gets here could stop it."""

Readiness = Callable[[], str | None]
"""None: ready. Else why not, in a few words."""


class PortTaken(SystemExit):
    """Ends a service, which nobody could watch."""


class OperationsServer:
    """Serves health and metrics from a thread of its own, so that a busy event loop doesn't look dead.

    `ready` is called for each request of `/ready`; it must be quick and must not raise. Raises PortTaken.
    """

    def __init__(self, port: int, ready: Readiness, host: str = "127.0.0.1") -> None:
        handler = type("Handler", (_Handler,), {"ready": staticmethod(ready)})
        try:
            self._server = _BoundedServer((host, port), handler)
        except OSError as error:
            raise PortTaken(f"METRICS__PORT: can't listen on {host}:{port}: {error.strerror}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="operations", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def operations_of_job(port: int, ready: Readiness, host: str = "127.0.0.1") -> AbstractContextManager[object]:
    """For as long as a job takes. Where its port is taken, by the service itself or by another job, it goes on without:
    a job that nobody watches is better than none."""
    try:
        return OperationsServer(port, ready, host)
    except PortTaken as taken:
        log.warning("metrics_not_served", reason=str(taken))
        return contextlib.nullcontext()


class _BoundedServer(ThreadingHTTPServer):
    """Beyond the bound the oldest connection is closed for the newest: those that hold theirs keep no probe out."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: dict[socket.socket, None] = {}
        """In the order of their coming."""
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        oldest: socket.socket | None = None
        with self._lock:
            self._open[request] = None
            if len(self._open) > MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
        if oldest is not None:
            with contextlib.suppress(OSError):  # it has just ended by itself
                oldest.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    ready: Readiness
    protocol_version = "HTTP/1.1"
    timeout = 10  # seconds an idle or slow client may hold a thread

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/live":
            self._answer(200, b"alive\n")
        elif path == "/ready":
            reason = self.ready()
            self._answer(200, b"ready\n") if reason is None else self._answer(503, f"{reason}\n".encode())
        elif path == "/metrics":
            self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
        else:
            self._answer(404, b"not found\n")

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked has given up
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Probes come every few seconds: not worth a line each."""
