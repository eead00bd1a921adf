"""The first page that people read."""

from __future__ import annotations

import re
from pathlib import Path

from ..tools import ROOT
from .pages import README, blocks
from .program import (
    Run,
    ask,
)


def test_program_of_readme(run: Run, tmp_path: Path) -> None:
    """The program on the first screen is the example, and works as it stands there."""
    programs = [
        "\n".join(lines) for language, lines in blocks(README) if language == "python"
    ]
    assert len(programs) == 1
    assert len(programs[0].splitlines()) <= 10
    path = tmp_path / "program.py"
    path.write_text(programs[0])
    server = run(path)

    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
    assert server.stop() == 0


def test_links_of_readme() -> None:
    """What README refers to in the repository is there."""
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())

    missing_files = [
        link
        for link in links
        if not link.startswith("https://") and not (ROOT / link).exists()
    ]

    assert missing_files == []
