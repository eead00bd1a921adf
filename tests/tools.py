"""What tests need from the machine, and what happens when it's missing.

There is one rule: on a developer's machine a test that lacks a program is skipped,
and says how to install it; under ``CI=true`` it fails, because a run that skips
is a run that hides something.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = [
    "CACHE",
    "IN_CI",
    "ROOT",
    "missing",
    "require_node_package",
    "require_tool",
    "wait_until",
]

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the repository, or of the unpacked source distribution."""

CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "websock-tools"
)
"""Where expensive tools are kept; ``.ci/tools`` has the scripts that fill it."""

IN_CI = os.environ.get("CI") == "true"
"""Whether what is missing is a failure."""


def missing(what: str, command: str) -> NoReturn:
    """End the test, because the machine lacks something.

    Args:
        what: What is missing.
        command: What to run in order to have it.

    """
    message = f"{what} is missing; get it with: {command}"
    if IN_CI:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def require_tool(*names: str, apt: str) -> str:
    """Find a program.

    Args:
        names: Names under which the program is known; the first that is found wins.
        apt: Debian package that has it.

    Returns:
        Path of the program.

    """
    for name in names:
        if path := shutil.which(name):
            return path
    missing(" or ".join(names), f"apt-get install {apt}")


def require_node_package(name: str) -> Path:
    """Find a package of Node.js.

    Args:
        name: Name of the package, such as ``ws``.

    Returns:
        A folder for the variable ``NODE_PATH``.

    """
    modules = CACHE / "node" / "node_modules"
    if not (modules / name / "package.json").is_file():
        missing(f"the Node.js package {name}", ".ci/tools/node.sh")
    return modules


def wait_until(condition: Callable[[], bool], timeout: float = 10.0) -> bool:
    """Wait for something that has no event of its own, such as a closed descriptor.

    Args:
        condition: What to wait for.
        timeout: For how long, in seconds.

    Returns:
        Whether it came true.

    """
    deadline = time.monotonic() + timeout
    never = threading.Event()
    pause = 0.001
    while not condition():
        if time.monotonic() > deadline:
            return False
        never.wait(pause)
        pause = min(pause * 2, 0.05)
    return True
