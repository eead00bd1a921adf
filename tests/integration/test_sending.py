"""Sending: from any thread, never mixed up, never waiting for the wrong peer."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

import pytest

from tests.tools import wait_until
from websock import (
    BinaryMessage,
    Client,
    ConnectionClosed,
    Frame,
    LocalProtocolError,
    Opcode,
    SendTimeout,
    State,
    TextMessage,
    WebSocketServer,
)
from websock.extensions.permessage_deflate import DeflateExtension

from .wire import DEADLINE, Peer, Recorder, running

BIG = b"x" * 2**20


def make_server(recorder: Recorder, **options: Any) -> WebSocketServer:
    """Server on a free port of the loopback, without compression."""
    options = {"compression": None} | options
    return WebSocketServer("127.0.0.1", 0, **recorder.callbacks(), **options)


def fill(client: Client) -> int:
    """Send until the outbox is above its limit; return how many messages."""
    count = 0
    while client._connection._outbox.size < 2**20:
        client.send(BIG)
        count += 1
    return count


def test_every_type_of_message_arrives(recorder: Recorder) -> None:
    """Text, binary, messages that say what they are, and frames."""
    with (
        running(make_server(recorder)) as server,
        Peer(server.address).open() as peer,
    ):
        client = recorder.opened.get(timeout=DEADLINE)
        for data in ("é", b"\xff", bytearray(b"a"), memoryview(b"b")):
            client.send(data)
        client.send(TextMessage(b"c"))
        client.send(BinaryMessage("d"))
        client.send(Frame(Opcode.TEXT, b"e"))
        server.send(client, "f", Opcode.BINARY)
        server.send(client.address, "g")

        got = [peer.receive() for _ in range(9)]

        assert got == ["é", b"\xff", b"a", b"b", "c", b"d", "e", b"f", "g"]
        client.send("hello", fragment_size=2)
        frames = [peer.read_frame() for _ in range(3)]
        assert [(f.opcode, f.fin) for f in frames] == [
            (1, False),
            (0, False),
            (0, True),
        ]
        assert b"".join(f.payload for f in frames) == b"hello"
        with pytest.raises(LocalProtocolError):
            client.send("\ud800")
        with pytest.raises(TypeError, match="not int"):
            client.send(1)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_of_two_threads_never_mix(
    recorder: Recorder, compression: Any
) -> None:
    """Each arrives whole, and in order per sender, also when it's large (E14)."""
    from websockets.sync.client import connect

    server = make_server(recorder, compression=compression)
    with (
        running(server),
        connect(f"ws://127.0.0.1:{server.address[1]}", max_size=None) as ws,
    ):
        client = recorder.opened.get(timeout=DEADLINE)

        def talk(who: str) -> None:
            for i in range(20):
                client.send(f"{who} {i} " + who * 100_000)
                client.ping(b"between")

        threads = [threading.Thread(target=talk, args=(who,)) for who in "ab"]
        for thread in threads:
            thread.start()
        counts = {"a": 0, "b": 0}
        for _ in range(40):
            who, number, body = str(ws.recv(timeout=DEADLINE)).split()
            assert int(number) == counts[who]
            assert body == who * 100_000
            counts[who] += 1
        for thread in threads:
            thread.join(DEADLINE)


def test_slow_peer_gets_everything_through_the_outbox(recorder: Recorder) -> None:
    """What the socket doesn't take is flushed by the main thread, in order."""
    with (
        running(make_server(recorder)) as server,
        Peer(server.address).open() as peer,
    ):
        client = recorder.opened.get(timeout=DEADLINE)
        count = fill(client)
        client.ping(b"after")

        for _ in range(count):
            assert peer.receive() == BIG
        assert peer.read_frame().payload == b"after"
        assert wait_until(lambda: client._connection._outbox.size == 0)
        client.send("again")
        assert peer.receive() == "again"


def test_send_waits_for_room_and_goes_on(recorder: Recorder) -> None:
    """A full outbox holds its sender up, not the peer that begins to read."""
    with (
        running(make_server(recorder)) as server,
        Peer(server.address).open() as peer,
    ):
        client = recorder.opened.get(timeout=DEADLINE)
        count = fill(client)
        done = threading.Event()

        def send_more() -> None:
            client.send("more")
            done.set()

        sender = threading.Thread(target=send_more)
        sender.start()
        assert wait_until(lambda: bool(client._connection._turns))
        assert not done.is_set()
        for _ in range(count):
            peer.receive()
        assert peer.receive() == "more"
        assert done.wait(DEADLINE)
        sender.join(DEADLINE)


def test_send_gives_up_on_a_peer_that_never_reads(recorder: Recorder) -> None:
    """After ``send_timeout``; that client is dropped, others notice nothing (E1)."""
    server = make_server(recorder, send_timeout=0.2)
    with (
        running(server),
        Peer(server.address).open(),
        Peer(server.address).open() as bystander,
    ):
        clients = [recorder.opened.get(timeout=DEADLINE) for _ in range(2)]
        reader = next(c for c in clients if c.address == bystander.socket.getsockname())
        client = next(c for c in clients if c is not reader)
        fill(client)

        with pytest.raises(SendTimeout, match=r"no room for 0\.2 s"):
            client.send("too much")

        assert recorder.closed.get(timeout=DEADLINE) == (client, 1006, "")
        with pytest.raises(ConnectionClosed):
            client.send("later")
        reader.send("fine")
        assert bystander.receive() == "fine"


def test_broadcast_never_waits_and_closes_who_is_too_slow(recorder: Recorder) -> None:
    """The default policy: 1013, and everybody else has the message (E1)."""
    server = make_server(recorder, close_timeout=0.2)
    with running(server), Peer(server.address).open():
        slow = recorder.opened.get(timeout=DEADLINE)
        with Peer(server.address).open() as bystander:
            recorder.opened.get(timeout=DEADLINE)
            fill(slow)
            before = monotonic()

            server.broadcast("news")

            assert monotonic() - before < DEADLINE / 4
            assert bystander.receive() == "news"
            closed = recorder.closed.get(timeout=DEADLINE)
            assert closed == (slow, 1013, "too slow")


def test_newest_broadcasts_are_dropped_if_told(recorder: Recorder) -> None:
    """``drop_newest``: the slow peer misses them, and stays."""
    server = make_server(recorder, slow_client="drop_newest")
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        count = fill(client)

        server.broadcast("missed")

        for _ in range(count):
            assert peer.receive() == BIG
        assert wait_until(lambda: client._connection._outbox.size == 0)
        server.broadcast("seen")
        assert peer.receive() == "seen"


def test_oldest_broadcasts_are_dropped_if_told(recorder: Recorder) -> None:
    """``drop_oldest``: the latest news arrive, and whatever ``send`` accepted."""
    server = make_server(recorder, slow_client="drop_oldest")
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        while client._connection._outbox.size < 2**19:
            client.send(b"x" * 2**18)
        client.send("kept")
        for number in range(100):
            server.broadcast(f"{number} " + "y" * 2**16)
        server.broadcast("last")
        client.send("end")

        got: list[str] = []
        while (message := peer.receive()) != "end":
            if isinstance(message, str):
                got.append(message.split()[0])

        assert got[0] == "kept"
        assert got[-1] == "last"
        numbers = [int(x) for x in got[1:-1]]
        assert numbers == sorted(numbers)
        assert numbers[-1] == 99
        assert len(numbers) < 100


def test_drop_oldest_cannot_drop_what_send_accepted(recorder: Recorder) -> None:
    """If there is nothing else, the broadcast is dropped."""
    server = make_server(recorder, slow_client="drop_oldest")
    with running(server), Peer(server.address).open() as peer:
        count = fill(recorder.opened.get(timeout=DEADLINE))

        server.broadcast("dropped")

        assert [peer.receive() for _ in range(count)] == [BIG] * count


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_broadcast_leaves_out_whom_it_is_told(
    recorder: Recorder, compression: Any
) -> None:
    """Clients or addresses; compressed peers read both kinds of messages."""
    from websockets.sync.client import connect

    server = make_server(recorder, compression=compression)
    with running(server):
        url = f"ws://127.0.0.1:{server.address[1]}"
        with connect(url) as one, connect(url) as two, connect(url) as three:
            clients = [recorder.opened.get(timeout=DEADLINE) for _ in range(3)]
            by_port = {client.address[1]: client for client in clients}
            first, second, third = (
                by_port[ws.socket.getsockname()[1]] for ws in (one, two, three)
            )

            server.broadcast("x" * 500, exclude=[first, second.address])
            for number in range(3):
                third.send(f"{number}" + "x" * 500)
                server.broadcast("y" * 500, exclude=[first])

            expected = ["x" * 500]
            for number in range(3):
                expected += [f"{number}" + "x" * 500, "y" * 500]
            assert [three.recv(timeout=DEADLINE) for _ in range(7)] == expected
            assert [two.recv(timeout=DEADLINE) for _ in range(3)] == ["y" * 500] * 3
            server.broadcast("end")
            assert one.recv(timeout=DEADLINE) == "end"


def test_broadcast_of_nonsense_reaches_nobody(recorder: Recorder) -> None:
    """A mistake is an error of the caller, before anybody got anything."""
    with (
        running(make_server(recorder)) as server,
        Peer(server.address).open() as peer,
    ):
        recorder.opened.get(timeout=DEADLINE)
        with pytest.raises(TypeError):
            server.broadcast(1)  # type: ignore[arg-type]
        with pytest.raises(LocalProtocolError):
            server.broadcast("\ud800")
        server.broadcast("fine")
        assert peer.receive() == "fine"


def test_ping_measures_the_latency(recorder: Recorder) -> None:
    """A Pong with another payload doesn't (5.5.3, E4)."""
    with (
        running(make_server(recorder)) as server,
        Peer(server.address).open() as peer,
    ):
        client = recorder.opened.get(timeout=DEADLINE)
        client.ping(b"mine")
        assert peer.read_frame() == Frame(Opcode.PING, b"mine")
        peer.send_frame(Frame(Opcode.PONG, b"other"))
        peer.send("x")
        recorder.received.get(timeout=DEADLINE)
        before = client.latency

        peer.send_frame(Frame(Opcode.PONG, b"mine"))
        peer.send("y")
        recorder.received.get(timeout=DEADLINE)
        assert before is None
        assert client.latency is not None
        assert 0 < client.latency < DEADLINE
        for _ in range(20):
            client.ping()
        with pytest.raises(LocalProtocolError):
            client.ping(b"x" * 126)


def test_client_knows_its_state(recorder: Recorder) -> None:
    """OPEN, CLOSING during the callback, CLOSED in the end."""
    states: list[State] = []
    server = make_server(recorder)
    server.on_connection_close = lambda client: states.append(client.state)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        assert client.state is State.OPEN
        peer.send_close(4001, "because")
        assert peer.closes(4001, "because")
        peer.socket.close()
        assert wait_until(lambda: client.state is State.CLOSED)
        assert states == [State.CLOSING]
        assert (client.close_code, client.close_reason) == (4001, "because")
        client.close()
        client.abort()


def test_compressing_holds_up_nobody_else(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broadcasts, Pings and the main thread go on; the broadcast comes after it."""
    from websockets.sync.client import connect

    encoding, release = threading.Event(), threading.Event()
    encode = DeflateExtension.encode

    def slow(extension: DeflateExtension, frame: Frame) -> Frame:
        encoding.set()
        release.wait(DEADLINE)
        return encode(extension, frame)

    monkeypatch.setattr(DeflateExtension, "encode", slow)
    server = make_server(recorder, compression="deflate")
    with running(server), connect(f"ws://127.0.0.1:{server.address[1]}") as ws:
        client = recorder.opened.get(timeout=DEADLINE)
        sender = threading.Thread(target=client.send, args=("x" * 1000,))
        sender.start()
        assert encoding.wait(DEADLINE)
        with Peer(server.address).open() as other:
            other_client = recorder.opened.get(timeout=DEADLINE)
            server.broadcast("news " * 100)
            assert other.receive() == "news " * 100
            client.ping()
            assert wait_until(lambda: client.latency is not None)
            other_client.close()
        release.set()
        sender.join(DEADLINE)
        assert ws.recv(timeout=DEADLINE) == "x" * 1000
        assert ws.recv(timeout=DEADLINE) == "news " * 100
        client.send("y" * 1000)
        assert ws.recv(timeout=DEADLINE) == "y" * 1000


def test_broadcast_goes_to_whom_it_is_told(recorder: Recorder) -> None:
    """Clients or addresses; who isn't there any more, and who is left out, is not."""
    server = make_server(recorder)
    with (
        running(server),
        Peer(server.address).open() as one,
        Peer(server.address).open() as two,
        Peer(server.address).open() as three,
    ):
        clients = [recorder.opened.get(timeout=DEADLINE) for _ in range(3)]
        by_port = {client.address[1]: client for client in clients}
        first, second, third = (
            by_port[peer.socket.getsockname()[1]] for peer in (one, two, three)
        )
        with Peer(server.address).open():
            gone = recorder.opened.get(timeout=DEADLINE)
        assert wait_until(lambda: gone.state is State.CLOSED)

        server.broadcast("a", to=[first, second.address, gone, gone.address])
        server.broadcast("b", to={first, third}, exclude=[third.address])
        server.broadcast("c", to=())
        server.broadcast("d")

        assert [one.receive() for _ in range(3)] == ["a", "b", "d"]
        assert [two.receive() for _ in range(2)] == ["a", "d"]
        assert three.receive() == "d"
