"""A callback that runs long, and what its client and others notice of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificate import make_certificate
from tests.linked_wire import PATHS
from tests.tools import wait_until
from websock import Client, Frame, Opcode, State, serving
from websock.frames import serialize_frame

from .wire import DEADLINE, Peer, Recorder, make_server, running


class Busy:
    """A server whose callback for "long" waits until it may go on.

    Args:
        kind: What goes on between it and its peer.
        recorder: Its other callbacks.
        folder: Where a certificate may be.

    """

    def __init__(self, kind: str, recorder: Recorder, folder: Path) -> None:
        self.kind = kind
        self.recorder = recorder
        self.folder = folder
        self.started = threading.Event()
        self.gate = threading.Event()

    def receive(self, client: Client, data: str | bytes) -> None:
        """Note the message, and wait."""
        self.recorder.received.put((client, data))
        if data == "long":
            self.started.set()
            self.gate.wait(DEADLINE)

    @contextmanager
    def serve(self, **options: Any) -> Iterator[Peer]:
        """Give a peer whose callback waits."""
        context, headers = None, {}
        options = {"compression": None, "on_data_receive": self.receive} | options
        if self.kind == "tls":
            certificate = make_certificate(self.folder)
            options["ssl"] = certificate.server_context()
            context = certificate.client_context()
        elif self.kind == "deflate":
            options["compression"] = "deflate"
            headers = {"Sec_WebSocket_Extensions": "permessage-deflate"}
        with (
            running(make_server(self.recorder, **options)) as server,
            Peer(server.address, context=context).open(**headers) as peer,
        ):
            peer.send("long")
            assert self.started.wait(DEADLINE)
            yield peer
            self.gate.set()


@pytest.fixture(params=[*PATHS, "tls", "deflate"])
def busy(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    recorder: Recorder,
    tmp_path: Path,
) -> Iterator[Busy]:
    """A server that is soon considered to be busy, each kind of it."""
    monkeypatch.setattr(serving, "LONG", 0.05)
    if request.param == "core":
        monkeypatch.setattr(serving, "Corks", None)
    busy = Busy(request.param, recorder, tmp_path)
    yield busy
    busy.gate.set()


def test_ping_is_answered(busy: Busy) -> None:
    """Whoever asks whether the server lives doesn't mean a client's callback."""
    with busy.serve() as peer:
        for number in range(3):
            peer.send_frame(Frame(Opcode.PING, b"%d" % number))
            assert peer.read_frame() == Frame(Opcode.PONG, b"%d" % number)


def test_what_it_sent_leaves_meanwhile(busy: Busy) -> None:
    """It's held back for the end of the batch only as long as that is near."""
    gates = [threading.Event() for _ in range(3)]

    def receive(client: Client, data: str | bytes) -> None:
        busy.started.set()
        if data in ("0", "1", "2"):
            client.send(data)
            gates[int(data)].wait(DEADLINE)

    with busy.serve(on_data_receive=receive) as peer:
        client = busy.recorder.opened.get(timeout=DEADLINE)
        serving = client.server._serving
        for number, gate in enumerate(gates):
            batch = [Frame(Opcode.TEXT, text) for text in (b"%d" % number, b"x")]
            peer.socket.sendall(b"".join(serialize_frame(f, b"mask") for f in batch))
            assert peer.receive() == str(number)
            gate.set()
            # The main thread rests when nobody holds anything back.
            assert wait_until(lambda: not serving._is_ticking)


def test_close_is_answered_by_its_deadline(busy: Busy, recorder: Recorder) -> None:
    """The callbacks for what came before it still run, each at its time."""
    with busy.serve(close_timeout=0.1) as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        peer.send("last")
        peer.send_close(4000, "bye")
        assert peer.read_close() == (4000, "bye")
        assert recorder.closed.empty()
        assert wait_until(lambda: client.state is State.CLOSED)
        busy.gate.set()
        assert recorder.closed.get(timeout=DEADLINE) == (client, 4000, "bye")
        assert [recorder.received.get_nowait()[1] for _ in range(2)] == ["long", "last"]


def test_nothing_is_lost_that_comes_meanwhile(busy: Busy, recorder: Recorder) -> None:
    """More than is read ahead; in its order, pieces of messages too."""
    texts = [f"{number} " + "x" * (number * 97 % 5000) for number in range(200)]
    with busy.serve() as peer:
        sender = threading.Thread(target=send_all, args=[peer, texts])
        sender.start()
        assert wait_until(lambda: busy_enough(recorder))
        busy.gate.set()
        got = [recorder.received.get(timeout=DEADLINE)[1] for _ in range(201)]
        sender.join(DEADLINE)
    assert got == ["long", *texts]


def send_all(peer: Peer, texts: list[str]) -> None:
    """Send each of them."""
    for text in texts:
        peer.send(text)


def busy_enough(recorder: Recorder) -> bool:
    """Whether the main thread has read something in the place of the reader."""
    client = recorder.opened.queue[0]
    return bool(client._receiver._pending)


def test_batch_that_was_read_before_comes_first(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits behind the message whose callback runs, wherever that is."""
    monkeypatch.setattr(serving, "LONG", 0.05)
    started, gate = threading.Event(), threading.Event()

    def receive(client: Client, data: str | bytes) -> None:
        recorder.received.put((client, data))
        if data == "1":
            started.set()
            gate.wait(DEADLINE)

    server = make_server(recorder, on_data_receive=receive, compression=None)
    with running(server), Peer(server.address).open() as peer:
        batch = b"".join(b"\x81\x81\0\0\0\0%d" % number for number in range(1, 10))
        peer.socket.sendall(batch + b"\x89\x80\0\0\0\0" + batch)
        assert started.wait(DEADLINE)
        assert peer.read_frame() == Frame(Opcode.PONG, b"")
        peer.send("end")
        gate.set()
        got = [recorder.received.get(timeout=DEADLINE)[1] for _ in range(19)]
    assert got == [str(number) for number in [*range(1, 10)] * 2] + ["end"]


def test_callback_may_read_on_after_others_have_read(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``recv()`` goes on with what they have left it."""
    monkeypatch.setattr(serving, "LONG", 0.05)
    got: list[str | bytes] = []

    def receive(client: Client, data: str | bytes) -> None:
        got.append(data)
        if data == "1":
            assert wait_until(lambda: busy_enough(recorder))
            got.append(client.recv(DEADLINE))
            recorder.received.put((client, data))

    server = make_server(recorder, on_data_receive=receive, compression=None)
    with running(server), Peer(server.address).open() as peer:
        peer.socket.sendall(
            b"".join(b"\x81\x81\0\0\0\0%d" % number for number in (1, 2, 3))
        )
        assert recorder.received.get(timeout=DEADLINE)
        peer.send("4")
        assert wait_until(lambda: len(got) == 4)
    assert got == ["1", "2", "3", "4"]
