"""Transports: bytes over TCP, TLS and Unix sockets, for one reader and any sender.

The only module that touches connected sockets. A transport is read by one thread
at a time, which blocks; it is written by whoever holds the write lock of its
connection, who never does. :meth:`Transport.interrupt` ends the reader's wait and
leaves the rest of the connection as it is, so that the reader can say goodbye.

A descriptor is closed by its owner only (:meth:`Transport.close`); everybody else
uses :meth:`Transport.abort`.

Layer: shells. May import: nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import sys
import threading
from time import monotonic
from typing import Any, Final, Protocol

__all__ = [
    "READ_SIZE",
    "PollTransport",
    "TcpTransport",
    "TlsTransport",
    "Transport",
    "WakeGroup",
    "WakeGroups",
    "connect_transport",
    "show_address",
]

READ_SIZE: Final = 65536
"""Most bytes that one read takes: several messages, or one large TLS record."""

TLS_WRITE_SIZE: Final = 16384
"""One TLS record (RFC 8446, 5.1), so that a write is taken whole or not at all."""

LINUX: Final = sys.platform == "linux"


class Transport(Protocol):
    """A connected stream of bytes."""

    def fileno(self) -> int:
        """Descriptor of the socket."""
        ...

    def getpeername(self) -> Any:
        """Address of the peer, as it was when the connection was made."""
        ...

    def getsockname(self) -> Any:
        """Address of this end."""
        ...

    def read(self, deadline: float | None = None) -> bytes:
        """Wait for data, and take it; the reader's thread only.

        Args:
            deadline: Point of the monotonic clock at which waiting ends;
                :obj:`None` waits for ever.

        Returns:
            What has arrived; empty at the end of the stream and after
            :meth:`interrupt`.

        Raises:
            TimeoutError: If the deadline passes first.
            OSError: If the connection is lost.

        """
        ...

    def read_nowait(self) -> bytes | None:
        """Take what has arrived; :obj:`None` if that is nothing, empty at the end.

        Raises:
            OSError: If the connection is lost.

        """
        ...

    def write_nowait(self, data: bytes | memoryview) -> int:
        """Write what fits without waiting; return how many bytes that was.

        Raises:
            OSError: If the connection is lost.

        """
        ...

    def has_data(self) -> bool:
        """Whether a read would return data at once, of a peer that isn't lost."""
        ...

    def interrupt(self) -> None:
        """End the reader's wait, now or later; any thread, and more than once."""
        ...

    def limit_unsent(self, size: int) -> None:
        """Let the system keep no more than ``size`` bytes that it can't send yet."""
        ...

    def finish_writing(self) -> None:
        """Tell the peer that nothing more comes; the peer may go on sending."""
        ...

    def abort(self) -> None:
        """Cut the connection both ways, without closing the descriptor."""
        ...

    def close(self) -> None:
        """Close the descriptor; its owner only."""
        ...


class _SocketTransport:
    """What all transports over a socket have in common."""

    __slots__ = ("_interrupted", "_peername", "_socket")

    def __init__(self, sock: socket.socket, peername: object) -> None:
        self._socket = sock
        # Not asked for later: a connection that was reset has none any more.
        self._peername = peername
        self._interrupted = False

    def fileno(self) -> int:
        """Descriptor of the socket; -1 once it's closed."""
        return self._socket.fileno()

    def getpeername(self) -> Any:
        """Address of the peer, as it was when the connection was made."""
        return self._peername

    def getsockname(self) -> Any:
        """Address of this end."""
        return self._socket.getsockname()

    def has_data(self) -> bool:
        """Whether a read would return data at once, of a peer that isn't lost."""
        return wait_for(self._socket.fileno(), None, write=False, timeout=0) and not (
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        )

    def limit_unsent(self, size: int) -> None:
        """Let the system keep no more than ``size`` bytes that it can't send yet.

        Linux keeps up to 4 MiB otherwise, and then tells of room when a third is free.
        """
        # A Unix socket has no such option; nor have all systems.
        with contextlib.suppress(OSError, AttributeError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)

    def finish_writing(self) -> None:
        """Tell the peer that nothing more comes."""
        with contextlib.suppress(OSError):
            # Not the method of SSLSocket, which forgets its TLS state.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def abort(self) -> None:
        """Cut the connection both ways, without closing the descriptor."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the descriptor; its owner only."""
        self._socket.close()


# States of a TCP connection whose peer has ended its side, of the kernel's
# include/net/tcp_states.h: TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING.
_PEER_ENDED: Final = frozenset({6, 7, 8, 9, 11})


class TcpTransport(_SocketTransport):
    """TCP on Linux, read by one blocking system call.

    The reader blocks in ``recv``, which nothing but the socket itself can end:
    :meth:`interrupt` shuts the receiving side down. On Linux that wakes the
    reader, and what the peer sends afterwards still arrives; only the end of its
    stream must be told from ours by the state of the connection.
    """

    __slots__ = ()

    def __init__(self, sock: socket.socket, peername: object) -> None:
        super().__init__(sock, peername)
        sock.setblocking(True)

    def read(self, deadline: float | None = None) -> bytes:
        """Wait for data, and take it; see :meth:`Transport.read`."""
        if deadline is not None and not wait_for(
            self._socket.fileno(),
            None,
            write=False,
            timeout=max(0.0, deadline - monotonic()),
        ):
            raise TimeoutError
        return self._socket.recv(READ_SIZE)

    def read_nowait(self) -> bytes | None:
        """Take what has arrived; see :meth:`Transport.read_nowait`."""
        try:
            data = self._socket.recv(READ_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        if not data and self._interrupted and not self._peer_ended():
            return None
        return data

    def _peer_ended(self) -> bool:
        state = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state in _PEER_ENDED

    def write_nowait(self, data: bytes | memoryview) -> int:
        """Write what fits without waiting."""
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def interrupt(self) -> None:
        """End the reader's wait, now or later."""
        self._interrupted = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)


class _Pipe:
    """A pipe that becomes readable once, for ever; closed when nobody refers to it."""

    __slots__ = ("_write_end", "read_end")

    def __init__(self) -> None:
        # What is closed in the end, if there are no descriptors to be had.
        self.read_end = self._write_end = -1
        self.read_end, self._write_end = os.pipe()

    def fire(self) -> None:
        os.write(self._write_end, b"\0")

    def __del__(self) -> None:
        if self.read_end >= 0:
            os.close(self.read_end)
            os.close(self._write_end)


class WakeGroup:
    """A pipe that wakes the readers of a few transports.

    Each one checks whether it was meant; the others wait on the next pipe. That
    costs a descriptor or two for many readers, instead of one for each.
    """

    __slots__ = ("_lock", "current")

    def __init__(self) -> None:
        # Guards ``current`` against two wakers.
        self._lock = threading.Lock()
        self.current = _Pipe()
        """What readers wait on besides their socket; they take it before they look
        whether they are interrupted, so that no wake is lost between the two."""

    def wake(self) -> None:
        """Wake all readers of the group.

        Raises:
            OSError: If there is no descriptor for the next pipe; nobody was woken.

        """
        with self._lock:
            spent = self.current
            self.current = _Pipe()
            spent.fire()


class WakeGroups:
    """Hands out groups, each to a bounded number of transports.

    Args:
        members: How many transports share a group, so how many threads wake when
            one of them is interrupted.

    """

    def __init__(self, members: int = 64) -> None:
        # Guards the fields below.
        self._lock = threading.Lock()
        self._members = members
        self._joined = 0
        self._group: WakeGroup | None = None

    def join(self) -> WakeGroup:
        """Return a group for one more transport.

        Raises:
            OSError: If there is no descriptor for it.

        """
        with self._lock:
            if self._group is None or self._joined >= self._members:
                self._group = WakeGroup()
                self._joined = 0
            self._joined += 1
            return self._group

    def close(self) -> None:
        """Let go of the last group; those that use it keep it."""
        with self._lock:
            self._group = None


class PollTransport(_SocketTransport):
    """Any stream socket on any system: wait for it, then read without blocking."""

    __slots__ = ("_group",)

    def __init__(self, sock: socket.socket, peername: object, group: WakeGroup) -> None:
        super().__init__(sock, peername)
        self._group: WakeGroup | None = group
        sock.setblocking(False)

    def read(self, deadline: float | None = None) -> bytes:
        """Wait for data, and take it; see :meth:`Transport.read`."""
        group = self._group
        while group is not None:
            pipe = group.current
            if self._interrupted:
                return b""
            data = self.read_nowait()
            if data is not None:
                return data
            timeout = None if deadline is None else max(0.0, deadline - monotonic())
            if (
                not wait_for(
                    self._socket.fileno(), pipe.read_end, write=False, timeout=timeout
                )
                and timeout is not None
                and deadline is not None
                and monotonic() >= deadline
            ):
                raise TimeoutError
        return b""

    def read_nowait(self) -> bytes | None:
        """Take what has arrived; see :meth:`Transport.read_nowait`."""
        try:
            return self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return None

    def write_nowait(self, data: bytes | memoryview) -> int:
        """Write what fits without waiting."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def interrupt(self) -> None:
        """End the reader's wait, now or later."""
        if self._interrupted:
            return
        self._interrupted = True
        group = self._group
        try:
            if group is not None:
                group.wake()
        except OSError:
            self.abort()

    def close(self) -> None:
        """Close the descriptor; its owner only."""
        super().close()
        # Whoever keeps the client must not keep the group's descriptors.
        self._group = None


class TlsTransport(PollTransport):
    """TLS: every use of the TLS state is under one lock, and none of them blocks.

    OpenSSL objects must not be used by two threads at once. A reader that waited
    inside would stop every sender, so that it waits outside.
    """

    __slots__ = ("_finished", "_lock", "_tls")

    def __init__(self, sock: ssl.SSLSocket, peername: object, group: WakeGroup) -> None:
        super().__init__(sock, peername, group)
        self._tls = sock
        # Guards the TLS state: the SSL object of ``_tls``, whoever uses it.
        self._lock = threading.Lock()
        self._finished = False

    def read_nowait(self) -> bytes | None:
        """Take what has arrived; see :meth:`Transport.read_nowait`."""
        try:
            with self._lock:
                if self._finished:
                    # Not the method of SSLSocket, which decrypts.
                    return socket.socket.recv(self._tls, READ_SIZE)
                return self._tls.recv(READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            # Garbage instead of a record: the stream can't be used any more.
            raise ConnectionResetError(f"TLS: {error.reason}") from error

    def has_data(self) -> bool:
        """Whether a read would return data at once, of a peer that isn't lost."""
        with self._lock:
            pending = self._tls.pending() > 0
        return pending or super().has_data()

    def write_nowait(self, data: bytes | memoryview) -> int:
        """Write what fits without waiting."""
        view = memoryview(data)
        sent = 0
        try:
            with self._lock:
                while sent < len(view):
                    # A write that OpenSSL put off must be repeated with the same
                    # data: the pieces of one message are cut at the same places
                    # because nothing but its rest is ever offered again.
                    sent += self._tls.send(view[sent : sent + TLS_WRITE_SIZE])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except ssl.SSLError as error:
            raise ConnectionResetError(f"TLS: {error.reason}") from error
        return sent

    def finish_writing(self) -> None:
        """Tell the peer that nothing more comes.

        What the peer still sends is read as it is on the wire from now on: OpenSSL
        takes no more of it once it has sent its own end.
        """
        with self._lock:
            if not self._finished:
                self._finished = True
                # It sends close_notify, and then wants the peer's, or stumbles over
                # what the peer sent before that.
                with contextlib.suppress(OSError, ValueError):
                    self._tls.unwrap()
        super().finish_writing()


def show_address(address: Any) -> str:
    """Address as people write it, for logs."""
    if isinstance(address, tuple):
        host = str(address[0])
        if ":" in host:
            host = f"[{host}]"
        return f"{host}:{address[1]}"
    return str(address)


def wait_for(
    fd: int, wake_fd: int | None, *, write: bool, timeout: float | None
) -> bool:
    """Wait until ``fd`` or ``wake_fd`` is ready; tell whether one is.

    Args:
        fd: Descriptor to wait for.
        wake_fd: Another one, to read from; :obj:`None` if there is none.
        write: Whether to wait until ``fd`` can be written, instead of read.
        timeout: Longest wait, in seconds; :obj:`None` means for ever.

    """
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLOUT if write else select.POLLIN)
        if wake_fd is not None:
            poll.register(wake_fd, select.POLLIN)
        # Rounded up: a wait of less than a millisecond must not become none.
        return bool(poll.poll(None if timeout is None else -(-timeout * 1000 // 1)))
    readers = [] if write else [fd]  # pragma: no cover (no poll: Windows)
    if wake_fd is not None:  # pragma: no cover
        readers.append(wake_fd)
    ready = select.select(  # pragma: no cover
        readers, [fd] if write else [], [], timeout
    )
    return any(ready)  # pragma: no cover


def connect_transport(
    sock: socket.socket, peername: object, groups: WakeGroups
) -> Transport:
    """Choose the transport for a connected socket.

    Args:
        sock: A connected stream socket; a TLS one has done its handshake.
        peername: Address of the peer.
        groups: Where transports that poll find what wakes them.

    Raises:
        OSError: If there is no descriptor for a group.

    """
    if isinstance(sock, ssl.SSLSocket):
        return TlsTransport(sock, peername, groups.join())
    if LINUX and sock.family in (socket.AF_INET, socket.AF_INET6):
        return TcpTransport(sock, peername)
    return PollTransport(sock, peername, groups.join())
