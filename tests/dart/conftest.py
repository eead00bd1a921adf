"""The Flutter example, ready to be compiled and run."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ..tools import CACHE, ROOT, missing

DART = ROOT / ".ci" / "tools" / "dart.sh"
EXAMPLE = ROOT / "examples" / "flutter"

ENGINE = "/usr/lib/flutter-engine/linux-x64"
CONFIG = "/w/.dart_tool/package_config.json"

COMPILE = f"""
dartaotruntime /usr/lib/dart/bin/snapshots/frontend_server_aot.dart.snapshot \
  --sdk-root {ENGINE}/flutter_patched_sdk/ --target=flutter --packages={CONFIG} \
  --output-dill="$2" "$1"
"""
"""What compiles one program, $1, for the headless tester, as $2."""

TESTER = (
    f"LD_LIBRARY_PATH={ENGINE}",
    # Without it the tester exits with 0 and tests nothing.
    "FLUTTER_TEST=true",
    f"{ENGINE}/flutter_tester",
    "--disable-vm-service",
    "--enable-checked-mode",
    "--verify-entry-points",
    "--enable-software-rendering",
    "--non-interactive",
    "--use-test-fonts",
    f"--packages={CONFIG}",
)


SILENCE = 150.0
"""Time for which a program may print nothing, in seconds; a busy machine is slow."""


class Program:
    """A program in the root of the Dart SDK, and its output line by line.

    Args:
        folder: Folder that the program sees as ``/w``.
        command: The program and its arguments.

    """

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [DART, "run", folder, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._news.put(line.rstrip("\n"))
        self._news.put(None)

    @property
    def output(self) -> str:
        """All that it printed until now, as far as it was waited for."""
        return "\n".join(self.lines)

    def wait_for(self, text: str | None, timeout: float) -> bool:
        """Wait for a line with ``text`` in it, or for the end of the output.

        Returns:
            Whether the line came.

        """
        while True:
            try:
                line = self._news.get(timeout=timeout)
            except queue.Empty:
                self.kill()
                pytest.fail(f"silent for {timeout} s:\n{self.output}")
            if line is None:
                return False
            self.lines.append(line)
            if text is not None and text in line:
                return True

    def wait(self, timeout: float = SILENCE) -> int:
        """Wait for the end, killing what is silent for ``timeout`` seconds."""
        self.wait_for(None, timeout)
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End it with all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


class App:
    """A copy of the example, so that nothing is written into the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def start(self, *command: str) -> Iterator[Program]:
        """Start a program, and leave nothing of it behind."""
        program = Program(self.folder, command)
        try:
            yield program
        finally:
            program.kill()

    def run(self, *command: str, timeout: float = SILENCE) -> tuple[int, str]:
        """Run a program; returns its exit code and its output."""
        with self.start(*command) as program:
            return program.wait(timeout), program.output

    def build(self, source: str) -> str:
        """Compile a program for plain Dart; returns its path."""
        target = f"/w/{Path(source).stem}.dill"
        code, output = self.run("dart", "compile", "kernel", source, "-o", target)
        assert code == 0, output
        return target

    def build_test(self, source: str) -> str:
        """Compile a test for the headless tester; returns its path."""
        target = f"/w/{Path(source).stem}.dill"
        code, output = self.run("sh", "-c", COMPILE, "sh", source, target)
        assert code == 0, output
        return target


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    """A copy of the example in which Dart finds its packages."""
    root = Path(os.environ.get("DART_ROOT") or CACHE / "dart")
    if not (root / "opt" / "pub" / "ready").is_file():
        missing(
            "the Dart SDK with Flutter", f"{DART.relative_to(ROOT)} setup (as root)"
        )
    if os.geteuid() != 0:
        missing("the right to enter the root of the Dart SDK", "sudo make dart")
    folder = tmp_path_factory.mktemp("flutter") / "app"
    shutil.copytree(
        EXAMPLE, folder, ignore=shutil.ignore_patterns(".dart_tool", "build", "__*__")
    )
    # It is analysed with the rest.
    shutil.copy(Path(__file__).with_name("echo_client.dart"), folder / "bin")
    (folder / "build").mkdir()
    subprocess.run([DART, "config", folder, "phone_book"], check=True, timeout=30)
    return App(folder)
