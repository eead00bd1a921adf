"""Connections on a fake transport: responses whose content is read while it's sent."""

from __future__ import annotations

import pytest

from websock.handshake import Response
from websock.lifecycle import State
from websock.outbox import ENTRY_COST, UNSENT_LIMIT

from .fake_wire import Wire


class Pieces:
    """A source that gives pieces, or fails where one is an error."""

    def __init__(self, *pieces: bytes | BaseException) -> None:
        self.pieces = list(pieces)
        self.size = sum(len(p) for p in pieces if isinstance(p, bytes))
        self.closed = 0

    def read(self) -> bytes:
        """Give the next piece."""
        assert not self.closed
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def close(self) -> None:
        """Count."""
        self.closed += 1


def attach(wire: Wire, source: Pieces) -> None:
    """Answer a request with a source."""
    wire.connection.reject(Response(200, source=source), head=False)
    wire.connection.finish()


def test_source_is_read_as_fast_as_the_peer_reads() -> None:
    """A piece at a time, when nothing else waits; the end comes behind the last."""
    wire = Wire(10, opened=False)
    source = Pieces(b"a" * 100, b"b" * 100)

    attach(wire, source)

    assert wire.keeper.calls[0] == "flush"
    assert len(source.pieces) == 2
    # What is left of the head goes first.
    assert not wire.flush()
    assert len(source.pieces) == 2
    assert not wire.flush()
    assert len(source.pieces) == 1
    assert not wire.flush(50)
    assert not wire.flush(0)
    assert not wire.flush(0)
    assert (len(source.pieces), source.closed) == (0, 0)
    assert wire.connection._outbox.size == 50 + ENTRY_COST
    assert "finish" not in wire.transport.calls
    assert not wire.connection.is_over()
    assert not wire.flush(50)
    assert wire.flush(0)
    assert source.closed == 1
    assert wire.transport.calls == [f"limit {UNSENT_LIMIT}", "finish"]
    head, _, body = bytes(wire.transport.written).partition(b"\r\n\r\n")
    assert b"Content-Length: 200" in head
    assert body == b"a" * 100 + b"b" * 100


def test_peer_that_ends_its_side_gets_the_rest_of_a_source() -> None:
    """Its end says only that it has no more to ask."""
    wire = Wire(opened=False)
    source = Pieces(b"a" * 100, b"b" * 100)
    attach(wire, source)
    wire.transport.arrive(b"")

    assert not wire.connection.drain()
    assert not wire.connection.is_over()
    while not wire.flush():
        pass

    assert wire.connection.is_over()
    assert wire.transport.written.endswith(b"b" * 100)


def test_source_that_fails_cuts_the_connection() -> None:
    """The length was told before: less than that, and nothing else, may come."""
    wire = Wire(opened=False)
    source = Pieces(b"a" * 100, OSError(5, "gone"))
    attach(wire, source)

    assert wire.flush()

    assert source.closed == 1
    assert "abort" in wire.transport.calls
    assert wire.transport.written.endswith(b"a" * 100)
    assert wire.connection.state is State.CLOSED
    assert not wire.connection.drain()
    assert wire.connection.is_over()


def test_exit_that_a_source_asks_for_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A signal handler of the application may ask for it, too, at that moment."""
    wire = Wire(opened=False)
    source = Pieces(b"a" * 100, SystemExit(3))
    attach(wire, source)

    with pytest.raises(SystemExit):
        wire.flush()

    assert source.closed == 1
    assert wire.connection.state is State.CLOSED
    assert wire.flush()
    assert caplog.text == ""


@pytest.mark.parametrize("end", ["abort", "release", "enforce_end", "lost"])
def test_source_is_closed_whatever_ends_the_connection(end: str) -> None:
    """What it holds, a descriptor, isn't lost."""
    wire = Wire(0, opened=False)
    source = Pieces(b"a" * 100, b"b" * 100)
    attach(wire, source)
    assert not wire.flush(150)
    assert source.closed == 0

    if end == "lost":
        wire.transport.lost = True
        assert wire.flush()
    else:
        getattr(wire.connection, end)()

    assert source.closed == 1


@pytest.mark.parametrize("reason", ["HEAD", "lost", "wrong field"])
def test_source_that_is_not_sent_is_closed(reason: str) -> None:
    """Whoever made it relies on that."""
    wire = Wire(opened=False)
    source = Pieces(b"a" * 100)
    if reason == "lost":
        wire.connection.abort()
    response = Response(200, source=source)

    if reason == "wrong field":
        response.status = "\u00fc"  # type: ignore[assignment]
        with pytest.raises(ValueError, match="codec"):
            wire.connection.reject(response, head=False)
    else:
        wire.connection.reject(response, head=reason == "HEAD")

    assert source.closed == 1
    assert wire.connection._outbox.is_empty()
