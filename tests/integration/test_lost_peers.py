"""Peers that are gone before their messages have been dealt with."""

from __future__ import annotations

import logging
import struct

import pytest

from websock import Client, ConnectionClosed, WebSocketServer
from websock.frames import Frame, Opcode, serialize_frame

from .wire import DEADLINE, Peer, Recorder, make_server, running

KEY = b"\1\2\3\4"
COUNT = 100
# Sent in one piece with the request, so that it's there before the first callback.
BATCH = b"".join(
    serialize_frame(Frame(Opcode.TEXT, b"%d" % number), KEY) for number in range(COUNT)
) + serialize_frame(Frame(Opcode.CLOSE, struct.pack("!H", 4001) + b"bye"), KEY)


def send_and_be_lost(server: WebSocketServer, recorder: Recorder) -> tuple[int, str]:
    """Be a peer that sends a batch; return what its connection was closed with."""
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(Peer.request() + BATCH)
        _, code, reason = recorder.closed.get(timeout=DEADLINE)
    return code, reason


def test_callback_that_sends_fails_once_for_a_lost_peer(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Not again for each message that waits: one line, one call of on_error.

    The Close frame behind those messages still tells why the peer left.
    """
    calls: list[str | bytes] = []

    def echo(client: Client, data: str | bytes) -> None:
        calls.append(data)
        client._connection.abort()
        client.send(data)

    server = make_server(recorder, on_data_receive=echo)
    with caplog.at_level(logging.INFO, "websock"):
        closed = send_and_be_lost(server, recorder)

    assert calls == ["0"]
    assert isinstance(recorder.errors.get_nowait(), ConnectionClosed)
    assert recorder.errors.empty()
    assert len([r for r in caplog.records if "ConnectionClosed" in r.msg % r.args]) == 1
    assert closed == (4001, "bye")


def test_greeting_of_a_lost_peer_is_its_only_callback(recorder: Recorder) -> None:
    """But for that of the end."""

    def greet(client: Client) -> None:
        client._connection.abort()
        client.send("welcome")

    server = make_server(recorder, on_connection_open=greet)

    assert send_and_be_lost(server, recorder) == (4001, "bye")
    assert recorder.received.empty()


@pytest.mark.parametrize("policy", ["close", "continue"])
def test_callback_that_expects_the_loss_gets_every_message(
    recorder: Recorder, policy: str
) -> None:
    """What the peer has sent is worth something without an answer, too."""
    calls: list[str | bytes] = []

    def store(client: Client, data: str | bytes) -> None:
        calls.append(data)
        client._connection.abort()
        try:
            client.send("stored")
        except ConnectionClosed:
            if policy == "continue":
                # What else goes wrong isn't the peer's loss.
                raise KeyError(data) from None

    server = make_server(recorder, on_data_receive=store, callback_errors=policy)

    assert send_and_be_lost(server, recorder) == (4001, "bye")
    assert calls == [str(number) for number in range(COUNT)]
