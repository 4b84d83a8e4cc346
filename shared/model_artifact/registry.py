"""The folder of models, and the two pointers that say which of them is in service.

    <root>/models/<version>/{model.onnx, explanation.json, card.json, manifest.json}
                                           without explanation.json: for the shadow alone
    <root>/current, <root>/previous        {"version", "promoted_at", "by"}; previous: also "withdrawn", "displaced"
    <root>/policies/<name>.yaml            every policy that was in service
    <root>/trials                          models in shadow, the experiment that runs, and who is on the ladder
                                           (shared.experiments.Trials)
    <root>/experiments/<name>@<start>.json every experiment that has ended (shared.experiments.Ended)
    <root>/lifecycle                       what the loop that looks after the models remembers
    <root>/candidacies/<version>@<entry>.json every candidacy that has ended (shared.experiments.Candidacy)

A model is written into a folder aside, synced, and renamed to its version: a reader sees all of it or nothing. What is
there is never changed. The pointers move by compare-and-swap under a lock that the kernel takes back when its holder
dies, and each by an atomic rename.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from shared.contracts.identity import canonical_time
from shared.durable import replace_synced, sync_folder, write_synced
from shared.experiments import Trials
from shared.model_artifact.alone import alone
from shared.model_artifact.files import FILES, ModelFiles, complete, read_verified
from shared.model_artifact.manifest import (
    MANIFEST_FILE,
    VERSION_HEX_DIGITS,
    ArtifactFault,
    ArtifactRefused,
    Manifest,
    sealed,
    sha256_hex,
)
from shared.model_artifact.trying import Note, Trying

_VERSION = re.compile(rf"[0-9a-f]{{{VERSION_HEX_DIGITS}}}")
_POLICY = re.compile(r"[A-Za-z0-9._-]+")


AnyPointer = TypeVar("AnyPointer", bound="Pointer")


class RegistryUnsupported(ValueError):
    """A registry address that this build can't serve."""


class RegistryAway(OSError):
    """A registry that isn't on this machine doesn't answer, or refuses us."""


class PromotionConflict(Exception):
    """`current` was not what the caller believed: somebody else moved it first. Look again, then decide again."""

    def __init__(self, expected: str | None, found: str | None) -> None:
        super().__init__(f"expected the current model to be {expected}, found {found}")
        self.expected = expected
        self.found = found


class Pointer(msgspec.Struct, frozen=True, omit_defaults=True):
    version: str
    promoted_at: str
    by: str
    withdrawn: bool = False
    """Of `previous`: taken out by a rollback, a person's or the ladder's. One may return to it by another, and nothing
    else may ask it."""


class _Previous(Pointer, frozen=True, omit_defaults=True):
    """As it is kept. Read as a `Pointer`."""

    displaced: Pointer | None = None
    """What it took the place of. As long as `previous` is the very pointer that is in service, a promotion was cut off
    between the two, and this is what was before."""

    def seen(self, now: Pointer | None) -> Pointer | None:
        plain = Pointer(self.version, self.promoted_at, self.by, self.withdrawn)
        # While it is in service it isn't withdrawn yet, whatever is to come of it.
        in_service = msgspec.structs.replace(plain, withdrawn=False) == now
        return self.displaced if self.displaced is not None and in_service else plain


class Signer(Protocol):
    def sign(self, manifest: Manifest) -> Manifest: ...


class Verifier(Protocol):
    def check(self, manifest: Manifest) -> None:
        """Raises `ArtifactRefused`."""


class ModelRegistry(Trying):
    def __init__(self, uri: str, *, signer: Signer | None = None, verifier: Verifier | None = None) -> None:
        """`uri`: a folder, made on the first write. Raises `RegistryUnsupported` for other schemes.

        `signer`: signs what is registered here. `verifier`: refuses every model that it doesn't take; without one,
        signatures aren't looked at.
        """
        self._signer = signer
        self._verifier = verifier
        scheme, separator, rest = uri.partition("://")
        if separator and scheme != "file":
            raise RegistryUnsupported(f"{scheme}:// registries are not supported; name a folder or gs://bucket/prefix")
        self.root = Path(rest if separator else uri)

    def versions(self) -> list[str]:
        """All registered versions, oldest first by when they were written here."""
        models = self.root / "models"
        if not models.is_dir():
            return []
        found = [entry for entry in models.iterdir() if _VERSION.fullmatch(entry.name) and entry.is_dir()]
        return [entry.name for entry in sorted(found, key=lambda entry: (entry.stat().st_mtime_ns, entry.name))]

    def current(self) -> str | None:
        """The version in service, or None. Raises `ArtifactRefused` if the pointer can't be read."""
        pointer = self.pointer("current")
        return pointer.version if pointer else None

    def previous(self) -> str | None:
        pointer = self.pointer("previous")
        return pointer.version if pointer else None

    def pointer(self, name: str) -> Pointer | None:
        """`current` or `previous`. Raises `ArtifactRefused` if it can't be read."""
        if name != "previous":
            return self._pointer(name, Pointer)
        try:
            now = self._pointer("current", Pointer)
        except ArtifactRefused:
            now = None
        return self._before(now)

    def _before(self, now: Pointer | None) -> Pointer | None:
        """`previous`, for who has read `current`: within a change that is read once."""
        found = self._pointer("previous", _Previous)
        return None if found is None else found.seen(now)

    def _pointer(self, name: str, kind: type[AnyPointer]) -> AnyPointer | None:
        data = self._small(name)
        if data is None:
            return None
        try:
            pointer = msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactRefused(ArtifactFault.SYNTAX, f"pointer {name}: {error}") from None
        _check_version(pointer.version)
        return pointer

    def _small(self, name: str) -> bytes | None:
        """A pointer or a note, as it is kept."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def load(self, version: str) -> ModelFiles:
        """The model, verified against its manifest and its name. Raises `ArtifactRefused`; never a half-read model."""
        return self._read_verified(self.root / "models" / _check_version(version), version)

    def register(self, manifest: Manifest, files: Mapping[str, bytes]) -> str:
        """Stores a model and returns its version, which follows from its content.

        `files`: bytes for each of `FILES`, and of `OPTIONAL_FILES` what there is; without an explanation it may answer
        in shadow, and never decide.
        `manifest.files` and `manifest.version` are filled in here. Registering the same content again changes nothing;
        a damaged folder under that version is set aside and replaced.
        """
        if not complete(files):
            raise ValueError(f"a model has the files {sorted(FILES)}, and some that it may have, got {sorted(files)}")
        hashes = {name: sha256_hex(files[name]) for name in sorted(files)}
        final = sealed(msgspec.structs.replace(manifest, files=hashes, signature=None))
        if self._signer is not None:
            final = self._signer.sign(final)
        models = self.root / "models"
        models.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".writing-", dir=models))
        try:
            for name, data in files.items():
                write_synced(aside / name, data)
            encoded = msgspec.json.format(msgspec.json.encode(final), indent=2)
            write_synced(aside / MANIFEST_FILE, encoded)
            sync_folder(aside)
            aside.chmod(0o755)
            self._read_verified(aside, final.version)
            with self._locked():
                self._put(aside, models / final.version, final.version)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return final.version

    def _put(self, aside: Path, target: Path, version: str) -> None:
        if target.exists():
            try:
                self._read_verified(target, version)
                return
            except ArtifactRefused:
                # Kept for whoever asks what happened to it; the dot hides it from `versions`.
                target.rename(target.parent / f".damaged-{version}-{os.urandom(4).hex()}")
        aside.rename(target)
        sync_folder(target.parent)

    def promote(
        self,
        version: str,
        by: str,
        *,
        expected: Pointer | str | msgspec.UnsetType | None = msgspec.UNSET,
        given: Callable[[Trials], bool] | None = None,
        withdrawing: bool = False,
    ) -> None:
        """Points `current` at a verified version, and `previous` at what was current.

        `expected`: what the caller believes to be current (None: nothing; a pointer: not even moved away and back
        since). If it isn't: `PromotionConflict`, nothing moved. Left out, whatever is current is replaced. `given`:
        what has to hold of the trials at the moment of the switch, else the same. `withdrawing`: what was current goes
        since it does harm, as by a rollback, and nobody may fall back to it. Promoting the current version changes
        nothing. Raises `ArtifactRefused` for a model that doesn't verify, or that can't explain what it decides.
        """
        self.load(version).must_explain()
        with self._locked():
            now = self.pointer("current")
            found = now.version if now else None
            _must_be(expected, now)
            if given is not None and not given(self.trials()):
                raise PromotionConflict(f"{found}, to be replaced by {version}", f"{found}, which is to stay")
            if found == version:
                return
            # This order: after a crash in between, `previous` names the model in service, never one that was not, and
            # with it what was before.
            if now is not None:
                try:
                    before = self._before(now)
                except ArtifactRefused:  # it is about to be written anew
                    before = None
                gone = _Previous(now.version, now.promoted_at, now.by, withdrawn=withdrawing, displaced=before)
                self._write_pointer("previous", gone)
            self._write_pointer("current", Pointer(version, _now(), by))

    def rollback(self, by: str, *, expected: str | msgspec.UnsetType = msgspec.UNSET) -> str:
        """Puts the previous model back in service and returns its version; the two change places.

        `expected`: the version that is to be taken out. If another one is in service, somebody was sooner, and going
        back once more would put back the very model that was to go: `PromotionConflict`, nothing moved. Raises
        `ArtifactRefused` if there is none before, or if it no longer verifies.
        """
        with self._locked():
            now = self.pointer("current")
            before = self._before(now)
            _must_be(expected, now)
            if before is None or (now is not None and now.version == before.version):
                raise ArtifactRefused(ArtifactFault.MISSING, "there is no previous model to return to")
            self.load(before.version).must_explain()
            self._write_pointer("current", Pointer(before.version, _now(), by))
            if now is not None:
                self._write_pointer("previous", msgspec.structs.replace(now, withdrawn=True))
            return before.version

    def keep_policy(self, name: str, content: bytes) -> None:
        """Keeps the file of a policy under its name, which follows from its values: what is there stays. OSError."""
        kept = self.root / "policies" / f"{name}.yaml"
        if kept.exists():
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_synced(kept, content)

    def kept_policy(self, name: str) -> Path:
        """The file of a policy that was in service. Raises `ArtifactRefused` where it isn't kept."""
        kept = self.root / "policies" / f"{name}.yaml"
        # A name comes out of records: it leads nowhere but into this folder.
        if not _POLICY.fullmatch(name) or not kept.is_file():
            raise ArtifactRefused(ArtifactFault.MISSING, f"no policy {name} is kept")
        return kept

    def note(self, name: str, kind: type[Note]) -> Note | None:
        """What was kept under a name last. Raises `ArtifactRefused` if it can't be read."""
        data = self._small(name)
        try:
            return None if data is None else msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactRefused(ArtifactFault.SYNTAX, f"{name}: {error}") from None

    def keep_note(self, name: str, note: msgspec.Struct) -> None:
        """Keeps it, in place of what was kept; whole or not at all."""
        with self._locked():
            self._write_pointer(name, note)

    @contextmanager
    def alone(self, work: str) -> Iterator[None]:
        """While it lasts, no other process is at this work with this registry. Raises `Busy` where one is."""
        with alone(self.root / f".{work}", work):
            yield

    def _read_verified(self, folder: Path, version: str) -> ModelFiles:
        try:
            files = read_verified(folder, version)
        except OSError as error:  # a disk's hiccup is no damage to the model: who judges by it must not hold it for one
            raise RegistryAway(f"{version} can't be read: {error}") from error
        if self._verifier is not None:
            self._verifier.check(files.manifest)
        return files

    def _write_pointer(self, name: str, pointer: msgspec.Struct) -> None:
        replace_synced(self.root / name, msgspec.json.encode(pointer))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time."""
        with held(self.root / ".lock"):
            yield


@contextmanager
def held(path: Path) -> Iterator[None]:
    """A lock between processes. A file lock rather than a lock file: it can't outlive a killed holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _must_be(expected: Pointer | str | msgspec.UnsetType | None, now: Pointer | None) -> None:
    """Raises PromotionConflict where something else is in service."""
    found = now.version if now else None
    if isinstance(expected, Pointer):
        if now != expected:
            raise PromotionConflict(expected.version, found)
    elif not isinstance(expected, msgspec.UnsetType) and found != expected:
        raise PromotionConflict(expected, found)


def _check_version(version: str) -> str:
    if not _VERSION.fullmatch(version):
        raise ArtifactRefused(ArtifactFault.VERSION, f"{version!r} is no version: {VERSION_HEX_DIGITS} hex digits")
    return version


def _now() -> str:
    return canonical_time(datetime.now(UTC))
