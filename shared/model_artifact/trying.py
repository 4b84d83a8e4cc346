"""What a registry knows of models that are tried beside the one in service: now, and of those that were."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from shared.contracts.identity import canonical_time
from shared.durable import replace_synced
from shared.experiments import Candidacy, Ended, Trials
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused

Kept = TypeVar("Kept", Ended, Candidacy)
Note = TypeVar("Note", bound=msgspec.Struct)


class Trying(ABC):
    """The part of the registry that is about trials."""

    root: Path

    @abstractmethod
    def load(self, version: str) -> ModelFiles: ...

    @abstractmethod
    def _locked(self) -> AbstractContextManager[None]: ...

    @abstractmethod
    def note(self, name: str, kind: type[Note]) -> Note | None: ...

    @abstractmethod
    def _write_pointer(self, name: str, pointer: msgspec.Struct) -> None: ...

    def trials(self) -> Trials:
        """What is tried beside the model in service. Raises `ArtifactRefused` if that can't be read."""
        return self.note("trials", Trials) or Trials()

    def change_trials(
        self, change: Callable[[Trials], Trials], *, by: str = "", why: str = "", ended: Sequence[Candidacy] = ()
    ) -> Trials:
        """Replaces the trials by what `change` makes of them, one writer at a time; every version that wasn't tried
        before is verified, and those of an experiment's arms, which decide, must explain themselves. Raises
        `ArtifactRefused`, and what `change` raises: nothing has changed then.

        What is tried already was verified when it came, and is again by each scorer: a model that was damaged since
        must not keep others from being stopped. An experiment that is no longer there has ended: it is kept, with `by`
        whom and `why`. A candidacy that has ended is kept when another takes its place, and those that end with this
        very change (`ended`) at once.
        """
        with self._locked():
            before = self.trials()
            trials = change(before)
            for version in trials.shadow:
                if version not in before.shadow:
                    self.load(version)
            if trials.experiment is not None and trials.experiment != before.experiment:
                for arm in trials.experiment.arms:
                    self.load(arm.model_version).must_explain()
            if before.experiment is not None and before.experiment != trials.experiment:
                over = Ended(before.experiment, canonical_time(datetime.now(UTC)), by, why)
                self._keep(_place("experiments", over.experiment.name, over.experiment.started_at), over)
            present = {_entry(each) for each in (trials.candidacy, trials.successor) if each is not None}
            for past in (before.candidacy, before.successor):
                if past is not None and past.ended and _entry(past) not in present:
                    self._keep(_place("candidacies", *_entry(past)), past)
            for each in ended:
                self._keep(_place("candidacies", *_entry(each)), each)
            self._write_pointer("trials", trials)
            return trials

    def ended_experiments(self, name: str) -> list[Ended]:
        """Those of this name that have ended, the latest last. Raises `ArtifactRefused` if one can't be read."""
        return sorted(self._read_kept("experiments", name, Ended), key=lambda each: each.ended_at)

    def ended_candidacies(self, version: str) -> list[Candidacy]:
        """Those of this version that have ended, the latest last. Raises `ArtifactRefused` if one can't be read."""
        found = list(self._read_kept("candidacies", version, Candidacy))
        trials = self.trials()
        for last in (trials.candidacy, trials.successor):
            if last is not None and last.version == version and last.ended:
                found = [each for each in found if _entry(each) != _entry(last)] + [last]
        return sorted(found, key=lambda each: each.steps[0].at)

    def _kept(self, folder: str, name: str) -> Iterator[Path]:
        """Files of what was kept under this name."""
        for path in (self.root / folder).glob("*@*.json"):
            if path.name.partition("@")[0] == name:
                yield path

    def _keep(self, place: str, ended: Ended | Candidacy) -> None:
        path = self.root / place
        path.parent.mkdir(exist_ok=True)
        replace_synced(path, msgspec.json.encode(ended))

    def _read_kept(self, folder: str, name: str, kind: type[Kept]) -> Iterator[Kept]:
        for path in self._kept(folder, name):
            try:
                yield msgspec.json.decode(path.read_bytes(), type=kind)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ArtifactRefused(ArtifactFault.SYNTAX, f"{folder} {path.name}: {error}") from None


def _entry(candidacy: Candidacy) -> tuple[str, str]:
    """Which version, and when it came: no two are alike in both."""
    return candidacy.version, candidacy.steps[0].at


def _place(folder: str, name: str, began_at: str) -> str:
    return f"{folder}/{name}@{''.join(each for each in began_at if each.isalnum())}.json"
