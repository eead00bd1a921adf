"""Pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..tools import ROOT
from .program import DOCS

__all__ = ["PAGES", "README", "blocks", "commands"]

PAGES: Final = sorted(
    page for page in DOCS.rglob("*.rst") if "_build" not in page.parts
)
README: Final = ROOT / "README.md"


def commands(page: Path) -> list[str]:
    """Commands of a page, each with its continuation lines.

    In a block of a console they come after a prompt; in one of ``sh`` there is
    nothing else.
    """
    found: list[str] = []
    for language, lines in blocks(page):
        if language not in ("console", "sh"):
            continue
        more = False
        for line in lines:
            if more:
                found[-1] += f"\n{line.strip()}"
            elif language == "sh" and line.strip():
                found.append(line.strip())
            elif language == "console" and line.startswith(("$ ", "# ")):
                found.append(line[2:])
            else:
                continue
            more = line.endswith("\\")
    return found


def blocks(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Language and lines of each block of code in a page."""
    lines = iter(page.read_text().splitlines())
    if page.suffix == ".md":
        for line in lines:
            if line.startswith("```"):
                yield line[3:], list(iter(lambda: next(lines), "```"))
        return
    waiting: list[str] = []
    for line in lines:
        match = re.match(r"( *)\.\. code-block:: (\S+)$", line)
        if not match:
            continue
        indent = len(match[1]) + 3
        block = []
        for inner in lines:
            if inner.strip() and not inner.startswith(" " * indent):
                waiting.append(inner)
                break
            block.append(inner[indent:])
        yield match[2], block
    assert not any(".. code-block" in line for line in waiting), (
        "a blank line is missing"
    )
