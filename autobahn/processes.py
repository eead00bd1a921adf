"""The processes of a run: our server, and several ``wstest`` side by side.

None of them outlives the run: each is ended, by its own handle, when the run ends,
however that happens; the server watches its standard input for the case that the run
is killed outright, and ``wstest`` ends when its server is gone.

Layer: test tool. May import: suite.
"""

from __future__ import annotations

import contextlib
import pathlib
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from suite import Suite

__all__ = ["Pool", "RunFailed", "started_server"]

SERVER = pathlib.Path(__file__).resolve().with_name("echo_server.py")


class RunFailed(Exception):
    """The run broke before there was anything to judge."""


@contextlib.contextmanager
def started_server() -> Iterator[str]:
    """Start our echo server on a free port, yield its URL, and end it by SIGTERM.

    Raises:
        RunFailed: If it doesn't start, or ends with another status than 0.

    """
    server = subprocess.Popen(
        [sys.executable, str(SERVER), "--port=0", "--until-eof"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        ready, _, _ = select.select([server.stdout], [], [], 20)
        url = server.stdout.readline().strip() if ready else ""
        if not url:
            raise RunFailed("the server does not tell its address")
        yield url
        ended = server.poll()
        if ended is not None:
            raise RunFailed(f"the server ended by itself, with status {ended}")
        server.terminate()
        status = server.wait(20)
        if status:
            raise RunFailed(f"the server ended with status {status} after SIGTERM")
    except subprocess.TimeoutExpired as exc:
        raise RunFailed("the server does not end after SIGTERM") from exc
    finally:
        end(server)


class Pool:
    """Runs ``wstest`` processes, some at a time, until a deadline."""

    def __init__(self, suite: Suite, deadline: float) -> None:
        """Use ``suite`` until ``deadline``, a point of the monotonic clock."""
        self._suite = suite
        self._deadline = deadline
        # Guards the list of processes and the flag that no more may start.
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def __enter__(self) -> Pool:
        """Return the pool."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes that still run."""
        with self._lock:
            self._closed = True
        for process in self._processes:
            end(process)

    def run(self, spec: pathlib.Path) -> str:
        """Run one ``wstest`` to its end or the deadline; return what it printed."""
        log = spec.with_name("log.txt")
        with log.open("wb") as output:
            with self._lock:
                if self._closed:
                    return ""
                process = subprocess.Popen(
                    self._suite.command(spec),
                    cwd=spec.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                self._processes.append(process)
            # A late report is judged by what is missing in it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, self._deadline - time.monotonic()))
            end(process)
        return log.read_text("utf-8", "replace")

    def run_all(self, specs: Sequence[pathlib.Path], jobs: int) -> None:
        """Run ``wstest`` on all specifications, ``jobs`` at a time."""
        waiting: queue.SimpleQueue[pathlib.Path] = queue.SimpleQueue()
        for spec in specs:
            waiting.put(spec)
        failures: list[BaseException] = []

        def work() -> None:
            try:
                while True:
                    spec = waiting.get_nowait()
                    begun = time.monotonic()
                    self.run(spec)
                    seconds = time.monotonic() - begun
                    print(f"  {spec.parent.name}: {seconds:.0f} s", flush=True)
            except queue.Empty:
                pass
            except Exception as exc:
                failures.append(exc)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise RunFailed(f"wstest can't be run: {failures[0]!r}") from failures[0]


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a process, gently first; do nothing when it has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
