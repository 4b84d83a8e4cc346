"""What the manifests do to a container, done to a process: another user, no capability, a read-only file system.

The process gets a view of the file system of its own (a mount namespace), in which nothing can be written but what is
said; its /tmp is a small one in memory. It needs root, as an engine does.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integration.images.image import Image

USER = 10001
TMP_MEGABYTES = 64
"""What the manifests and the compose file give to a service."""

ROOM = Path("/mnt")
"""Where the container's own folders are; what else was mounted there is not seen."""
APP, PACKAGES, TMP = ROOM / "app", ROOM / "packages", ROOM / "tmp"

_SCRIPT = """
room=$1 packages=$2 app=$3 python=$4 megabytes=$5 user=$6
shift 6
mount -t tmpfs -o mode=755 tmpfs "$room"
mkdir "$room/app" "$room/packages" "$room/tmp" "$room/python"
mount --bind "$app" "$room/app"
mount --bind "$packages" "$room/packages"
while [ "$1" != -- ]; do
    mkdir -p "$room/$2"
    mount --bind "$1" "$room/$2"
    [ "$3" = rw ] || mount -o remount,bind,ro "$room/$2"
    shift 3
done
shift
# Python itself may lie in a home that is closed to others.
mount --bind "$python" "$room/python"
closed=$python
while [ "$closed" != / ]; do
    case "$(stat -c %A "$(dirname "$closed")")" in *[xt]) closed=$(dirname "$closed") ;; *) break ;; esac
done
if [ "$closed" != / ]; then
    mount -t tmpfs -o mode=755 tmpfs "$(dirname "$closed")"
    mkdir -p "$python"
    mount --bind "$room/python" "$python"
fi
# Those that can't be changed can't be written by this user either.
cut -d ' ' -f 5 /proc/self/mountinfo | grep -Ev '^/(proc|sys|dev)(/|$)' | while read -r place; do
    case "$place" in "$room"/*) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null || true ;; esac
done
for place in app packages python; do mount -o remount,bind,ro "$room/$place"; done
mount -t tmpfs -o "size=${megabytes}m,mode=1777,nosuid,nodev" tmpfs "$room/tmp"
mount -o remount,bind,ro "$room"
cd "$room/app"
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs \\
    --bounding-set=-all --inh-caps=-all --ambient-caps=-all "$@"
"""


@functools.cache
def why_not() -> str | None:
    """What of this machine stands in the way, or None."""
    tried = subprocess.run(
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            "mount -t tmpfs t /mnt; setpriv --reuid 1 true",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else tried.stderr.strip() or "mounts can't be made here"


def confined(image: Image, command: Sequence[str], mounts: Mapping[Path, tuple[Path, bool]] | None = None) -> list[str]:
    """The command as the container would run it. `mounts`: where in the container, which folder, and whether writable;
    places are below `ROOM`.
    """
    folders = [
        part
        for place, (folder, writable) in (mounts or {}).items()
        for part in (str(folder), str(place.relative_to(ROOM)), "rw" if writable else "ro")
    ]
    python = Path(sys.base_prefix).resolve()
    fixed = [ROOM, image.packages, image.app, python, TMP_MEGABYTES, USER]
    shell = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _SCRIPT, "sh"]
    return [*shell, *(str(each) for each in fixed), *folders, "--", *command]


def environment(image: Image, more: Mapping[str, str]) -> dict[str, str]:
    """The container's variables, with the places that they have inside."""
    path = image.environment({})["PATH"].replace(str(image.packages), str(PACKAGES))
    return {**more, "PATH": path, "PYTHONPATH": str(APP), "HOME": str(TMP), "TMPDIR": str(TMP)}
