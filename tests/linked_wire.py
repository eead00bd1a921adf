"""A connection over TCP on loopback: with the accelerator, or without.

What runs here is the reader's side of a session alone, so that both ways can be given
the same bytes, in the same pieces, and be held to the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any, Final, Self

from websock import link
from websock.connection import Connection
from websock.exceptions import RemoteProtocolError
from websock.link import Corks
from websock.protocol import Protocol, Side
from websock.reader import MessageReader
from websock.receiving import Receiver
from websock.transport import TcpTransport

from .fake_wire import DEADLINE, FakeKeeper, masked
from .tools import missing

__all__ = [
    "MAX_SIZE",
    "PATHS",
    "Line",
    "busy_corks",
    "load",
    "require_link",
    "run",
    "step",
    "tcp_pair",
    "unread",
]

PATHS: Final = (
    ["core"]
    if os.environ.get("WEBSOCK_SPEEDUPS") == "skip"
    else [
        "core",
        "link",
    ]
)
"""Who does the work: the core alone, or the accelerator where it can."""

MAX_SIZE: Final = 180_000
"""Longest message; longer than the largest first buffer of the accelerator."""

Callback = Callable[["Line", str | bytes], object]


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname(), DEADLINE)
        ours, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, peer


def unread(sock: socket.socket) -> int:
    """How many bytes wait for who reads ``sock``."""
    answer = fcntl.ioctl(sock, termios.FIONREAD, b"\0" * 4)
    (count,) = struct.unpack("i", answer)
    return int(count)


def require_link() -> None:
    """End the test if the accelerator isn't built."""
    if link.Link is None:
        missing("the extension module websock._link", "pip install -e .")


@contextlib.contextmanager
def stepping(corks: Corks) -> Iterator[Callable[[], None]]:
    """Give a function that makes one step of a connection that counts there."""
    ours, peer = tcp_pair()
    with ours, peer:
        short_cut = link.Link(ours.fileno(), corks, None)

        def make_step() -> None:
            peer.sendall(masked(1, b"x"))
            step(short_cut, lambda: lambda client, message: None, None, None)

        yield make_step


def step_until_corking(corks: Corks, make_step: Callable[[], None]) -> None:
    """Make so many steps that corking pays."""
    deadline = monotonic() + DEADLINE
    while not corks.corking:
        assert monotonic() < deadline
        make_step()


def busy_corks() -> Corks:
    """Make a server's, under load: from now on messages are corked."""
    require_link()
    corks = Corks(lambda: None)
    with stepping(corks) as make_step:
        step_until_corking(corks, make_step)
    return corks


@contextlib.contextmanager
def load(corks: Corks) -> Iterator[None]:
    """Keep a server that ticks under load, from a thread."""
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            make_step()

    with stepping(corks) as make_step:
        step_until_corking(corks, make_step)
        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(DEADLINE)


def step(short_cut: Any, *arguments: Any) -> Any:
    """Let a link step, as the owner of its read token."""
    short_cut.begin_reading()
    try:
        return short_cut.step(*arguments)
    finally:
        short_cut.end_reading()


def run(short_cut: Any, *arguments: Any) -> Any:
    """Let a link run, as the owner of its read token."""
    short_cut.begin_reading()
    try:
        return short_cut.run(*arguments)
    finally:
        short_cut.end_reading()


class Line:
    """A connection whose reader is a thread, and whose peer is the test.

    Args:
        path: One of :data:`PATHS`.
        callback: Gets the line and each message; its exceptions end nothing.
        corks: Where the accelerator counts; :obj:`None` makes some.
        max_size: Longest message.
        buffers: What the system may keep for a peer that doesn't read, in bytes.

    """

    def __init__(
        self,
        path: str,
        callback: Callback,
        *,
        corks: Corks | None = None,
        max_size: int | None = MAX_SIZE,
        buffers: int | None = None,
    ) -> None:
        if path == "link":
            require_link()
            corks = corks or Corks(lambda: None)
        self._ours, self.peer = tcp_pair()
        if buffers is not None:
            self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        self.connection = Connection(
            TcpTransport(self._ours, ("192.0.2.1", 1)),
            Protocol(Side.SERVER, max_size=max_size),
            FakeKeeper(),
            write_limit=10**9,
            send_timeout=DEADLINE,
            logger=logging.getLogger("websock.test"),
            max_size=max_size,
            corks=corks if path == "link" else None,
        )
        assert (self.connection.link is not None) == (path == "link")
        self.receiver = Receiver(self.connection)
        self.got: list[str | bytes] = []
        self.raised: list[BaseException] = []
        self.replies = bytearray()
        self._callback = callback
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        """Begin to read."""
        self.peer.settimeout(0)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the reader, however far it is."""
        self.connection.abort()
        self._thread.join(DEADLINE)
        self.connection.release()
        self.peer.close()
        assert not self._thread.is_alive()

    # The reader's thread: what a session does.

    def _read(self) -> None:
        self.receiver.start()
        self.connection.write_due()
        while True:
            try:
                self.receiver.run(self._deliver, lambda: self._take, self)
                break
            except BaseException as error:
                self.raised.append(error)
        if isinstance(self.receiver.last, RemoteProtocolError):
            self.connection.fail(self.receiver.last)
        self.connection.say_goodbye()

    def _deliver(self, message: str | bytes) -> bool:
        try:
            self._take(self, message)
        except BaseException as error:
            self.raised.append(error)
        return True

    def _take(self, _: object, message: str | bytes) -> None:
        self.got.append(message)
        self._callback(self, message)

    # The test's.

    def play(self, pieces: Iterable[bytes]) -> None:
        """Send each piece when the one before it has been read."""
        deadline = monotonic() + DEADLINE
        for piece in pieces:
            while piece and self._thread.is_alive():
                try:
                    piece = piece[self.peer.send(piece) :]
                except BlockingIOError:
                    self.collect()
                assert monotonic() < deadline
            while unread(self._ours) and self._thread.is_alive():
                self.collect()
                assert monotonic() < deadline

    def collect(self, wait: int = 1) -> bool:
        """Take what comes back; return whether it was the end."""
        poll = select.poll()
        poll.register(self.peer, select.POLLIN)
        if not poll.poll(wait):
            return False
        try:
            data = self.peer.recv(2**20)
        except BlockingIOError:
            return False
        self.replies += data
        return not data

    def wait_for_end(self) -> None:
        """Wait until the reader has ended; the peer goes on to take what comes."""
        deadline = monotonic() + DEADLINE
        while self._thread.is_alive():
            self.collect()
            assert monotonic() < deadline
        while not self.connection.flush():
            self.collect()
            assert monotonic() < deadline

    def finish(self) -> None:
        """Let the peer end its side, and take everything that comes back."""
        if self._thread.is_alive():
            self.peer.shutdown(socket.SHUT_WR)
        self.wait_for_end()
        self.connection.transport.finish_writing()
        deadline = monotonic() + DEADLINE
        while not self.collect():
            assert monotonic() < deadline

    def messages(self) -> list[Any]:
        """What the peer has got so far."""
        reader = MessageReader(masked=False, max_size=None, max_fragments=None)
        return [*reader.receive_data(bytes(self.replies))]

    def outcome(self) -> tuple[Any, ...]:
        """What both ways have to agree on."""
        return (
            self.got,
            [(type(error), str(error)) for error in self.raised],
            type(self.receiver.last),
            str(self.receiver.last),
            self.connection.protocol.close_sent,
            bytes(self.replies),
        )
