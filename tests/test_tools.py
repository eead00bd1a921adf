"""What tests need from the machine: the scripts for it know all of it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .tools import ROOT, require_tool


def test_what_tests_need_is_in_the_list_for_debian() -> None:
    """What a test asks for with require_tool() is in the list for Debian."""
    script = (ROOT / ".ci" / "tools" / "debian.sh").read_text()
    listed = set(re.findall(r"^\S+ +(\S+)$", script.split("'")[1], re.MULTILINE))

    needed = {
        package
        for path in (ROOT / "tests").rglob("*.py")
        for package in re.findall(r"\bapt=\"([\w.+-]+)\"", path.read_text())
    }

    assert needed <= listed


def test_programs_are_skipped_here_and_failures_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one rule about what is missing."""
    package = "no-package"
    monkeypatch.setattr("tests.tools.IN_CI", False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-package"):
        require_tool("no-such-program", apt=package)

    monkeypatch.setattr("tests.tools.IN_CI", True)
    with pytest.raises(pytest.fail.Exception, match="apt-get install no-package"):
        require_tool("no-such-program", apt=package)


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (["apt.sh", "a", "b"], "sudo apt-get install --no-install-recommends a b"),
        (["docker-engine.sh", "true"], "sudo make docker-test"),
    ],
)
def test_who_isnt_root_is_told_the_command(
    command: list[str], advice: str, tmp_path: Path
) -> None:
    """What only root can have is a failure in CI, with the command that gets it."""
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "DOCKER_HOST": f"unix://{tmp_path}/none",
        "CI": "true",
    }

    done = subprocess.run(
        [ROOT / ".ci" / "tools" / command[0], *command[1:]],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
    )

    assert done.returncode == 1
    assert advice in done.stderr.splitlines()[-1]
