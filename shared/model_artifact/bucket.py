"""A registry in a bucket of Google Cloud Storage: the same folder, kept there, with a mirror on this machine.

Models and policies, which never change, are copied into the mirror first, and verified there as ever; what is written
goes into the mirror first, and then into the bucket, a model's manifest last: who finds a manifest finds the model.
Pointers and notes are in the bucket alone. They move by compare-and-swap of their object's generation, so that a writer
who was held up can't undo what another one has done since.

`STORAGE_EMULATOR_HOST` points Google's client elsewhere.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec
from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from requests.exceptions import RequestException

from shared.durable import replace_synced
from shared.experiments import Candidacy, Ended
from shared.model_artifact.conditional import NEW, RETRY, TIMEOUT_S, write_where
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.lease import Lease
from shared.model_artifact.manifest import MANIFEST_FILE, ArtifactFault, ArtifactRefused, Manifest
from shared.model_artifact.registry import (
    ModelRegistry,
    Pointer,
    PromotionConflict,
    RegistryAway,
    Signer,
    Verifier,
    held,
)

LOCK = ".lock"
MIRROR_LOCK = ".mirror-lock"
"""Of the models in the mirror. Another one than the writers', who may have to fetch a model while they hold theirs."""
LEASE_S = 60.0
"""A lock that has not changed for so long was left by somebody who died. Longer than any writer holds it."""
LOCK_PAUSE_S = 0.2


class Kept(NamedTuple):
    """A pointer or a note in the bucket."""

    generation: int
    data: bytes | None
    """None where there is none (NEW)."""


class BucketRegistry(ModelRegistry):
    """Every method may raise RegistryAway beside what it raises over a folder."""

    def __init__(
        self, uri: str, mirror: Path, *, signer: Signer | None = None, verifier: Verifier | None = None
    ) -> None:
        """`uri`: `gs://bucket` or `gs://bucket/prefix`. `mirror`: a folder of this machine, of this registry alone."""
        super().__init__(str(mirror), signer=signer, verifier=verifier)
        name, _, prefix = uri.removeprefix("gs://").partition("/")
        with _reached():
            self._bucket = storage.Client().bucket(name)
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._seen: dict[str, Kept] = {}
        """Pointers and notes, as they were when somebody looked last: fetched again only where they have moved."""
        self._writing = threading.local()
        """Of the thread that holds the lock: `believed`, the generation of each pointer when it first looked. Others
        may look at the same pointers meanwhile, each second: what they see is not what the change rests on."""
        self._in_vain: dict[str, list[int]] = {}
        """Version → what the bucket held when it was fetched last and refused all the same."""

    def versions(self) -> list[str]:
        blobs = self._listed("models/")
        manifests = [blob for blob in blobs if PurePosixPath(blob.name).name == MANIFEST_FILE]
        return [PurePosixPath(blob.name).parent.name for blob in sorted(manifests, key=lambda each: each.time_created)]

    def load(self, version: str) -> ModelFiles:
        try:
            files = super().load(version)
        except ArtifactRefused:
            # Not here yet, or damaged here: what counts is what the bucket has. Where that was refused as well it is
            # fetched no second time: a scorer asks for what is in service each second.
            blobs = self._listed(f"models/{version}/")
            held_there = sorted(int(blob.generation) for blob in blobs)
            if self._in_vain.get(version) == held_there and (self.root / "models" / version / MANIFEST_FILE).exists():
                raise
            self._pull_model(version, blobs)
            try:
                files = super().load(version)
            except ArtifactRefused:
                self._in_vain[version] = held_there
                raise
        self._in_vain.pop(version, None)
        return files

    def register(self, manifest: Manifest, files: Mapping[str, bytes]) -> str:
        version = super().register(manifest, files)
        folder = self.root / "models" / version
        names = sorted(path.name for path in folder.iterdir())
        names.sort(key=lambda name: name == MANIFEST_FILE)
        for name in names:
            self._push(f"models/{version}/{name}", (folder / name).read_bytes())
        return version

    def keep_policy(self, name: str, content: bytes) -> None:
        super().keep_policy(name, content)
        self._push(f"policies/{name}.yaml", content)

    def kept_policy(self, name: str) -> Path:
        try:
            return super().kept_policy(name)
        except ArtifactRefused:
            if "/" not in name and self._pull(f"policies/{name}.yaml"):
                return super().kept_policy(name)
            raise

    def _put(self, aside: Path, target: Path, version: str) -> None:
        with held(self.root / MIRROR_LOCK):
            super()._put(aside, target, version)

    def _kept(self, folder: str, name: str) -> Iterator[Path]:
        for blob in self._listed(f"{folder}/{name}@"):
            self._pull(f"{folder}/{PurePosixPath(blob.name).name}")
        yield from super()._kept(folder, name)

    def _keep(self, place: str, ended: Ended | Candidacy) -> None:
        super()._keep(place, ended)
        self._push(place, (self.root / place).read_bytes())

    def _write_pointer(self, name: str, pointer: msgspec.Struct) -> None:
        """Raises PromotionConflict where somebody else has moved it since it was read under this lock."""
        believed: dict[str, int] = self._writing.believed
        if name not in believed:
            self._small(name)
        data = msgspec.json.encode(pointer)
        try:
            with _reached():
                generation = write_where(lambda: self._blob(name), data, believed[name], "application/json")
        except PreconditionFailed:
            now = self.pointer(name) if isinstance(pointer, Pointer) else None
            raise PromotionConflict("what this writer had read", now.version if now else None) from None
        believed[name], self._seen[name] = generation, Kept(generation, data)

    @contextmanager
    def alone(self, work: str) -> Iterator[None]:
        with super().alone(work):
            with _reached():
                lease = Lease.take(lambda: self._blob(f".{work}"), work)
            with lease:
                yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, of all machines. What protects the pointers is their generation: the lock only keeps
        writers from getting into each other's way."""
        with super()._locked():
            token = self._lock()
            self._writing.believed = {}
            try:
                yield
            finally:
                del self._writing.believed
                self._unlock(token)

    def _lock(self) -> int:
        """The generation of the lock that is ours now."""
        seen, since, mine = NEW, time.monotonic(), uuid.uuid4().hex.encode()
        while True:
            try:
                with _reached():
                    return write_where(lambda: self._blob(LOCK), mine, NEW)
            except PreconditionFailed:
                held = self._generation(LOCK)
            if held != seen:
                seen, since = held, time.monotonic()
            elif time.monotonic() - since > LEASE_S:
                self._unlock(held)
            time.sleep(LOCK_PAUSE_S)

    def _unlock(self, generation: int) -> None:
        try:
            with _reached():
                self._blob(LOCK).delete(if_generation_match=generation, timeout=TIMEOUT_S)
        except (NotFound, PreconditionFailed):
            pass  # its lease had ended, and somebody else took it
        except RegistryAway:
            pass  # it ends by itself; what was written stands, and whoever wrote it mustn't be told otherwise

    def _small(self, name: str) -> bytes | None:
        kept = self._look(name)
        believed: dict[str, int] | None = getattr(self._writing, "believed", None)
        if believed is not None:
            believed.setdefault(name, kept.generation)
        return kept.data

    def _look(self, name: str) -> Kept:
        while True:
            with _reached():
                blob = self._bucket.get_blob(f"{self._prefix}{name}", timeout=TIMEOUT_S, retry=RETRY)
            if blob is None:
                return Kept(NEW, None)
            generation, seen = int(blob.generation), self._seen.get(name)
            if seen is not None and seen.generation == generation:
                return seen
            try:
                with _reached():
                    data = blob.download_as_bytes(if_generation_match=generation, timeout=TIMEOUT_S, retry=RETRY)
            except (NotFound, PreconditionFailed):
                continue  # it moved between the two questions
            self._seen[name] = kept = Kept(generation, bytes(data))
            return kept

    def _listed(self, begins: str) -> list[Any]:
        with _reached():
            return list(self._bucket.list_blobs(prefix=f"{self._prefix}{begins}", timeout=TIMEOUT_S, retry=RETRY))

    def _pull_model(self, version: str, blobs: list[Any]) -> None:
        """Copy a model into the mirror as a whole, in place of a damaged copy, which goes: the mirror often lies on a
        small volume. Raises ArtifactRefused where there is none."""
        if not any(PurePosixPath(blob.name).name == MANIFEST_FILE for blob in blobs):
            raise ArtifactRefused(ArtifactFault.MISSING, f"the bucket has no model {version}")
        models = self.root / "models"
        models.mkdir(parents=True, exist_ok=True)
        aside, replaced = (Path(tempfile.mkdtemp(prefix=f".{what}-", dir=models)) for what in ("reading", "replaced"))
        try:
            for blob in blobs:
                try:
                    with _reached():
                        content = blob.download_as_bytes(timeout=TIMEOUT_S, retry=RETRY)
                except NotFound as error:  # since it was listed: somebody writes it anew, or takes it away
                    raise RegistryAway(f"{blob.name} has moved meanwhile") from error
                (aside / PurePosixPath(blob.name).name).write_bytes(content)
            aside.chmod(0o755)
            with held(self.root / MIRROR_LOCK):
                target = models / version
                if target.exists():
                    target.rename(replaced / version)
                aside.rename(target)
        finally:
            for folder in (aside, replaced):
                shutil.rmtree(folder, ignore_errors=True)

    def _pull(self, name: str) -> bool:
        """Copy an object that never changes into the mirror; whether there is one."""
        if (self.root / name).exists():
            return True
        data = self._download(name)
        if data is None:
            return False
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        replace_synced(self.root / name, data)
        return True

    def _push(self, name: str, data: bytes) -> None:
        """Write an object that never changes; one that is there with other bytes is damaged, and replaced."""
        blob = self._blob(name)
        try:
            with _reached():
                blob.upload_from_string(data, if_generation_match=NEW, timeout=TIMEOUT_S, retry=RETRY)
        except PreconditionFailed:
            if self._download(name) != data:
                with _reached():
                    blob.upload_from_string(data, timeout=TIMEOUT_S, retry=RETRY)

    def _download(self, name: str) -> bytes | None:
        try:
            with _reached():
                return bytes(self._blob(name).download_as_bytes(timeout=TIMEOUT_S, retry=RETRY))
        except NotFound:
            return None

    def _generation(self, name: str) -> int:
        with _reached():
            blob = self._bucket.get_blob(f"{self._prefix}{name}", timeout=TIMEOUT_S, retry=RETRY)
        return NEW if blob is None else int(blob.generation)

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(f"{self._prefix}{name}")


def upload(uri: str, path: Path) -> None:
    """A file of this machine as `gs://bucket/name`, in place of what is there. Raises RegistryAway."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    with _reached():
        storage.Client().bucket(bucket).blob(name).upload_from_filename(str(path), timeout=TIMEOUT_S)


@contextmanager
def _reached() -> Iterator[None]:
    """What callers act on as it is; everything else that the client raises as the one error that they know."""
    try:
        yield
    except (NotFound, PreconditionFailed):
        raise
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise RegistryAway(f"Cloud Storage: {error}") from error
