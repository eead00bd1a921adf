"""The documentation as a whole: every program in it is tried, every command is one.

The programs themselves are tried by the tests of the folder ``docs``.
"""

from __future__ import annotations

import ast
import re
import subprocess
from typing import Final

import pytest

from .docs.pages import PAGES, README, commands
from .docs.program import DEADLINE, DOCS, HOWTO, TUTORIAL
from .tools import ROOT

DIRECTIVE: Final = re.compile(
    r"^ *\.\. (literalinclude|code-block):: *(\S+)$", re.MULTILINE
)


def tried() -> set[str]:
    """Programs that a test notes by the decorator ``tries``."""
    return {
        argument.value
        for path in (ROOT / "tests" / "docs").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "tries"
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def test_every_program_is_tried() -> None:
    """A program that a page shows is a file, and a test runs it."""
    shown = set()
    for page in PAGES:
        for directive, argument in DIRECTIVE.findall(page.read_text()):
            if directive == "literalinclude" and argument.endswith(".py"):
                shown.add((page.parent / argument).resolve())
            else:
                # Nothing runs what is written into the page itself.
                assert argument not in ("python", "python3", "py"), page
    files = {
        path
        for part in (TUTORIAL, HOWTO, DOCS / "reference", DOCS / "explanation")
        for path in part.rglob("*.py")
        if "__pycache__" not in path.parts
    }

    # The echo of the examples has a test of its own.
    assert shown - {ROOT / "examples" / "echo" / "server.py"} == files
    assert files == {DOCS / name for name in tried()}


def test_every_included_file_is_there() -> None:
    """Sphinx says so, too, but later; and emphasized lines exist."""
    pattern = re.compile(r"\.\. literalinclude:: (\S+)((?:\n +:[^\n]+)*)", re.MULTILINE)
    for page in PAGES:
        for name, options in pattern.findall(page.read_text()):
            size = len((page.parent / name).read_text().splitlines())
            lines = re.search(r":emphasize-lines: ([\d,]+)", options)
            if lines is not None:
                assert max(map(int, lines[1].split(","))) <= size, (page, name)


COMMANDS: Final = [
    pytest.param(command, id=f"{page.relative_to(ROOT)}: {command.split(chr(10))[0]}")
    for page in [README, *PAGES]
    for command in commands(page)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_one(command: str) -> None:
    """A shell can parse each command; targets of make and files of Python exist."""
    subprocess.run(
        ["bash", "-n", "-c", command], check=True, capture_output=True, timeout=DEADLINE
    )

    words = command.partition("#")[0].split()
    if words[0] == "make":
        targets = re.findall(
            r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE
        )
        assert words[1] in targets
    if words[0] == "python" and "/" in words[1]:
        assert (ROOT / words[1]).is_file()
