"""The core's only door: two protocols, coupled in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import hypothesis
import hypothesis.strategies as st
import pytest

from websock.closing import Close, CloseCode
from websock.exceptions import (
    ConnectionClosed,
    InvalidRequest,
    LocalProtocolError,
    RemoteProtocolError,
    UpgradeRequired,
)
from websock.extensions.permessage_deflate import PerMessageDeflate
from websock.frames import Frame, Opcode
from websock.handshake import Response
from websock.headers import Headers
from websock.lifecycle import State
from websock.messages import Event, Ping, Pong
from websock.protocol import Protocol, Side, close_for
from websock.request import Request, RequestReader
from websock.writer import SharedMessage

REQUEST = (
    b"GET /chat?x=1 HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)


def state(protocol: Protocol) -> State:
    """State at this moment; type checkers believe that an attribute stays."""
    return protocol.state


def sent(protocol: Protocol) -> bytes:
    """Bytes that a protocol has to send."""
    return b"".join(protocol.data_to_send())


def exchange(sender: Protocol, receiver: Protocol, *, answer: bool) -> list[Event]:
    """Carry everything over, byte by byte; perhaps let the receiver answer."""
    data = sent(sender)
    events = list(
        itertools.chain.from_iterable(
            receiver.receive_data(data[i : i + 1]) for i in range(len(data))
        )
    )
    if answer:
        for event in events:
            receiver.respond(event)
    return events


@pytest.fixture(params=[Side.SERVER, Side.CLIENT], ids=["server", "client"])
def pair(request: pytest.FixtureRequest) -> tuple[Protocol, Protocol]:
    """Two open protocols, of which each side is the first one once."""
    other = Side.CLIENT if request.param is Side.SERVER else Side.SERVER
    return Protocol(request.param), Protocol(other)


def connecting() -> tuple[Protocol, Request]:
    """Server that has read a request."""
    protocol = Protocol(Side.SERVER, reader=RequestReader())
    request = protocol.receive_request(REQUEST)
    assert request is not None
    return protocol, request


# Opening.


def test_server_accepts_a_request() -> None:
    """The answer is that of RFC 6455, 1.2 and 4.2.2."""
    protocol, request = connecting()
    assert state(protocol) is State.CONNECTING

    response = protocol.accept(request, subprotocol="chat", headers=Headers({"X": "y"}))

    data = sent(protocol)
    assert response.status == 101
    assert data.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in data
    assert data.endswith(b"\r\n\r\n")
    assert state(protocol) is State.OPEN
    assert protocol.was_accepted
    assert protocol.side is Side.SERVER
    assert protocol.extensions == ()
    assert sent(protocol) == b""


def test_agreed_extensions_take_effect() -> None:
    """What the 101 says goes for the frames after it (9.1)."""
    protocol, request = connecting()

    protocol.accept(request, extensions=[PerMessageDeflate()])

    assert b"permessage-deflate" in sent(protocol)
    [extension] = protocol.extensions
    assert extension.name == "permessage-deflate"
    protocol.send_message("x" * 1000)
    assert len(sent(protocol)) < 100


def test_frames_in_the_packet_of_the_request_are_kept() -> None:
    """They are read once the request is accepted (A19)."""
    protocol = Protocol(Side.SERVER, reader=RequestReader())
    client = Protocol(Side.CLIENT)
    client.send_message("early")
    request = protocol.receive_request(REQUEST + sent(client))
    assert request is not None

    protocol.accept(request)
    client.send_message("late")

    assert protocol.receive_data(sent(client)) == ["early", "late"]
    assert protocol.extensions == ()


def test_bytes_behind_the_request_can_be_taken() -> None:
    """Once, by who feeds them in pieces; then they don't come by themselves."""
    protocol = Protocol(Side.SERVER, reader=RequestReader())
    client = Protocol(Side.CLIENT)
    client.send_message("early")
    early = sent(client)
    request = protocol.receive_request(REQUEST + early)
    assert request is not None
    protocol.accept(request)

    assert protocol.take_early() == early
    assert protocol.take_early() == b""
    assert protocol.receive_data(b"") == []
    assert protocol.receive_data(early[:3]) == []
    assert protocol.receive_data(early[3:]) == ["early"]


def test_protocol_knows_whether_it_is_between_messages() -> None:
    """Not before there may be any."""
    protocol, request = connecting()
    answers = [protocol.is_between_messages]
    protocol.accept(request)
    answers.append(protocol.is_between_messages)
    protocol.receive_data(b"\x81")
    answers.append(protocol.is_between_messages)

    assert answers == [False, True, False]


def test_request_comes_in_pieces() -> None:
    """Nothing is decided before it's complete."""
    protocol = Protocol(Side.SERVER, reader=RequestReader())

    results = [
        protocol.receive_request(REQUEST[i : i + 1]) for i in range(len(REQUEST))
    ]

    assert results[:-1] == [None] * (len(REQUEST) - 1)
    assert results[-1] is not None
    assert results[-1].path == "/chat"
    with pytest.raises(LocalProtocolError, match="read already"):
        protocol.receive_request(b"x")


def test_refusal_says_why() -> None:
    """An error becomes a response; then the connection can only end."""
    protocol = Protocol(Side.SERVER, reader=RequestReader())
    with pytest.raises(InvalidRequest) as caught:
        protocol.receive_request(b"nonsense\r\n\r\n")

    protocol.reject(caught.value)

    assert not protocol.was_accepted
    data = sent(protocol)
    assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert str(caught.value).encode() in data
    assert state(protocol) is State.CLOSING
    assert not protocol.can_send()


def test_refusal_of_an_unreadable_head_request_has_no_body() -> None:
    """Its method is known by then (RFC 9110, 9.3.2)."""
    protocol = Protocol(Side.SERVER, reader=RequestReader())
    with pytest.raises(InvalidRequest) as caught:
        protocol.receive_request(b"HEAD / HTTP/1.1\r\nno colon\r\n\r\n")

    protocol.reject(caught.value)

    assert sent(protocol).endswith(b"\r\n\r\n")


def test_plain_request_is_no_handshake() -> None:
    """``accept`` refuses it, and nothing was sent (4.2.1)."""
    protocol = Protocol(Side.SERVER, reader=RequestReader())
    request = protocol.receive_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert request is not None

    with pytest.raises(UpgradeRequired):
        protocol.accept(request)

    assert state(protocol) is State.CONNECTING
    assert sent(protocol) == b""


def test_response_of_plain_http_is_sent() -> None:
    """With its body, or for HEAD without."""
    for head in (False, True):
        protocol, _ = connecting()

        protocol.reject(Response(200, {}, "page"), head=head)

        assert sent(protocol).endswith(b"\r\n\r\n" if head else b"\r\n\r\npage")


@pytest.mark.parametrize(
    "use",
    [
        lambda protocol: protocol.receive_data(b""),
        lambda protocol: protocol.send_message("x"),
        lambda protocol: protocol.send_ping(),
        lambda protocol: protocol.send_close(Close(1000)),
    ],
)
def test_nothing_but_the_handshake_before_its_end(
    use: Callable[[Protocol], object],
) -> None:
    """No frames in CONNECTING (4.1)."""
    protocol = Protocol(Side.SERVER, reader=RequestReader())

    with pytest.raises(LocalProtocolError):
        use(protocol)

    assert state(protocol) is State.CONNECTING


# Open.


def test_messages_and_control_frames_arrive(pair: tuple[Protocol, Protocol]) -> None:
    """What one side sends, the other one reads, in order."""
    one, other = pair
    one.send_message("text")
    one.send_ping(b"ping")
    one.send_message(b"binary", fragment_size=2)
    one.send_pong(b"pong")
    one.send_frame(Frame(Opcode.TEXT, b"frame"))

    events = exchange(one, other, answer=True)

    assert events == ["text", Ping(b"ping"), b"binary", Pong(b"pong"), "frame"]
    assert exchange(other, one, answer=True) == [Pong(b"ping")]


def test_encoding_and_sending_may_be_apart() -> None:
    """Encoding takes long, and needs no lock of the rest; then it must be sent."""
    server, client = Protocol(Side.SERVER), Protocol(Side.CLIENT)

    encoded = [
        server.encode_message("text"),
        server.encode_frame(Frame(Opcode.TEXT, b"a", fin=False)),
        server.encode_frame(Frame(Opcode.CONTINUATION, b"b")),
        server.encode_shared(SharedMessage("all")),
    ]
    assert sent(server) == b""
    for data in encoded:
        server.send_encoded(data)

    assert exchange(server, client, answer=False) == ["text", "ab", "all"]
    with pytest.raises(LocalProtocolError, match="handshake"):
        Protocol(Side.SERVER, reader=RequestReader()).encode_message("early")


def test_message_in_frames_is_known_to_be_unfinished() -> None:
    """Nobody else can send a message then."""
    protocol = Protocol(Side.SERVER, reader=RequestReader())
    assert not protocol.is_mid_message
    protocol = Protocol(Side.SERVER)
    protocol.send_frame(Frame(Opcode.TEXT, b"a", fin=False))
    assert protocol.is_mid_message


def test_shared_message_goes_to_many() -> None:
    """Encoded once, sent by each."""
    message = SharedMessage("all")
    for _ in range(2):
        server, client = Protocol(Side.SERVER), Protocol(Side.CLIENT)

        server.send_shared(message)

        assert exchange(server, client, answer=False) == ["all"]


def test_text_that_cannot_be_encoded_changes_nothing() -> None:
    """A mistake of the caller leaves the connection as it is."""
    protocol = Protocol(Side.SERVER)

    with pytest.raises(LocalProtocolError):
        protocol.send_message("\ud800")

    assert sent(protocol) == b""
    assert state(protocol) is State.OPEN


def test_close_frames_are_sent_by_closing() -> None:
    """A Close frame made by hand would bypass the state."""
    protocol = Protocol(Side.SERVER)

    with pytest.raises(LocalProtocolError, match="by closing"):
        protocol.send_frame(Frame(Opcode.CLOSE, b"\x03\xe8"))

    assert sent(protocol) == b""


# Closing.


def test_close_is_answered_with_its_code(pair: tuple[Protocol, Protocol]) -> None:
    """Code and reason come back; both sides know both frames (5.5.1)."""
    one, other = pair
    close = Close(4000, "enough")
    one.send_close(close)

    assert exchange(one, other, answer=True) == [close]
    assert exchange(other, one, answer=True) == [close]

    for protocol in pair:
        assert (protocol.close_rcvd, protocol.close_sent) == (close, close)
        assert state(protocol) is State.CLOSING
        protocol.receive_eof()
        assert state(protocol) is State.CLOSED


def test_both_may_close_at_once(pair: tuple[Protocol, Protocol]) -> None:
    """Close frames that cross each other get no further answer (7.1.3)."""
    one, other = pair
    one.send_close(Close(1000))
    other.send_close(Close(1001))
    from_one, from_other = sent(one), sent(other)

    for protocol, data in ((one, from_other), (other, from_one)):
        for event in protocol.receive_data(data):
            protocol.respond(event)

    assert one.close_rcvd == Close(1001)
    assert other.close_rcvd == Close(1000)
    assert sent(one) == sent(other) == b""


def test_messages_may_follow_a_close_that_is_not_answered_yet() -> None:
    """An endpoint may finish what it has to say (5.5.1)."""
    server, client = Protocol(Side.SERVER), Protocol(Side.CLIENT)
    client.send_close(Close(1000))
    [close] = server.receive_data(sent(client))
    assert isinstance(close, Close)

    server.mark_close_rcvd(close)
    assert state(server) is State.CLOSING
    server.send_message("farewell")
    server.respond(close)

    assert exchange(server, client, answer=False) == ["farewell", close]


@pytest.mark.parametrize(
    "use",
    [
        lambda protocol: protocol.send_message("x"),
        lambda protocol: protocol.send_shared(SharedMessage("x")),
        lambda protocol: protocol.send_frame(Frame(Opcode.TEXT, b"")),
        lambda protocol: protocol.send_ping(),
        lambda protocol: protocol.send_pong(),
        lambda protocol: protocol.send_close(Close(1000)),
        lambda protocol: protocol.check_can_send(),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
def test_nothing_is_sent_after_close_or_loss(
    use: Callable[[Protocol], object], lost: bool
) -> None:
    """The Close frame is the last one (5.5.1); a lost connection has no more."""
    protocol = Protocol(Side.SERVER)
    if lost:
        protocol.receive_eof()
    else:
        protocol.send_close(Close(1001))
        sent(protocol)

    with pytest.raises(ConnectionClosed) as caught:
        use(protocol)

    assert caught.value.sent == (None if lost else Close(1001))
    assert sent(protocol) == b""
    protocol.respond(Ping(b"x"))
    assert sent(protocol) == b""


def test_close_of_a_lost_connection_is_still_noted() -> None:
    """A sender may find the loss before the reader finds the Close frame."""
    protocol = Protocol(Side.SERVER)
    protocol.receive_eof()

    protocol.mark_close_rcvd(Close(1000))
    protocol.mark_close_rcvd(Close(1001))

    assert protocol.close_rcvd == Close(1000)
    assert state(protocol) is State.CLOSED


def test_invalid_close_sends_nothing() -> None:
    """The connection stays open."""
    protocol = Protocol(Side.SERVER)

    with pytest.raises(LocalProtocolError):
        protocol.send_close(Close(1006))

    assert state(protocol) is State.OPEN
    assert sent(protocol) == b""


def test_fault_is_answered_with_its_code(pair: tuple[Protocol, Protocol]) -> None:
    """Failing the connection includes a Close frame that says why (7.1.7)."""
    one, other = pair
    [fault] = one.receive_data(b"\x83\x00")
    assert isinstance(fault, RemoteProtocolError)

    one.respond(fault)

    [close] = exchange(one, other, answer=False)
    assert close == Close(CloseCode.PROTOCOL_ERROR, str(fault))


def test_reason_of_a_fault_fits() -> None:
    """A long sentence is cut between two characters (5.5)."""
    close = close_for(RemoteProtocolError("x" + "é" * 100))

    assert close.reason == "x" + "é" * 61
    assert len(close.reason.encode()) == 123


@hypothesis.given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from(["text", "ping", "close", "deliver", "answer", "eof"]),
        ),
        max_size=30,
    )
)
def test_any_order_keeps_the_rules(steps: list[tuple[int, str]]) -> None:
    """One Close frame each way, nothing behind it, no fault on either side."""
    pair = (Protocol(Side.SERVER), Protocol(Side.CLIENT))
    wires: list[list[bytes]] = [[], []]
    pending: list[list[Event]] = [[], []]
    seen: list[list[Event]] = [[], []]

    for who, step in steps:
        protocol = pair[who]
        if step == "deliver":
            for data in wires[1 - who]:
                pending[who] += protocol.receive_data(data)
            wires[1 - who] = []
        elif step == "answer":
            for event in pending[who]:
                protocol.respond(event)
            seen[who] += pending[who]
            pending[who] = []
        elif step == "eof":
            protocol.receive_eof()
        elif protocol.can_send():
            if step == "text":
                protocol.send_message("x")
            elif step == "ping":
                protocol.send_ping(b"y")
            else:
                protocol.send_close(Close(1000))
        wires[who] += protocol.data_to_send()

    for events in seen:
        assert not any(isinstance(event, RemoteProtocolError) for event in events)
        assert sum(isinstance(event, Close) for event in events) <= 1
        assert not any(isinstance(event, Close) for event in events[:-1])
