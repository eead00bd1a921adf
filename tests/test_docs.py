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


ATTACKS: Final = [
    *(f"A{number}" for number in range(1, 22)),
    *(f"B{number}" for number in range(1, 18)),
    *(f"C{number}" for number in range(1, 5)),
    *(f"D{number}" for number in range(1, 6)),
]


def test_every_attack_has_a_row_and_every_row_its_tests() -> None:
    """The table of attacks names all tests that there are, and none that aren't."""
    text = (DOCS / "explanation" / "security.rst").read_text()
    row = re.compile(r"^   \* - ([A-Z]\d+)\n((?: {5,}\S.*\n)+)", re.MULTILINE)
    rows = [
        (identifier, cells.split("\n     - "))
        for identifier, cells in row.findall(text)
    ]
    named = {
        identifier: {
            f"test_{identifier.lower()}_{'_'.join(words.split())}"
            for words in cells[-1].split(";")
        }
        for identifier, cells in rows
    }
    written: dict[str, set[str]] = {identifier: set() for identifier in ATTACKS}
    for path in (ROOT / "tests" / "integration" / "attacks").glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            name = node.name if isinstance(node, ast.FunctionDef) else ""
            if identifier := re.match(r"test_([a-z]\d+)_", name):
                written[identifier[1].upper()].add(name)

    assert [identifier for identifier, _ in rows] == ATTACKS
    assert named == written
    assert all(written.values())
    assert {len(cells) for _, cells in rows} == {3}
