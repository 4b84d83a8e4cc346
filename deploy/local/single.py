"""A part that is one process: what may be done to it beside its start."""

from __future__ import annotations

from abc import ABC, abstractmethod

from deploy.local.processes import ManagedProcess


class SingleProcess(ABC):
    """`start()` returns once it answers, however that is found out; all else is the process's own."""

    process: ManagedProcess

    @abstractmethod
    def start(self) -> None:
        """Raises StartFailed."""

    @property
    def running(self) -> bool:
        return self.process.running

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        self.process.kill()

    def pause(self) -> None:
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    def restart(self) -> None:
        """A clean stop, and a start on the same data and ports."""
        self.stop()
        self.start()
