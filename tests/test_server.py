"""The server as users make it: arguments, attributes, and wrong ones."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from typing import Any

import pytest

from tests.integration.wire import DEADLINE, Peer, Recorder, running
from websock import (
    ClientGone,
    ConnectionClosed,
    LocalProtocolError,
    PerMessageDeflate,
    WebSocketServer,
    listeners,
)
from websock.server import Server


def closed(server: WebSocketServer) -> WebSocketServer:
    """A server that never runs."""
    server.close_server()
    return server


def test_arguments_of_the_constructor() -> None:
    """By place or by name; ``host`` is another word for ``ip``."""
    assert closed(WebSocketServer("127.0.0.1", 1)).ip == "127.0.0.1"
    assert closed(WebSocketServer(ip="127.0.0.1", port=1)).port == 1
    assert closed(WebSocketServer(host="127.0.0.2")).ip == "127.0.0.2"
    default = closed(WebSocketServer(None, None))
    assert (default.ip, default.port) == ("", 80)
    assert default.address is None


async def later(*args: object) -> None:
    """Do nothing, unless somebody awaits it."""


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"ip": 127}, TypeError, "host must be a str, not int"),
        ({"host": b"x"}, TypeError, "host must be a str, not bytes"),
        ({"port": "80"}, TypeError, "port must be an int, not str"),
        ({"port": True}, TypeError, "port must be an int, not bool"),
        ({"port": 65536}, ValueError, "port must be from 0 to 65535, not 65536"),
        ({"port": -1}, ValueError, "port must be from 0 to 65535, not -1"),
        ({"pingInterval": 1}, TypeError, "unknown option pingInterval"),
        ({"a": 1, "b": 1}, TypeError, "unknown option a, b"),
        ({"on_data_receive": 1}, TypeError, "on_data_receive must be callable"),
        ({"ip": "::1", "host": "::1"}, TypeError, "ip and host are two names of one"),
        ({"on_error": later}, TypeError, "on_error must be a plain function, not an"),
        ({"max_size": 0}, ValueError, "max_size must be positive"),
    ],
)
def test_wrong_argument_is_an_error_that_names_it(
    arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    """At construction, and nothing is left open."""
    with pytest.raises(error, match=f"^{sentence}"):
        WebSocketServer(**arguments)


def test_callbacks_can_be_assigned_and_added(recorder: Recorder) -> None:
    """At any time; what isn't callable is refused, and the old one stays."""
    server = WebSocketServer("127.0.0.1", 0)
    server.on_data_receive = lambda client, data: client.send("assigned")
    with running(server), Peer(server.address).open() as peer:
        peer.send("x")
        assert peer.receive() == "assigned"
        with pytest.raises(TypeError, match="on_data_receive must be callable"):
            server.on_data_receive = 1  # type: ignore[assignment]

        def added(client: Any, data: object) -> None:
            client.send("added")

        server.add_callback("on_data_receive", added)
        peer.send("x")
        assert [peer.receive(), peer.receive()] == ["assigned", "added"]
        assigned = server.on_data_receive
        assert assigned is not None
        server.remove_callback("on_data_receive", assigned)
        assert server.on_data_receive is None
        server.remove_callback("on_data_receive", added)
        server.add_callback("on_data_receive", lambda c, data: c.send("last"))
        peer.send("x")
        assert peer.receive() == "last"
    with pytest.raises(ValueError, match="no event 'on_message'"):
        server.add_callback("on_message", added)
    with pytest.raises(ValueError, match="isn't a callback"):
        server.remove_callback("on_data_receive", added)


def test_subclass_may_have_callbacks_as_methods() -> None:
    """They are called like functions; an argument goes before them."""

    class Echo(WebSocketServer):
        def on_data_receive(self, client: Any, data: object) -> None:
            client.send(data)

    with running(Echo("127.0.0.1", 0)) as server, Peer(server.address).open() as peer:
        peer.send("echo")
        assert peer.receive() == "echo"
    other = Echo("127.0.0.1", 0, on_data_receive=lambda c, data: c.send("argument"))
    with running(other) as server, Peer(server.address).open() as peer:
        peer.send("echo")
        assert peer.receive() == "argument"


@pytest.mark.parametrize(
    ("compression", "offered", "agreed"),
    [
        ("deflate", "permessage-deflate", True),
        (PerMessageDeflate(), "permessage-deflate", True),
        (None, "permessage-deflate", False),
        ("deflate", None, False),
    ],
)
def test_compression_is_agreed_on_if_both_want_it(
    compression: Any, offered: str | None, agreed: bool
) -> None:
    """Off means off."""
    server = WebSocketServer("127.0.0.1", 0, compression=compression)
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(Peer.request(Sec_WebSocket_Extensions=offered))
        assert ("permessage-deflate" in peer.read_head()) == agreed


def test_callback_set_too_early_is_an_error_that_says_so() -> None:
    """Before the base class has been initialized there is nobody to set it on."""

    class Early(WebSocketServer):
        def __init__(self) -> None:
            self.on_error = print
            super().__init__()

    with pytest.raises(RuntimeError, match=r"^call super\(\).__init__\(\) before"):
        Early()


def test_base_server_has_no_pages() -> None:
    """Files and health are one storey up."""
    server = Server("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert server.wait_ready(DEADLINE)
    with Peer(server.address) as peer:
        peer.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert peer.read_response()[0] == 426
    server.shutdown()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_port_that_is_taken_is_an_error_and_the_server_can_try_again(
    recorder: Recorder,
) -> None:
    """``errno`` says why; nothing runs, no callback was told of an end."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = WebSocketServer("127.0.0.1", port, **recorder.callbacks())
        for serve in (server.serve_forever, server.serve_once):
            with pytest.raises(OSError) as caught:
                serve()
            assert caught.value.errno == errno.EADDRINUSE
            assert not server.wait_ready(0)
    assert recorder.destructed.empty()
    with running(server), Peer(server.address).open():
        assert server.address[1] == port


@pytest.mark.parametrize("how", ["sock", "systemd"])
def test_server_on_sockets_of_others_starts_once(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """They are closed by then, and to bind others in their place would surprise."""
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    if how == "sock":
        server = WebSocketServer("192.0.2.1", 1, sock=sock)
    else:
        monkeypatch.setattr(listeners, "LISTEN_FDS_START", sock.detach())
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "1")
        server = WebSocketServer("127.0.0.1", 0)
    with running(server), Peer(address).open():
        assert server.address == address
    for serve in (server.serve_forever, server.serve_once):
        with pytest.raises(RuntimeError, match="it can't start again"):
            serve()
    assert not server.wait_ready(0)


def test_alive_set_to_false_stops_the_server(recorder: Recorder) -> None:
    """As programs for 1.0.4 do; before it runs, that changes the flag alone."""
    server = WebSocketServer("127.0.0.1", 0, **recorder.callbacks())
    server.alive = False
    assert not server.alive
    server.alive = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert server.wait_ready(DEADLINE)
    with Peer(server.address).open() as peer:
        server.alive = False
        assert peer.closes(1001)
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_stopping_what_does_not_run_does_no_harm() -> None:
    """Before, and after."""
    server = WebSocketServer("127.0.0.1", 0)
    server.stop_listening()
    with running(server):
        pass
    server.stop_listening()
    server.shutdown()
    server.alive = False


def test_clients_are_found_by_address(recorder: Recorder) -> None:
    """Unknown ones are gone; those that have left raise as they do."""
    server = WebSocketServer("127.0.0.1", 0, **recorder.callbacks())
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        server.send_all(client, "not to you")
        server.send_all(client.address, "nor now")
        server.send_all(client, "echo", echo=True)
        server.send_all(None, "to all")
        server.ping(client.address, b"p")
        assert [peer.receive(), peer.receive()] == ["echo", "to all"]
        assert peer.read_frame().payload == b"p"
        for operation in (
            lambda: server.send(("192.0.2.1", 1), "x"),
            lambda: server.ping(("192.0.2.1", 1)),
            lambda: server.recv(("192.0.2.1", 1)),
            lambda: server.close_client(("192.0.2.1", 1)),
        ):
            with pytest.raises(ClientGone):
                operation()
        with pytest.raises(TypeError, match="must be a Client or its address, not str"):
            server.send("192.0.2.1", "x")
        with pytest.raises(LocalProtocolError):
            server.close_client(client, 1006)
        server.close_client(client.address, 4000, b"bytes")
        assert peer.closes(4000, "bytes")
        assert recorder.closed.get(timeout=DEADLINE)[0] is client
        with pytest.raises(ConnectionClosed):
            server.send(client, "x")


def test_logger_of_the_application_is_used(caplog: pytest.LogCaptureFixture) -> None:
    """With its children; ``DEBUG`` sets its level, as in 1.0.4."""
    logger = logging.getLogger("application")
    server = WebSocketServer("127.0.0.1", 0, logger=logger, DEBUG=True)
    try:
        assert logger.level == logging.DEBUG
        with running(server), Peer(server.address).open() as peer:
            peer.send_close()
            assert peer.closes(1000)
    finally:
        logger.setLevel(logging.NOTSET)
    names = {record.name for record in caplog.records}
    assert names == {"application.server", "application.access"}
