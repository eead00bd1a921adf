"""Check that each module of the core is covered by its own tests, alone.

Coverage by the tests of another module says that a line ran, not that somebody
thought about it: so each module is measured in a run of its own test module, and
must have every line and every branch covered.

Usage: modules.py [MODULE...]    such as frames or extensions/base; default: the core
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = [
    "closing",
    "exceptions",
    "lifecycle",
    "_masking",
    "frames",
    "extensions/base",
    "extensions/permessage_deflate",
    "messages",
    "headers",
    "request",
    "handshake",
    "origins",
    "reader",
    "writer",
    "protocol",
]


def own_tests(module: str) -> Path:
    """Where the tests of a module are: ``a/b`` has ``tests/a/test_b.py``."""
    # Interfaces are tested where they are implemented.
    path = Path(module.replace("extensions/base", "extensions/permessage_deflate"))
    return ROOT / "tests" / path.parent / f"test_{path.name.lstrip('_')}.py"


def check(module: str) -> str | None:
    """Run the tests of a module; return what is wrong, if anything is."""
    tests = own_tests(module)
    if not tests.exists():
        return f"{module}: there is no {tests.relative_to(ROOT)}"
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"COVERAGE_FILE": f"{folder}/coverage"}
        for command in (
            ["run", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
            ["report", f"--include=websock/{module}.py", "--fail-under=100"],
        ):
            result = subprocess.run(
                [sys.executable, "-m", "coverage", *command],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
            )
            if result.returncode != 0:
                return f"{module}:\n{result.stdout}{result.stderr}"
    return None


def main() -> None:
    """Check several modules at a time."""
    modules = sys.argv[1:] or CORE
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(check, modules) if problem]
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(f"{len(problems)} of {len(modules)} modules are not covered by tests")
    print(f"each of {len(modules)} modules has every branch covered by its own tests")


if __name__ == "__main__":
    main()
