"""The quick tests on every CPython that this machine has, from 3.11 on.

Looks on PATH, in a pyenv, and in the cache folder for the build without the GIL that
``.ci/tools/freethreaded.sh`` makes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"

FOLDERS = [
    *map(Path, os.get_exec_path()),
    *Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob(
        "versions/*/bin"
    ),
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    / "websock-tools/py313t/bin",
]
# Prints its version, then whether it could compile the C twin.
PROBE = """
import os, platform, sys, sysconfig
assert platform.python_implementation() == "CPython"
print("%d.%d" % sys.version_info[:2]
      + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""))
print(os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
"""


def interpreters() -> dict[str, Path]:
    """Find one interpreter for each version, if possible one with its headers."""
    found: dict[str, tuple[bool, Path]] = {}
    for folder in FOLDERS:
        for path in sorted(folder.glob("python3.*")):
            if not re.fullmatch(r"python3\.(1[1-9]|[2-9]\d)t?", path.name):
                continue
            # Shims of versions that aren't switched on are there, and fail.
            probe = subprocess.run([path, "-c", PROBE], capture_output=True, text=True)
            if probe.returncode != 0:
                continue
            version, headers = probe.stdout.split()
            complete = headers == "True"
            if version not in found or (complete and not found[version][0]):
                found[version] = complete, path
    return {version: path for version, (_, path) in found.items()}


PYTHONS = interpreters()
os.environ["PATH"] = os.pathsep.join(
    [*(str(path.parent) for path in PYTHONS.values()), os.environ["PATH"]]
)


@nox.session(python=sorted(PYTHONS))
def quick(session: nox.Session) -> None:
    """Run the quick tests, with the C twin; on nox's own Python without it.

    There, all tests run with it anyway: that is the last stage of ``make test``.
    """
    groups = nox.project.load_toml("pyproject.toml")
    # Where no wheel of the newest version of a package fits, one of an older version
    # does; building it would take compilers, and the luck that it compiles.
    only = "--only-binary=:all:"
    session.install("-e", ".", only, *nox.project.dependency_groups(groups, "test"))
    # Skipped is what a version of Python doesn't have.
    environment = {"CI": ""}
    if str(session.python).endswith("t"):
        # Extension modules of foreign peers must not switch the GIL on.
        environment["PYTHON_GIL"] = "0"
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment["WEBSOCK_SPEEDUPS"] = "skip" if session.python == own else "require"
    session.run(
        *("python", "-m", "pytest", "-q", "-m", "quick", "-n", "2"),
        "--hypothesis-profile=quick",
        *session.posargs,
        env=environment,
    )
