"""Which ports the embedded parts listen on. Always on the loopback address."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.port_holder import holder_of
from deploy.local.processes import StartFailed
from shared.settings import BigQuerySettings, KafkaSettings, RedisSettings, ServiceSettings, load_settings

LOOPBACK = "127.0.0.1"
FREE_RANGE = range(20_000, 32_000)
"""Below the ports that Linux and macOS give to outgoing connections (32768 and 49152 upwards): one of those may be
taken between our look and a part's bind, or while a part restarts."""
SLICE_PORTS = 400
"""Of one process. Several systems start at the same time, and between our look and a part's bind, or while a part
restarts, another process would find its port free: so no two processes look in the same slice."""


class PortTaken(StartFailed):
    """A port that was asked for is in use. Names it, who holds it and how to stop that, and the setting that moves the
    port, where one does."""

    def __init__(self, name: str, port: int, setting: str | None = None) -> None:
        self.port = port
        self.setting = setting
        way_out = "" if setting is None else f", or set {setting} to another port"
        super().__init__(name, f"can't listen: port {port} is in use by {holder_of(port)}{way_out}")


class _Addresses(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    bigquery: BigQuerySettings = BigQuerySettings()


@dataclass(frozen=True, slots=True)
class Ports:
    """0: any free port."""

    kafka: int = 0
    valkey: int = 0
    bigquery_rest: int = 0
    bigquery_grpc: int = 0
    kafka_controller: int = 0
    """Kafka's own, for its metadata quorum; nothing else connects to it."""

    @classmethod
    def of_environment(cls) -> Ports:
        """Where services with this process's variables will look for the parts: the defaults, where none is set.

        Raises StartFailed as below. On a bad setting: one line that names it, and the process's end.
        """
        settings = load_settings(_Addresses)
        return cls.of_settings(settings.kafka, settings.redis, settings.bigquery)

    @classmethod
    def of_settings(cls, kafka: KafkaSettings, redis: RedisSettings, bigquery: BigQuerySettings) -> Ports:
        """Where services with these settings will look for the parts.

        Raises StartFailed where a setting points elsewhere than to this machine: an embedded part can't be there.
        """
        return cls(
            kafka=_loopback_port("kafka", "KAFKA__BOOTSTRAP_SERVERS", f"//{kafka.bootstrap_servers}"),
            valkey=_loopback_port("valkey", "REDIS__URL", redis.url),
            bigquery_rest=_loopback_port("bigquery", "BIGQUERY__REST_ENDPOINT", bigquery.rest_endpoint),
            bigquery_grpc=_loopback_port("bigquery", "BIGQUERY__GRPC_ENDPOINT", f"//{bigquery.grpc_endpoint}"),
        )

    def settle(self) -> Ports:
        """The same with every 0 replaced by a free port. Raises PortTaken for a fixed one that is in use."""
        for name, port in self._each():
            if port and not is_free(port):
                raise PortTaken(name.split("_")[0], port, SETTING_OF[name])
        wanted = [name for name, port in self._each() if not port]
        fixed = {port for _, port in self._each()}
        return replace(self, **dict(zip(wanted, free_ports(len(wanted), fixed), strict=True)))

    def _each(self) -> Iterator[tuple[str, int]]:
        return ((field.name, getattr(self, field.name)) for field in fields(self))


SETTING_OF = {
    "kafka": "KAFKA__BOOTSTRAP_SERVERS",
    "kafka_controller": "Ports.kafka_controller",
    "valkey": "REDIS__URL",
    "bigquery_rest": "BIGQUERY__REST_ENDPOINT",
    "bigquery_grpc": "BIGQUERY__GRPC_ENDPOINT",
}
"""What a person changes to move a part to another port."""


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As the parts do: a port whose last connections linger in TIME_WAIT is free for a server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def check_free(ports: Mapping[str, Collection[int]]) -> None:
    """Raises PortTaken for the first that is in use, in the name of whom it is for."""
    for name, numbers in ports.items():
        for port in numbers:
            if not is_free(port):
                raise PortTaken(name, port)


def is_listening(port: int) -> bool:
    """Whether a server accepts connections there."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(count: int, but: set[int] | frozenset[int] = frozenset()) -> list[int]:
    """Distinct free ports of this process's slice of `FREE_RANGE`, none of `but`; the ones that were given longest ago
    come last. Raises RuntimeError if there aren't that many."""
    found: list[int] = []
    with ExitStack() as held:
        for _ in range(SLICE_PORTS):
            if len(found) == count:
                break
            port = _OURS.next()
            probe = held.enter_context(socket.socket())
            try:
                probe.bind((LOOPBACK, port))
                probe.listen()
            except OSError:
                continue
            if port not in but:
                found.append(port)
    if len(found) < count:
        raise RuntimeError(f"no {count} free ports between {FREE_RANGE.start} and {FREE_RANGE.stop}")
    return found


class _Slice:
    """The ports that no other process hands out: those of a file that it has locked, for as long as it lives."""

    def __init__(self) -> None:
        self._ports: deque[int] = deque()
        self._lock: int | None = None

    def next(self) -> int:
        if not self._ports:
            ports = list(self._take())
            random.shuffle(ports)
            self._ports.extend(ports)
        self._ports.rotate(-1)
        return self._ports[-1]

    def _take(self) -> range:
        slices = [FREE_RANGE[start : start + SLICE_PORTS] for start in range(0, len(FREE_RANGE), SLICE_PORTS)]
        folder = Path(tempfile.gettempdir()) / f"flit-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for mine in random.sample(slices, len(slices)):
            lock = os.open(folder / str(mine.start), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            self._lock = lock
            return mine
        return FREE_RANGE  # more processes than slices


_OURS = _Slice()


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


def _loopback_port(part: str, setting: str, address: str) -> int:
    url = urlsplit(address)
    try:
        port = url.port
    except ValueError:  # several brokers, say
        port = None
    if url.hostname not in (LOOPBACK, "localhost") or not port:
        raise StartFailed(
            part, f"can only run on {LOOPBACK} with a port, and {setting} is {address.removeprefix('//')!r}"
        )
    return port
