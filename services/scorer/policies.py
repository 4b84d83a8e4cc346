"""The policy in service: read anew when its file changes, and kept for whoever has to explain a decision later."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import structlog

from services.scorer.metrics import POLICIES_UNKEPT, POLICY_INFO, POLICY_REFUSED
from shared.model_artifact.registry import ModelRegistry
from shared.policy import Policy, PolicyFileError, load_policy
from shared.telemetry.process import sleep_unless

log = structlog.get_logger()


class PolicySlot:
    """Holds the policy in service. Reading it is one attribute access: a batch is decided by one policy throughout."""

    def __init__(self, policy: Policy) -> None:
        self.current = policy


class PolicyReloader:
    """Looks at the policy file every so often and swaps the policy in the slot.

    Guarantee: the slot only ever holds a policy that was checked whole. A file that isn't sound is refused, logged once
    and counted at each look; the last good one stays. Every policy in service lies in the registry under its name, as
    the file's own bytes, comments included; a registry that can't be written doesn't hold up a policy, and gets it
    later: without it its decisions could be neither replayed nor, where it explored, learnt from.
    """

    def __init__(
        self, path: Path, slot: PolicySlot, registry: ModelRegistry, *, interval_s: float, pseudonyms: bool = False
    ) -> None:
        """`pseudonyms`: as in `load_policy`."""
        self._path = path
        self._pseudonyms = pseudonyms
        self._slot = slot
        self._registry = registry
        self._interval_s = interval_s
        self._seen = b""
        """Hash of the file that was read last."""
        self._told = ""
        """The fault that was logged last."""
        self._unkept: dict[str, bytes] = {}
        """Policies that are or were in service, by name, and that the registry hasn't taken yet."""
        self._late: set[str] = set()
        """Those of them that it couldn't take."""
        POLICY_INFO.labels(slot.current.name).set(1)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        while not stop.is_set():
            await asyncio.to_thread(self.look)
            await sleep_unless(stop, self._interval_s)

    def look(self) -> bool:
        """Whether another policy was put in service."""
        switched = self._take_over()
        # Afterwards, and no other once one has failed: a registry that takes its time to be away must not hold up who
        # wants everything declined.
        for name in list(self._unkept):
            if not self._keep(name):
                self._unkept[name] = self._unkept.pop(name)  # the others have their turns first
                break
        POLICIES_UNKEPT.set(len(self._unkept))
        return switched

    def _take_over(self) -> bool:
        try:
            content = self._path.read_bytes()
            if hashlib.sha256(content).digest() == self._seen:
                return False
            policy = load_policy(self._path, pseudonyms=self._pseudonyms)
            if self._path.read_bytes() != content:
                return False  # it is being written: at the next look
        except (OSError, PolicyFileError) as error:
            self._refused(str(error))
            return False
        self._seen, self._told = hashlib.sha256(content).digest(), ""
        self._unkept[policy.name] = content
        before = self._slot.current
        if policy.name == before.name:
            return False
        self._slot.current = policy
        POLICY_INFO.remove(before.name)
        POLICY_INFO.labels(policy.name).set(1)
        log.info("policy_in_service", policy=policy.name, before=before.name)
        return True

    def _keep(self, name: str) -> bool:
        try:
            self._registry.keep_policy(name, self._unkept[name])
        except OSError as error:
            if name not in self._late:
                self._late.add(name)
                log.warning("policy_not_kept", policy=name, error=str(error))
            return False
        del self._unkept[name]
        if name in self._late:
            self._late.remove(name)
            log.info("policy_kept_at_last", policy=name)
        return True

    def _refused(self, detail: str) -> None:
        POLICY_REFUSED.inc()
        if detail != self._told:
            self._told = detail
            log.error("policy_refused", detail=detail, serving=self._slot.current.name)
