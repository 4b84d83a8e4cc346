"""Files out of variables, for a platform that gives a container variables and no files.

    python -m shared.variable_files services.scorer [ARGUMENT …]

The text of each variable `<NAME>_CONTENT` comes into a file that only this user can read, `<NAME>` becomes its path,
and then the module runs in place of this process. An empty one is as good as none.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from shared.settings import EXIT_BAD_SETTING

SUFFIX = "_CONTENT"


def put(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write the files into a folder that is this user's alone, and give the environment that names them in place of
    their contents."""
    given = {name: value for name, value in environment.items() if not name.endswith(SUFFIX)}
    for name, content in environment.items():
        if name.endswith(SUFFIX) and content:
            path = folder / name.removesuffix(SUFFIX)
            path.write_text(content if content.endswith("\n") else f"{content}\n")
            given[path.name] = str(path)
    return given


def main() -> None:
    if len(sys.argv) < 2:
        print("usage: python -m shared.variable_files MODULE [ARGUMENT …]", file=sys.stderr)  # noqa: T201
        raise SystemExit(EXIT_BAD_SETTING)
    # mkdtemp lets nobody else in, so the files' own modes don't matter.
    environment = put(os.environ, Path(tempfile.mkdtemp(prefix="flit-")))
    os.execve(sys.executable, [sys.executable, "-m", *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
