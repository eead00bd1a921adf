"""Intake: from the listening socket to the complete request, on the main thread.

Everything here is non-blocking, and bounded by one absolute deadline for each
newcomer: a silent or slow peer costs a socket, never a thread.

Layer: shells. May import: the core, logs, transport, loop, settings.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from .exceptions import HandshakeError, InvalidRequest, RequestTimeout
from .logs import log_exception
from .loop import Loop, Timer
from .protocol import Protocol, Side
from .request import Request, RequestReader
from .settings import Settings
from .transport import Transport, WakeGroups, connect_transport, show_address

__all__ = ["Intake"]

ACCEPT_BATCH: Final = 128
"""Connections accepted in a row before others have their turn."""

ACCEPT_PAUSE: Final = 0.25
"""Pause of accepting when there are no descriptors or memory, in seconds."""

CALM: Final = 5.0
"""Accepting without such a pause after which all is well again, in seconds."""

EXHAUSTED: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC}
)
"""What the system says when it's out of descriptors, memory, or watches of epoll."""

Arrived = Callable[[Transport, Protocol, Request, float], None]
"""What to do with a complete request, and when its connection was accepted."""

Refused = Callable[[Transport, Protocol, HandshakeError, float], None]
"""What to do with one that can't be read, and when its connection was accepted."""


class Intake:
    """Accepts connections, and reads their requests.

    Args:
        loop: Whose thread does it.
        settings: Options of the server.
        logger: Where what goes wrong is noted.
        arrived: Called with each complete request.
        refused: Called with each request that can't be read, or isn't in time.

    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        logger: logging.Logger,
        arrived: Arrived,
        refused: Refused,
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._logger = logger
        self._arrived = arrived
        self._refused = refused
        self._groups = WakeGroups()
        self._listeners: list[socket.socket] = []
        self._newcomers: set[_Newcomer] = set()
        # An episode of exhaustion: how many pauses it has had, and when it goes on.
        self._pauses = 0
        self._timer: Timer | None = None

    def listen(self, listeners: list[socket.socket]) -> None:
        """Accept from ``listeners``, which stay their owner's."""
        self._listeners = list(listeners)
        for listener in listeners:
            self._watch(listener)

    def stop(self) -> None:
        """Accept no more; those whose request isn't complete are dropped."""
        self.hold()
        self._listeners = []
        for newcomer in list(self._newcomers):
            newcomer.drop()
        self._groups.close()

    def hold(self) -> None:
        """Accept nobody for now; the kernel keeps who waits."""
        for listener in self._listeners:
            self._loop.unregister(listener.fileno())
        if self._timer is not None:
            self._timer.cancel()

    def go_on(self) -> None:
        """Accept again."""
        try:
            for listener in self._listeners:
                self._watch(listener)
        except Exception as error:
            self._pause(error)
            return
        if self._pauses:
            # Under a flood, what one connection frees lets in the next one, no more.
            self._wait(CALM, self._recover)

    def _watch(self, listener: socket.socket) -> None:
        self._loop.register_read(listener.fileno(), lambda: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        try:
            for _ in range(ACCEPT_BATCH):
                try:
                    sock, address = listener.accept()
                except (BlockingIOError, InterruptedError):
                    return
                except OSError as error:
                    if is_exhaustion(error):
                        raise
                    continue  # The peer was gone before it was accepted.
                if not self._admit(sock, normalize(address)):
                    return
        except Exception as error:
            # Whatever it is: the loop forgets whose callback raises, and a server
            # must not go deaf.
            self._pause(error)

    def _admit(self, sock: socket.socket, address: Any) -> bool:
        """Take care of a connection; return whether to go on accepting."""
        newcomer = None
        try:
            newcomer = _Newcomer(self, sock, address)
            newcomer.start()
        except Exception as error:
            # No descriptor or memory for what goes with it, or a dead peer.
            if newcomer is None:
                sock.close()
            else:
                newcomer.drop()
            return self._drop(error)
        self._newcomers.add(newcomer)
        return True

    def _drop(self, error: Exception) -> bool:
        """Note that a connection was dropped; return whether to go on accepting."""
        if is_exhaustion(error):
            self._pause(error)
            return False
        self._logger.warning("connection dropped: %s", error)
        return True

    def _pause(self, error: Exception) -> None:
        """Stop accepting for a moment."""
        if not self._pauses:
            line = "can't accept connections for now: %s"
            reason = getattr(error, "strerror", None) or type(error).__name__
            if is_exhaustion(error):
                self._logger.error(line, reason)
            else:
                log_exception(self._logger, error, line, reason)
        self._pauses += 1
        self.hold()
        self._wait(ACCEPT_PAUSE, self.go_on)

    def _recover(self) -> None:
        self._logger.warning("accepting connections again; pauses: %d", self._pauses)
        self._pauses = 0

    def _wait(self, seconds: float, callback: Callable[[], None]) -> None:
        """Go on with ``callback``, and forget what was to come next."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(monotonic() + seconds, callback)


class _Newcomer:
    """A connection whose request isn't complete."""

    __slots__ = (
        "_accepted_at",
        "_address",
        "_intake",
        "_protocol",
        "_reader",
        "_socket",
        "_timer",
        "_transport",
    )

    def __init__(self, intake: Intake, sock: socket.socket, address: Any) -> None:
        settings = intake._settings
        self._intake = intake
        self._socket = sock
        self._address = address
        self._accepted_at = monotonic()
        self._timer: Timer | None = None
        self._reader = RequestReader()
        self._protocol = Protocol(
            Side.SERVER,
            max_size=settings.max_size,
            max_fragments=settings.max_fragments,
            reader=self._reader,
        )
        self._transport: Transport | None = None
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if settings.ssl is not None:
            # Of a peer that is gone already, wrap_socket() would lose the socket.
            sock.getpeername()
            self._socket = settings.ssl.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False
            )
        else:
            self._transport = connect_transport(sock, address, intake._groups)

    def start(self) -> None:
        """Read on when there is something, until the deadline."""
        intake = self._intake
        if intake._settings.open_timeout is not None:
            deadline = self._accepted_at + intake._settings.open_timeout
            self._timer = intake._loop.call_at(deadline, self._expire)
        intake._loop.register_read(self._socket.fileno(), self._continue)

    def _continue(self) -> None:
        if self._transport is None and not self._shake_hands():
            return
        self._read_request()

    def _shake_hands(self) -> bool:
        """Go on with the TLS handshake; return whether it's complete."""
        assert isinstance(self._socket, ssl.SSLSocket)
        loop = self._intake._loop
        fd = self._socket.fileno()
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            loop.unregister_write(fd)
        except ssl.SSLWantWriteError:
            loop.register_write(fd, self._continue)
        except ssl.SSLError as error:
            self._fail_tls(error)
        except OSError:
            self.drop()
        else:
            loop.unregister_write(fd)
            try:
                self._transport = connect_transport(
                    self._socket, self._address, self._intake._groups
                )
            except OSError as error:
                self.drop()
                self._intake._drop(error)
            else:
                return True
        return False

    def _fail_tls(self, error: ssl.SSLError) -> None:
        intake = self._intake
        if error.reason == "HTTP_REQUEST":
            # It's a plain HTTP request: answer so that a human understands.
            raw = self._detach_plain()
            if raw is not None:
                self._transport = raw
                self._refuse(
                    InvalidRequest("this port speaks TLS: use https:// or wss://")
                )
                return
        intake._logger.info(
            "%s: TLS handshake failed: %s",
            show_address(self._address),
            error.reason,
        )
        self.drop()

    def _detach_plain(self) -> Transport | None:
        self._intake._loop.unregister(self._socket.fileno())
        family = self._socket.family
        plain = socket.socket(family, fileno=self._socket.detach())
        self._socket = plain
        plain.setblocking(False)
        try:
            return connect_transport(plain, self._address, self._intake._groups)
        except OSError:
            return None

    def _read_request(self) -> None:
        assert self._transport is not None
        try:
            while True:
                data = self._transport.read_nowait()
                if data is None:
                    return
                if not data:
                    if self._reader.started:
                        self._reader.receive_eof()
                    self.drop()
                    return
                request = self._protocol.receive_request(data)
                if request is not None:
                    self._leave()
                    self._intake._arrived(
                        self._transport, self._protocol, request, self._accepted_at
                    )
                    return
        except HandshakeError as error:
            self._refuse(error)
        except OSError:
            self.drop()

    def _expire(self) -> None:
        if self._transport is not None and self._reader.started:
            self._refuse(RequestTimeout("the request isn't complete in time"))
        else:
            self._intake._logger.info(
                "%s: silent until open_timeout", show_address(self._address)
            )
            self.drop()

    def _refuse(self, error: HandshakeError) -> None:
        assert self._transport is not None
        self._leave()
        self._intake._refused(self._transport, self._protocol, error, self._accepted_at)

    def _leave(self) -> None:
        """This is no newcomer any more; the connection goes on."""
        self._intake._loop.unregister(self._socket.fileno())
        self._intake._newcomers.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def drop(self) -> None:
        """Close the connection without a word."""
        self._leave()
        self._socket.close()


def is_exhaustion(error: Exception) -> bool:
    """Whether ``error`` says that there are no descriptors or no memory right now."""
    if isinstance(error, OSError):
        return error.errno in EXHAUSTED
    return isinstance(error, MemoryError)


def normalize(address: Any) -> Any:
    """Peer address with IPv4 as such, where a socket for both families gave IPv6."""
    if isinstance(address, tuple) and address[0].startswith("::ffff:"):
        return address[0].removeprefix("::ffff:"), address[1]
    return address
