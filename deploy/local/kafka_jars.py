"""Apache Kafka's jars: fetched once by jgo from Maven's central repository, then taken from the cache, offline.

`kafka_jars.lock` names each jar with its SHA-256, and every start compares: a jar that was changed, in the repository
or in the cache, is never run. The list is made by `python -m deploy.local.kafka_jars`, which also resolves a new
version.
"""

from __future__ import annotations

import fcntl
import hashlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.processes import StartFailed

VERSION = "4.1.0"
COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{VERSION}",
    # Kafka logs through SLF4J. "!": without this library's own idea of other versions, or an old client comes in.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3!",
)
LOCK = Path(__file__).with_name("kafka_jars.lock")
DOWNLOADS = 8
"""At a time. The 46 jars are 57 MB in small files, so latency counts more than the line."""


@dataclass(frozen=True, slots=True)
class Jar:
    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def path(self) -> Path:
        """Where a Maven repository keeps it."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")

    def intact_in(self, repository: Path) -> bool:
        file = repository / self.path
        return file.is_file() and _sha256(file) == self.sha256


def classpath(cache_dir: Path, lock: Path = LOCK) -> str:
    """The verified jars, as Java wants them; fetches what is missing or damaged into `cache_dir`/maven.

    Raises StartFailed if one can't be fetched or isn't what the lock says.
    """
    repository = cache_dir / "maven"
    jars = read_lock(lock)
    with _alone_in(cache_dir):
        damaged = [jar for jar in jars if not jar.intact_in(repository)]
        if damaged:
            _fetch(damaged, repository)
    return ":".join(str(repository / jar.path) for jar in jars)


def read_lock(lock: Path = LOCK) -> list[Jar]:
    """Lines of `<sha256>  <group>:<artifact>:<version>`."""
    return [Jar(digest, *name.split(":")) for digest, name in map(str.split, lock.read_text().splitlines())]


def _fetch(jars: Sequence[Jar], repository: Path) -> None:
    from jgo.maven import MavenContext  # half a second to import, and only needed when something is missing

    context = MavenContext(repo_cache=repository)

    def fetch(jar: Jar) -> None:
        (repository / jar.path).unlink(missing_ok=True)  # a damaged one counts as there
        context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        try:
            list(pool.map(fetch, jars))
        except (RuntimeError, OSError) as error:  # requests' errors are OSErrors
            raise StartFailed("kafka", f"needs its jars, which couldn't be fetched: {error}") from error
    for jar in jars:
        if not jar.intact_in(repository):
            raise StartFailed("kafka", f"can't trust {jar.path.name}: its SHA-256 isn't the one in {LOCK.name}")


@contextmanager
def _alone_in(cache_dir: Path) -> Iterator[None]:
    """Several stacks may share a cache; a half-written jar of one would be a damaged jar for the other."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "maven.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _resolve(cache_dir: Path) -> list[Jar]:
    """All jars that `COORDINATES` need, with their digests as they come from the repository today."""
    from jgo.env import EnvironmentBuilder, EnvironmentSpec
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=cache_dir / "maven")
    spec = EnvironmentSpec(coordinates=list(COORDINATES))
    found = EnvironmentBuilder(context, cache_dir=cache_dir / "jgo").from_spec(spec).lockfile.dependencies
    return sorted(
        (Jar(each.sha256, each.groupId, each.artifactId, each.version) for each in found),
        key=lambda jar: (jar.group, jar.artifact),
    )


if __name__ == "__main__":
    resolved = _resolve(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(".cache"))
    LOCK.write_text("".join(f"{jar.sha256}  {jar.group}:{jar.artifact}:{jar.version}\n" for jar in resolved))
    print(f"{len(resolved)} jars in {LOCK}")
