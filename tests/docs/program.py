"""A program of the documentation, and its clients.

Programs run as they stand there, in processes of their own. They name port 8467; what
they get is a socket that listens already, passed as systemd does it, so that a client
may connect at once and no two tests meet.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ..tools import ROOT, wait_until

__all__ = [
    "DEADLINE",
    "DOCS",
    "HOWTO",
    "PLAIN",
    "TUTORIAL",
    "Program",
    "Run",
    "ask",
    "can_connect",
    "close_of",
    "free_port",
    "tries",
]

DOCS: Final = ROOT / "docs"
TUTORIAL: Final = DOCS / "tutorial"
HOWTO: Final = DOCS / "howto"
DEADLINE: Final = 15.0
"""Longest wait for anything, in seconds."""

# Becomes the program: the listening socket gets the number that systemd gives it.
TRAMPOLINE: Final = """
import os, runpy, sys
fd, program, *sys.argv[1:] = sys.argv[1:]
if fd != "-":
    os.dup2(int(fd), 3)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
sys.argv[0] = program
sys.path[0] = os.path.dirname(os.path.abspath(program))
runpy.run_path(program, run_name="__main__")
"""

PLAIN: Final[dict[str, Any]] = {
    "proxy": None,
    "open_timeout": DEADLINE,
    "close_timeout": DEADLINE,
}
"""Options of clients: no proxy between them and a loopback address."""


class Program:
    """A running program.

    Args:
        path: Its file.
        folder: Where it runs.
        inherit: Whether it gets a listening socket.
        arguments: What it is called with.

    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        *,
        inherit: bool = True,
        arguments: Sequence[str] = (),
    ) -> None:
        self.port = 0
        self._log = folder / f"{path.stem}.log"
        fd = "-"
        pass_fds: tuple[int, ...] = ()
        listener = socket.create_server(("127.0.0.1", 0))
        if inherit:
            self.port = listener.getsockname()[1]
            fd, pass_fds = str(listener.fileno()), (listener.fileno(),)
        packages = os.pathsep.join(
            [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        with listener, self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", TRAMPOLINE, fd, str(path), *arguments],
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": packages,
                    "PYTHONUNBUFFERED": "1",
                },
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text()

    def find(self, pattern: str, count: int = 1) -> str:
        """Wait until it has printed something so often; return the last group."""
        found: list[str] = []

        def there() -> bool:
            found[:] = re.findall(pattern, self.output)
            return len(found) >= count

        assert wait_until(lambda: there() or self.ended(), DEADLINE)
        assert there(), self.output
        return found[-1]

    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.poll() is not None

    def connect(self, path: str = "/", **options: Any) -> ClientConnection:
        """Connect to it as a client."""
        url = f"ws://127.0.0.1:{self.port}{path}"
        client: ClientConnection = connect(url, **PLAIN, **options)
        return client

    def get(self, path: str, *headers: str) -> tuple[int, str]:
        """Ask for a page; return status and body."""
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as sock:
            lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
            sock.sendall("\r\n".join(lines).encode())
            answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), f"{head}\n{body}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it as service managers do; return its status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; return its status."""
        return self.process.wait(DEADLINE)

    def kill(self) -> None:
        """End it, whatever it does."""
        if not self.ended():
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


Run = Callable[..., Program]
"""Starts a program, as the constructor of Program does, in an empty folder."""

Test = TypeVar("Test")


def ask(client: ClientConnection, text: str) -> str | bytes:
    """Send a text, and wait for the answer."""
    client.send(text)
    return client.recv(DEADLINE)


def close_of(client: ClientConnection) -> tuple[int, str]:
    """Wait for the end of a connection; its close code and reason."""
    with pytest.raises(ConnectionClosed) as info:
        while True:
            client.recv(DEADLINE)
    close = info.value.rcvd
    assert close is not None
    return close.code, close.reason


def tries(*programs: str) -> Callable[[Test], Test]:
    """Note which programs of the documentation a test tries; test_docs reads it."""
    assert all((DOCS / name).is_file() for name in programs), programs

    def leave(test: Test) -> Test:
        return test

    return leave


def free_port() -> int:
    """Port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def can_connect(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
        return True
    return False
