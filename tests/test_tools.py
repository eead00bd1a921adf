"""What tests need from the machine: the scripts for it know all of it."""

from __future__ import annotations

import re

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
