"""The quick tests on every CPython that this machine has, from 3.11 on.

Looks on PATH, in a pyenv, and in the cache folder for the build without the GIL that
``.ci/tools/freethreaded.sh`` makes. Versions that a machine lacks are named; what
``make test`` can install on any machine may not be absent under CI=true.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"

IN_CI = os.environ.get("CI") == "true"
nox.options.error_on_missing_interpreters = IN_CI

# Versions that must pass where they are, and what gets each.
EXPECTED = {
    **{v: f"pyenv install {v}" for v in ("3.11", "3.12", "3.13")},
    "3.13t": ".ci/tools/freethreaded.sh",
}
# The one that ``make test`` gets by itself; Debian has no package of the others.
OURS = "3.13t"
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
OWN = "{}.{}".format(*sys.version_info) + (
    "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
)
ABSENT = {
    version: command
    for version, command in EXPECTED.items()
    if version not in {*PYTHONS, OWN}
}
if ABSENT:
    print(
        "left out:",
        ", ".join(
            f"Python {version} ({command})" for version, command in ABSENT.items()
        ),
        file=sys.stderr,
    )


@nox.session(python=sorted({*PYTHONS, *({OURS} if IN_CI else ())} - {OWN}))
def quick(session: nox.Session) -> None:
    """Run the quick tests with the C twin."""
    run(session, "require")


@nox.session
def pure(session: nox.Session) -> None:
    """Run the quick tests without the C twin, on nox's own Python.

    All tests run on it with the twin: that is the last stage of ``make test``.
    """
    run(session, "skip")


def run(session: nox.Session, speedups: str) -> None:
    """Install the package as it is in the tree, and run its quick tests."""
    project = nox.project.load_toml("pyproject.toml")
    # Where no wheel of the newest version of a package fits, one of an older version
    # does; building it would take compilers, and the luck that it compiles.
    only = "--only-binary=:all:"
    # Not by an isolated build: that asks the package index each time.
    session.install(only, *project["build-system"]["requires"])
    session.install("-e", ".", "--no-build-isolation")
    session.install(only, *nox.project.dependency_groups(project, "test"))
    environment = {"WEBSOCK_SPEEDUPS": speedups}
    if str(session.python).endswith("t"):
        # Extension modules of foreign peers must not switch the GIL on.
        environment["PYTHON_GIL"] = "0"
    session.run(
        *("python", "-m", "pytest", "-q", "-m", "quick", "-n", "2"),
        "--hypothesis-profile=quick",
        *session.posargs,
        env=environment,
    )
