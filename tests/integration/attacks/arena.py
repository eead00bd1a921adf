"""An arena: an echo server, attackers, and a bystander whom nothing may disturb.

Leaving the arena is where most of an attack is judged: the bystander has all its
echoes, the sockets and threads of the attackers are gone while the server still
runs, and the log has one printable line for each of them, which quotes no message.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import pytest

from websock import WebSocketServer

from ...certificate import Certificate
from ...tools import wait_until
from ..wire import DEADLINE, Peer, running
from .kit import SECRET

__all__ = ["Arena", "Attacker"]


class Arena:
    """An echo server that is attacked.

    Args:
        caplog: What is logged.
        certificate: For TLS; :obj:`None` for plain TCP.
        options: Options of the server.

    """

    def __init__(
        self,
        caplog: pytest.LogCaptureFixture,
        certificate: Certificate | None,
        **options: Any,
    ) -> None:
        self._caplog = caplog
        self._certificate = certificate
        self._stack = contextlib.ExitStack()
        self._attackers: list[Attacker] = []
        self.closed: queue.Queue[tuple[Any, int, str]] = queue.Queue()
        """What ``on_connection_close`` got, in order."""
        self.requests: list[str] = []
        """Targets of the WebSockets that were opened, in order."""
        self.tracebacks_allowed = False
        """Whether the application of this server is at fault, too."""
        self.server = WebSocketServer(
            "127.0.0.1",
            0,
            **{
                "on_connection_open": self._note_request,
                "on_data_receive": lambda client, data: client.send(data),
                "on_connection_close": lambda client, code, reason: self.closed.put(
                    (client, code, reason)
                ),
                "ssl": certificate.server_context() if certificate else None,
                "close_timeout": DEADLINE,
            }
            | options,
        )
        self._context = certificate.client_context() if certificate else None

    def _note_request(self, client: Any) -> None:
        self.requests.append(client.request.target)

    @property
    def is_tls(self) -> bool:
        """Whether the server speaks TLS."""
        return self._context is not None

    @property
    def address(self) -> Any:
        """Where the server listens."""
        return self.server.address

    def __enter__(self) -> Self:
        """Start the server, and let the bystander in."""
        self._caplog.set_level(logging.INFO, logger="websock")
        self._stack.enter_context(running(self.server))
        with contextlib.ExitStack() as stack:
            stack.push(self._stack)
            bystander = Peer(self.address, context=self._context)
            self._stack.callback(bystander.socket.close)
            bystander.open("/bystander")
            self.bystander = Bystander(bystander)
            self.bystander.start()
            self._stack.callback(self.bystander.stop)
            self.others_live()
            stack.pop_all()
        self._sockets = count_sockets()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Judge what is left, and stop the server."""
        for attacker in self._attackers:
            attacker.socket.close()
        with self._stack:
            if kind is not None:
                return
            self.others_live()
            # The server runs on, and has nothing left of the attackers.
            assert wait_until(self.is_back_to_the_bystander), client_threads()
            self.bystander.stop()
        self._judge_log()

    def _judge_log(self) -> None:
        for record in self.records():
            line = record.getMessage()
            assert line.isprintable(), line
            assert SECRET not in line, line
            if not self.tracebacks_allowed:
                assert record.exc_info is None, line
                assert record.levelno <= logging.INFO, line
        for attacker in self._attackers:
            lines = self.lines(attacker)
            if attacker.lines is not None:
                assert len(lines) == attacker.lines, lines

    def records(self) -> list[logging.LogRecord]:
        """All that the package has logged so far."""
        return [
            record
            for record in self._caplog.get_records("call")
            if record.name.partition(".")[0] == "websock"
        ]

    def lines(self, attacker: Attacker) -> list[str]:
        """Lines of the log that are about an attacker."""
        port = re.compile(rf"\b127\.0\.0\.1(:|', ){attacker.port}\b")
        lines = [record.getMessage() for record in self.records()]
        return [line for line in lines if port.search(line)]

    def attacker(self, *, plain: bool = False, lines: int | None = 1) -> Attacker:
        """Connect an attacker.

        Args:
            plain: Whether to speak plain TCP, whatever the server speaks.
            lines: How many lines of the log will be about it; :obj:`None` for any.

        """
        attacker = Attacker(
            self.address, context=None if plain else self._context, lines=lines
        )
        self._attackers.append(attacker)
        return attacker

    def refuses(self, data: bytes, status: int, *words: str) -> str:
        """Send a request that must be refused, and return the response's head."""
        with self.attacker() as peer:
            peer.write(data)
            head = peer.refused(status, *words)
        self.others_live()
        return head

    def accepts(self, data: bytes) -> str:
        """Send a request that must be accepted, and return the response's head."""
        with self.attacker() as peer:
            peer.write(data)
            head = peer.read_head()
            assert peer.status == 101, head
            assert peer.echoes("here")
            assert peer.leave()
        return head

    def is_back_to_the_bystander(self) -> bool:
        """Whether the server has neither socket nor thread nor entry of attackers.

        Attackers may have their sockets still.
        """
        own = sum(attacker.socket.fileno() >= 0 for attacker in self._attackers)
        return (
            count_sockets() == self._sockets + own
            and len(client_threads()) == 1
            and len(self.server.clients) == 1
        )

    def others_live(self) -> None:
        """Wait for an echo of the bystander that began after this call."""
        self.bystander.wait_for_echoes(2)

    def client_of(self, attacker: Attacker) -> Any:
        """Return what the server has for an attacker with a WebSocket."""
        address = attacker.socket.getsockname()
        assert wait_until(lambda: address in self.server.clients)
        return self.server.clients[address]

    def client_thread(self) -> threading.Thread:
        """Return the thread of the only attacker that has a WebSocket."""
        (thread,) = set(client_threads()) - self.bystander.server_side(self.server)
        return thread


class Bystander(threading.Thread):
    """An innocent client, which echoes a number after the other.

    Args:
        peer: Its connection, which is open.

    """

    def __init__(self, peer: Peer) -> None:
        super().__init__(name="bystander")
        self._peer = peer
        self._port: int = peer.socket.getsockname()[1]
        self._stopped = threading.Event()
        # Guards and tells of the two below.
        self._changed = threading.Condition()
        self._echoes = 0
        self._error: BaseException | None = None

    def run(self) -> None:
        """Talk until :meth:`stop`, and then once more."""
        try:
            over = False
            while not over:
                over = self._stopped.wait(0.005)
                self._peer.send(f"echo {self._echoes}")
                assert self._peer.receive() == f"echo {self._echoes}"
                with self._changed:
                    self._echoes += 1
                    self._changed.notify_all()
            self._peer.send_close(1000)
            assert self._peer.closes(1000)
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def wait_for_echoes(self, number: int) -> None:
        """Wait for so many more."""
        with self._changed:
            goal = self._echoes + number
            assert self._changed.wait_for(
                lambda: self._echoes >= goal or self._error is not None, DEADLINE
            ), "the bystander has no echo"
            assert self._error is None, self._error

    def stop(self) -> None:
        """Say goodbye, and end."""
        self._stopped.set()
        self.join(DEADLINE)
        assert not self.is_alive()
        assert self._error is None, self._error

    def server_side(self, server: WebSocketServer) -> set[threading.Thread]:
        """Return the thread that the server has for it."""
        return {
            thread
            for client in server.clients.values()
            for thread in threading.enumerate()
            if client.address[1] == self._port and thread.name == client.name
        }


class Attacker(Peer):
    """A peer that means harm.

    Args:
        address: Where the server listens.
        context: TLS context; :obj:`None` speaks plain TCP.
        lines: How many lines of the log will be about it; :obj:`None` for any.

    """

    def __init__(
        self, address: Any, *, context: ssl.SSLContext | None, lines: int | None
    ) -> None:
        super().__init__(address, context=context)
        self.lines = lines
        """How many lines of the log will be about it."""
        self.port: int = self.socket.getsockname()[1]
        """Port of its end, which the log names."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(self.socket, ssl.SSLSocket):
            # An end of the stream without close_notify is an error, then.
            self.socket.suppress_ragged_eofs = False  # type: ignore[attr-defined]

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def write_bytewise(self, data: bytes) -> None:
        """Send bytes in packets of one each."""
        for number in range(len(data)):
            self.socket.send(data[number : number + 1])

    def refused(self, status: int, *words: str) -> str:
        """Read a refusal with all that it must have, and return its head."""
        got, head, body = self.read_response()
        text = body.decode()
        assert got == status, (head, text)
        fields = dict(
            line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line
        )
        assert "close" in fields["connection"].split(", "), head
        assert fields["content-type"] == "text/plain; charset=utf-8", head
        assert int(fields["content-length"]) == len(body), head
        assert text.endswith("\n"), text
        assert text[:-1].isprintable(), text
        assert 0 < len(text) < 400, text
        for word in words:
            assert word in text, text
        return head

    def echoes(self, data: str | bytes) -> bool:
        """Whether a message comes back."""
        self.send(data)
        return self.receive() == data

    def leave(self) -> bool:
        """Close as one should; whether the server answers as it should."""
        self.send_close(1000)
        return self.closes(1000)

    def write_while_reading(self, data: bytes, total: int) -> bytes:
        """Go on sending ``data`` up to ``total`` bytes, and read all the while.

        Returns:
            What came up to the end of the stream.

        """
        self.socket.setblocking(False)
        received = bytearray(self.data)
        self.data = b""
        sent = 0
        ended = False
        deadline = time.monotonic() + DEADLINE
        # After the end of what comes, the server goes on taking what is sent.
        while not ended or sent < total:
            assert time.monotonic() < deadline, (ended, sent)
            writers = [self.socket] if sent < total else []
            readers = [] if ended else [self.socket]
            select.select(readers, writers, [], 0.1)
            with would_block():
                while not ended:
                    more = self.socket.recv(65536)
                    received += more
                    ended = not more
            with would_block():
                if sent < total:
                    sent += self.socket.send(data)
        self.socket.settimeout(DEADLINE)
        return bytes(received)


@contextlib.contextmanager
def would_block() -> Iterator[None]:
    """Forget that a socket isn't ready."""
    with contextlib.suppress(
        BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError
    ):
        yield


def client_threads() -> list[threading.Thread]:
    """Threads that servers have for their clients."""
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.removeprefix("websock-").isdigit()
    ]


def count_sockets() -> int:
    """Number of the sockets of this process."""
    number = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            number += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return number
