"""Programs of the documentation for its tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .program import Program, Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Function that runs a program of the documentation in an empty folder."""
    programs: list[Program] = []

    def run(path: Path, **options: Any) -> Program:
        program = Program(path, tmp_path, **options)
        programs.append(program)
        return program

    yield run
    for program in programs:
        program.kill()
