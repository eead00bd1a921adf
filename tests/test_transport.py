"""Transports: one reads and waits, others write and interrupt, nobody gets stuck."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.certificate import Certificate, make_certificate
from tests.tools import wait_until
from websock import transport as module
from websock.transport import (
    READ_SIZE,
    PollTransport,
    TcpTransport,
    TlsTransport,
    Transport,
    WakeGroup,
    WakeGroups,
    wait_for,
)

DEADLINE = 20.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for the loopback."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    peer.settimeout(DEADLINE)
    return accepted, peer


class Ends:
    """Both ends of a connection: ours as a transport, the peer's as a socket."""

    def __init__(self, kind: str, certificate: Certificate, group: WakeGroup) -> None:
        ours, self.peer = tcp_pair()
        self.group = group
        self.ours: Transport
        name = ours.getpeername()
        if kind == "tcp":
            self.ours = TcpTransport(ours, name)
        elif kind == "poll":
            self.ours = PollTransport(ours, name, group)
        else:
            server = certificate.server_context()
            result: list[ssl.SSLSocket] = []
            shaker = threading.Thread(
                target=lambda: result.append(server.wrap_socket(ours, server_side=True))
            )
            shaker.start()
            self.peer = certificate.client_context().wrap_socket(
                self.peer, server_hostname="localhost", suppress_ragged_eofs=False
            )
            shaker.join(DEADLINE)
            self.ours = TlsTransport(result[0], name, group)

    def reset(self) -> None:
        """Let the peer end the connection with RST."""
        linger = struct.pack("ii", 1, 0)
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.peer.close()

    def finish_peer(self) -> None:
        """Let the peer end its side."""
        if isinstance(self.peer, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                self.peer.setblocking(False)
                self.peer.unwrap()
            self.peer.setblocking(True)
        socket.socket.shutdown(self.peer, socket.SHUT_WR)

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.peer.close()


@pytest.fixture(params=["tcp", "poll", "tls"])
def ends(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Ends]:
    """A connection of each kind."""
    ends = Ends(request.param, certificate, WakeGroup())
    yield ends
    ends.close()


class Reader(threading.Thread):
    """Reads once, in a thread of its own."""

    def __init__(self, transport: Transport, deadline: float | None = None) -> None:
        super().__init__(daemon=True)
        self.transport = transport
        self.deadline = deadline
        self.result: object = None
        self.start()

    def run(self) -> None:
        """Read, and note what came of it."""
        try:
            self.result = self.transport.read(self.deadline)
        except OSError as error:
            self.result = error

    def get(self) -> object:
        """What came of it."""
        self.join(DEADLINE)
        assert not self.is_alive()
        return self.result

    def wait_until_it_waits(self) -> None:
        """Return when the thread sleeps in the kernel."""
        path = Path(f"/proc/self/task/{self.native_id}/wchan")
        stat = Path(f"/proc/self/task/{self.native_id}/stat")

        def sleeps() -> bool:
            state = stat.read_text().rpartition(") ")[2][0]
            return state == "S" and bool(path.read_text())

        assert wait_until(sleeps)


def write_all(transport: Transport, data: bytes) -> None:
    """Write everything, waiting as the main thread would."""
    rest = memoryview(data)
    while rest:
        sent = transport.write_nowait(rest)
        rest = rest[sent:]
        if not sent:
            assert wait_for(transport.fileno(), None, write=True, timeout=DEADLINE)


def fill(transport: Transport, piece: bytes = b"x" * 65536) -> int:
    """Write until nothing fits any more; return how many bytes did."""
    total = 0
    while sent := transport.write_nowait(piece):
        total += sent
    return total


def read_exactly(peer: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    data = bytearray()
    while len(data) < size:
        more = peer.recv(min(65536, size - len(data)))
        assert more, f"end after {len(data)} bytes"
        data += more
    return bytes(data)


# All kinds.


def test_read_returns_what_came(ends: Ends) -> None:
    """What was there before, and what comes while it waits."""
    ends.peer.sendall(b"one")
    assert ends.ours.read() == b"one"
    reader = Reader(ends.ours)
    ends.peer.sendall(b"two")
    assert reader.get() == b"two"


def test_read_takes_a_bounded_piece(ends: Ends) -> None:
    """The rest stays for the next read, and can be told to be there."""
    data = os.urandom(3 * READ_SIZE + 17)
    sender = threading.Thread(target=ends.peer.sendall, args=(data,))
    sender.start()
    got = b""
    while len(got) < len(data):
        piece = ends.ours.read(monotonic() + DEADLINE)
        assert 0 < len(piece) <= READ_SIZE
        got += piece
    sender.join(DEADLINE)

    assert got == data
    assert not ends.ours.has_data()


def test_read_gives_up_at_its_deadline(ends: Ends) -> None:
    """Not before, and at once if it's over; data that is there goes first."""
    deadline = monotonic() + 0.05
    with pytest.raises(TimeoutError):
        ends.ours.read(deadline)
    assert monotonic() >= deadline
    with pytest.raises(TimeoutError):
        ends.ours.read(deadline)
    ends.peer.sendall(b"x")
    assert wait_until(ends.ours.has_data)
    assert ends.ours.read(deadline) == b"x"


def test_read_nowait_does_not_wait(ends: Ends) -> None:
    """Nothing is :obj:`None`, the end is empty, and stays so."""
    assert ends.ours.read_nowait() is None
    ends.peer.sendall(b"x")
    assert wait_until(ends.ours.has_data)
    assert ends.ours.read_nowait() == b"x"
    assert ends.ours.read_nowait() is None
    ends.finish_peer()
    assert wait_until(lambda: ends.ours.read_nowait() == b"")
    assert ends.ours.read_nowait() == b""
    assert ends.ours.read() == b""


def test_end_of_the_peer_ends_the_wait(ends: Ends) -> None:
    """Its reader learns of it; writing still works."""
    reader = Reader(ends.ours)
    ends.finish_peer()
    assert reader.get() == b""
    assert ends.ours.write_nowait(b"bye") == 3
    assert read_exactly(ends.peer, 3) == b"bye"


def test_reset_is_an_error_for_everybody(ends: Ends) -> None:
    """The peer's name stays known; what follows does no harm."""
    name = ends.ours.getpeername()
    reader = Reader(ends.ours)
    reader.wait_until_it_waits()
    ends.reset()
    result = reader.get()
    # TLS can't tell a lost connection from an end without close_notify.
    assert result == b"" or isinstance(result, OSError)
    assert ends.ours.getpeername() == name
    assert name[0] == "127.0.0.1"

    def lost() -> bool:
        try:
            ends.ours.write_nowait(b"x")
        except OSError:
            return True
        return False

    assert wait_until(lost)
    ends.ours.interrupt()
    ends.ours.finish_writing()
    ends.ours.abort()


def test_interrupt_ends_the_wait_and_nothing_else(ends: Ends) -> None:
    """What the peer sends later still arrives, its end is seen, we can write."""
    reader = Reader(ends.ours)
    reader.wait_until_it_waits()
    ends.ours.interrupt()
    assert reader.get() == b""
    ends.ours.interrupt()
    assert ends.ours.read_nowait() is None
    assert ends.ours.write_nowait(b"bye") == 3
    assert read_exactly(ends.peer, 3) == b"bye"
    for piece in (b"late", b"later"):
        ends.peer.sendall(piece)
        got = b""
        while len(got) < len(piece):
            got += wait_for_data(ends.ours)
        assert got == piece
        assert ends.ours.read_nowait() is None
    ends.finish_peer()
    assert wait_for_data(ends.ours) == b""
    assert ends.ours.read_nowait() == b""


def wait_for_data(transport: Transport) -> bytes:
    """Read without blocking until there is something, as the main thread does."""
    result: list[bytes] = []

    def read() -> bool:
        data = transport.read_nowait()
        if data is not None:
            result.append(data)
        return data is not None

    assert wait_until(read)
    return result[0]


def test_interrupt_before_the_read_counts(ends: Ends) -> None:
    """No wake is lost between two reads, with a deadline or without."""
    ends.ours.interrupt()

    assert Reader(ends.ours).get() == b""
    assert Reader(ends.ours, monotonic() + DEADLINE).get() == b""


def test_interrupt_ends_a_wait_with_a_deadline(ends: Ends) -> None:
    """Long before the deadline."""
    reader = Reader(ends.ours, monotonic() + 10 * DEADLINE)
    reader.wait_until_it_waits()
    ends.ours.interrupt()
    assert reader.get() == b""


def test_interrupts_of_many_threads_are_one(ends: Ends) -> None:
    """Whoever comes first."""
    reader = Reader(ends.ours)
    threads = [threading.Thread(target=ends.ours.interrupt) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert reader.get() == b""
    for thread in threads:
        thread.join(DEADLINE)


def test_write_takes_what_fits(ends: Ends) -> None:
    """Then nothing, until the peer reads; the bytes arrive in order."""
    total = fill(ends.ours)
    assert total > 0
    assert ends.ours.write_nowait(b"x" * 65536) == 0
    # A transport whose last write was put off gets the same data again.
    reader = threading.Thread(target=read_exactly, args=(ends.peer, total))
    reader.start()
    write_all(ends.ours, b"x" * 65536)
    reader.join(DEADLINE)
    assert read_exactly(ends.peer, 65536) == b"x" * 65536


def test_large_data_goes_out_in_pieces(ends: Ends) -> None:
    """Whatever their sizes, nothing is lost, doubled or mixed up."""
    data = os.urandom(2**21 + 1)
    got: list[bytes] = []
    reader = threading.Thread(
        target=lambda: got.append(read_exactly(ends.peer, len(data)))
    )
    reader.start()
    write_all(ends.ours, data)
    reader.join(DEADLINE)
    assert got == [data]


def test_both_directions_at_once(ends: Ends) -> None:
    """A reader that waits never holds up a writer, nor the other way round (E7)."""
    size = 2**20
    up, down = os.urandom(size), os.urandom(size)
    got: dict[str, bytes] = {}

    def read_ours() -> None:
        data = b""
        while len(data) < size:
            data += ends.ours.read(monotonic() + DEADLINE)
        got["up"] = data

    def read_theirs() -> None:
        data = bytearray()
        while len(data) < size:
            with lock, contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
                data += ends.peer.recv(65536)
        got["down"] = bytes(data)

    def write_theirs() -> None:
        rest = memoryview(up)
        while rest:
            with lock, contextlib.suppress(ssl.SSLWantWriteError, BlockingIOError):
                rest = rest[ends.peer.send(rest[:16384]) :]

    # The peer is a plain ssl socket of Python, which threads mustn't share either.
    lock = threading.Lock()
    ends.peer.setblocking(False)
    threads = [
        threading.Thread(target=target, args=args)
        for target, args in (
            (read_ours, ()),
            (read_theirs, ()),
            (write_theirs, ()),
            (write_all, (ends.ours, down)),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert got == {"up": up, "down": down}


def test_unsent_data_can_be_limited(ends: Ends) -> None:
    """Where the system can do that, a peer that doesn't read fills much less."""
    ends.ours.limit_unsent(4096)

    filled = fill(ends.ours, b"x" * 1024)

    assert filled > 0
    if module.LINUX:
        with socket.socket(fileno=os.dup(ends.ours.fileno())) as same:
            limit = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        assert limit == 4096


def test_unsent_data_of_a_unix_socket_is_not_limited() -> None:
    """It has no such option; the outbox still limits what we keep."""
    ours, peer = socket.socketpair()
    with ours, peer:
        PollTransport(ours, "", WakeGroup()).limit_unsent(4096)
        assert ours.send(b"x") == 1


def test_finish_writing_ends_our_side_only(ends: Ends) -> None:
    """The peer sees the end, and may go on sending; twice is once.

    Over TLS, what it sends isn't decrypted any more.
    """
    ends.ours.write_nowait(b"bye")
    ends.ours.finish_writing()
    ends.ours.finish_writing()

    assert read_exactly(ends.peer, 3) == b"bye"
    assert ends.peer.recv(1) == b""
    ends.peer.sendall(b"late")
    assert ends.ours.read()


def test_abort_ends_everything_but_the_descriptor(ends: Ends) -> None:
    """The reader wakes, the peer sees the end, and the number isn't reused."""
    reader = Reader(ends.ours)
    reader.wait_until_it_waits()
    ends.ours.abort()
    assert reader.get() in (b"",)
    assert ends.ours.fileno() >= 0
    with pytest.raises(OSError):
        while True:
            ends.ours.write_nowait(b"x")
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        assert ends.peer.recv(1) == b""
    ends.ours.abort()


def test_closed_transport_has_no_descriptor(ends: Ends) -> None:
    """Asking for its peer's name still works; cutting it does no harm."""
    name = ends.ours.getpeername()
    assert ends.ours.getsockname()[0] == "127.0.0.1"
    ends.ours.close()
    ends.ours.close()
    assert ends.ours.fileno() == -1
    assert ends.ours.getpeername() == name
    ends.ours.abort()
    ends.ours.interrupt()


# Those that poll, and their groups.


def test_closed_transport_lets_go_of_its_group(certificate: Certificate) -> None:
    """Whoever keeps a client must not keep descriptors."""
    for kind in ("poll", "tls"):
        ends = Ends(kind, certificate, WakeGroup())
        descriptor = ends.group.current.read_end
        ends.ours.close()
        assert ends.ours.read() == b""
        os.fstat(descriptor)
        ends.group = WakeGroup()
        with pytest.raises(OSError):
            os.fstat(descriptor)
        ends.peer.close()


@pytest.mark.parametrize("kind", ["poll", "tls"])
def test_one_of_a_group_is_interrupted_and_others_stay(
    kind: str, certificate: Certificate
) -> None:
    """All wake, one leaves, the others wait on the next pipe, again and again."""
    group = WakeGroup()
    count = 6
    all_ends = [Ends(kind, certificate, group) for _ in range(count)]
    readers = [Reader(ends.ours) for ends in all_ends]
    for reader in readers:
        reader.wait_until_it_waits()
    while len(all_ends) > 1:
        leaving = all_ends.pop()
        leaving.ours.interrupt()
        assert readers.pop().get() == b""
        leaving.close()
        for reader in readers:
            assert reader.is_alive()
    all_ends[0].peer.sendall(b"still here")
    assert readers[0].get() == b"still here"
    all_ends[0].close()


def test_all_of_a_group_are_interrupted_at_once(certificate: Certificate) -> None:
    """No wake is lost, however the wakers and readers interleave."""
    for _ in range(30):
        group = WakeGroup()
        all_ends = [Ends("poll", certificate, group) for _ in range(6)]
        readers = [Reader(ends.ours) for ends in all_ends]
        wakers = [threading.Thread(target=ends.ours.interrupt) for ends in all_ends]
        for waker in wakers:
            waker.start()
        assert [reader.get() for reader in readers] == [b""] * len(readers)
        for waker in wakers:
            waker.join(DEADLINE)
        for ends in all_ends:
            ends.close()


def test_interrupt_just_before_the_wait_counts(certificate: Certificate) -> None:
    """The reader takes the pipe before it looks whether it's interrupted."""
    ends = Ends("poll", certificate, WakeGroup())

    class Group(WakeGroup):
        @property
        def current(self) -> Any:
            ends.ours.interrupt()
            return self.pipe

        @current.setter
        def current(self, pipe: Any) -> None:
            self.pipe = pipe

    ends.ours._group = Group()  # type: ignore[attr-defined]

    assert Reader(ends.ours).get() == b""
    ends.close()


def no_descriptor() -> tuple[int, int]:
    """Fail as the system does when there are no descriptors."""
    raise OSError(24, "Too many open files")


def test_without_a_descriptor_for_the_next_pipe_the_connection_is_cut(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader must wake in any case; the others of the group notice nothing."""
    group = WakeGroup()
    one, other = (Ends("poll", certificate, group) for _ in range(2))
    readers = [Reader(one.ours), Reader(other.ours)]
    for reader in readers:
        reader.wait_until_it_waits()
    monkeypatch.setattr(module, "_Pipe", no_descriptor)

    one.ours.interrupt()

    assert readers[0].get() == b""
    assert one.peer.recv(1) == b""
    other.peer.sendall(b"fine")
    assert readers[1].get() == b"fine"
    one.close()
    other.close()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_no_descriptor_for_a_group_is_one_error_and_no_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The destructor of what was never made has nothing to say."""
    noise: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", noise.append)
    monkeypatch.setattr(os, "pipe", no_descriptor)

    with pytest.raises(OSError, match="Too many open files"):
        WakeGroups().join()

    assert noise == []


def test_groups_are_shared_by_a_bounded_number() -> None:
    """So many members wake at once; the last group is let go at the end."""
    groups = WakeGroups(members=3)

    joined = [groups.join() for _ in range(7)]

    assert [joined.index(group) for group in joined] == [0, 0, 0, 3, 3, 3, 6]
    groups.close()
    assert groups.join() is not joined[-1]


@pytest.mark.parametrize("deadline", [True, False])
def test_reader_that_is_woken_for_nothing_waits_on(
    certificate: Certificate, deadline: bool
) -> None:
    """Until its own deadline, which the wake of another one doesn't move."""
    ends = Ends("poll", certificate, WakeGroup())
    reader = Reader(ends.ours, monotonic() + 10 * DEADLINE if deadline else None)
    for _ in range(5):
        reader.wait_until_it_waits()
        ends.group.wake()
    assert reader.is_alive()
    ends.peer.sendall(b"x")
    assert reader.get() == b"x"
    ends.close()


# TLS.


@pytest.fixture
def tls(certificate: Certificate) -> Iterator[Ends]:
    """A TLS connection."""
    ends = Ends("tls", certificate, WakeGroup())
    yield ends
    ends.close()


def test_decrypted_data_counts_as_readable(tls: Ends) -> None:
    """OpenSSL may hold what the socket doesn't have any more."""
    tls.peer.sendall(b"x" * 1000)
    assert wait_until(tls.ours.has_data)
    with tls.ours._lock:  # type: ignore[attr-defined]
        assert tls.ours._tls.recv(1) == b"x"  # type: ignore[attr-defined]

    assert not wait_for(tls.ours.fileno(), None, write=False, timeout=0)
    assert tls.ours.has_data()
    assert tls.ours.read() == b"x" * 999
    assert not tls.ours.has_data()


def test_garbage_instead_of_a_record_is_a_lost_connection(tls: Ends) -> None:
    """An OSError that says what it was."""
    raw = socket.socket(fileno=os.dup(tls.peer.fileno()))
    raw.sendall(b"\x17\x03\x03\x00\x20" + b"garbage!" * 4)
    raw.close()

    with pytest.raises(ConnectionResetError, match=r"TLS: .*(MAC|RECORD)"):
        tls.ours.read(monotonic() + DEADLINE)
    with pytest.raises(ConnectionResetError, match="TLS: "):
        while True:
            tls.ours.write_nowait(b"x")


def test_end_without_close_notify_is_the_end(tls: Ends) -> None:
    """Many clients just close; frames tell a message that was cut."""
    socket.socket.shutdown(tls.peer, socket.SHUT_WR)

    assert tls.ours.read(monotonic() + DEADLINE) == b""


def test_finish_writing_sends_close_notify(tls: Ends) -> None:
    """The peer can tell our end from one that an attacker made (RFC 8446, 6.1)."""
    tls.ours.write_nowait(b"bye")
    tls.ours.finish_writing()

    # The peer is strict: an end without close_notify would raise SSLEOFError.
    assert read_exactly(tls.peer, 3) == b"bye"
    assert tls.peer.recv(1) == b""


def test_end_without_close_notify_is_noticed_by_a_strict_peer(tls: Ends) -> None:
    """So that the test above means something."""
    tls.ours.abort()

    with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
        tls.peer.recv(1)


def test_finish_writing_after_the_peer_has_left(tls: Ends) -> None:
    """There is nobody to tell, and nothing raises."""
    tls.peer.close()
    # Closing with something unread is a reset.
    with contextlib.suppress(ConnectionResetError):
        assert tls.ours.read(monotonic() + DEADLINE) == b""

    tls.ours.finish_writing()
