"""Fan-out of the accelerator: who gets a frame the short way, and who doesn't."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from websock import link

from .fake_wire import DEADLINE
from .linked_wire import require_link, step, tcp_pair

FRAME = b"\x82\x05hello"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection: ours, and the peer's."""
    require_link()
    ours, peer = tcp_pair()
    peer.settimeout(DEADLINE)
    with ours, peer:
        yield ours, peer


Ends = tuple[socket.socket, socket.socket]


def make_link(sock: socket.socket) -> Any:
    """Make a link whose connection is open."""
    short_cut = link.Link(sock.fileno(), link.Corks(lambda: None), None)
    short_cut.plain = True
    return short_cut


def take(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    data = bytearray()
    while len(data) < size:
        data += sock.recv(size - len(data))
    return bytes(data)


def test_frame_goes_to_all_who_take_it_at_once(ends: Ends) -> None:
    """Others are named: those without a link, and those for whom it isn't plain."""
    ours, peer = ends
    with socket.socket() as other:
        not_plain = make_link(other)
        not_plain.plain = False

        unsent, begun = link.send_all((None, make_link(ours), not_plain), FRAME)

    assert (list(unsent), list(begun)) == ([0, 2], [])
    assert take(peer, len(FRAME)) == FRAME


def test_nobody_waits_for_who_is_writing(ends: Ends) -> None:
    """The lock may be held for as long as somebody waits for the GIL."""
    ours, _ = ends
    short_cut = make_link(ours)

    with short_cut:
        assert link.send_all((short_cut,), FRAME) == ([0], [])
    assert link.send_all((short_cut,), FRAME) == ([], [])


def test_what_is_corked_comes_first(ends: Ends) -> None:
    """The connection takes it, and sends the frame behind it."""
    ours, peer = ends
    busy: list[bool] = []
    corks = link.Corks(lambda: busy.append(True))
    short_cut = link.Link(ours.fileno(), corks, None)
    short_cut.plain = True
    fates: list[Any] = []

    def callback(client: object, message: str | bytes) -> None:
        if corks.corking:
            assert short_cut.send(b"corked")
            fates.append(link.send_all((short_cut,), FRAME))

    for _ in range(64):
        peer.sendall(b"\x82\x80\0\0\0\0")
        step(short_cut, lambda: callback, None, None)

    assert busy
    assert fates
    assert all(fate == ([0], []) for fate in fates)


def test_rest_of_a_frame_that_has_begun_is_the_connections(ends: Ends) -> None:
    """It's corked: nothing else can come in between."""
    ours, peer = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    short_cut = make_link(ours)
    frame = bytes(2**20)

    assert link.send_all((short_cut,), frame) == ([], [0])
    # Whatever comes next has to wait for it.
    assert link.send_all((short_cut,), FRAME) == ([0], [])
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(take(peer, len(frame))))
    reader.start()
    with short_cut:
        rest = short_cut.take()
    assert 0 < len(rest) < len(frame)
    ours.setblocking(True)
    ours.sendall(rest)
    reader.join(DEADLINE)
    assert got == [frame]


def test_lost_connection_is_the_connections(ends: Ends) -> None:
    """It notices when it tries."""
    ours, peer = ends
    short_cut = make_link(ours)
    ours.shutdown(socket.SHUT_WR)

    assert link.send_all((short_cut,), FRAME) == ([0], [])
    assert peer.recv(1) == b""


@pytest.mark.parametrize(
    "arguments",
    [(), ((),), ([], FRAME), ((), "x"), ((), FRAME, 1), (("x",), FRAME)],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments: tuple[Any, ...]) -> None:
    """As Python's own functions do."""
    require_link()
    with pytest.raises(TypeError):
        link.send_all(*arguments)


def test_nobody_gets_nothing() -> None:
    """Nor is anybody named."""
    unsent, begun = link.send_all((), FRAME)

    assert (list(unsent), list(begun)) == ([], [])
