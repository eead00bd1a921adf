"""Options of the server, each seen from the other end of the wire."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.tools import wait_until
from websock import (
    Client,
    ConnectionClosed,
    HandshakeError,
    Request,
    Response,
    WebSocketServer,
)
from websock.exceptions import InvalidRequest

from .wire import DEADLINE, Peer, Recorder, ask, get, make_server, running

# Construction.


class Bytes:
    """A path of bytes."""

    def __fspath__(self) -> bytes:
        """Return the path."""
        return b"/tmp"


make_any: Any = WebSocketServer


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"pingg_interval": 1}, TypeError, "pingg_interval"),
        ({"ping_interval": "1"}, TypeError, "ping_interval must be a number"),
        ({"ping_interval": 0}, ValueError, "ping_interval must be positive"),
        ({"close_timeout": float("inf")}, ValueError, "close_timeout"),
        ({"max_size": 1.5}, TypeError, "max_size must be an int"),
        ({"max_size": -1}, ValueError, "max_size"),
        ({"max_size": True}, TypeError, "max_size"),
        ({"write_limit": None}, TypeError, "write_limit"),
        ({"slow_client": "kill"}, ValueError, "slow_client is one of close"),
        ({"callback_errors": None}, ValueError, "callback_errors"),
        ({"ssl": True}, TypeError, "ssl must be a SSLContext"),
        ({"sock": 3}, TypeError, "sock"),
        ({"unix": 3}, TypeError, "unix must be a path"),
        ({"http": "/no/such/folder"}, ValueError, "http must be a folder"),
        ({"compression": "gzip"}, ValueError, "compression is 'deflate'"),
        ({"process_request": 1}, TypeError, "process_request must be callable"),
        ({"select_subprotocol": 1}, TypeError, "select_subprotocol"),
        ({"select_subprotocol": len}, TypeError, "select_subprotocol is called with 2"),
        (
            {"process_request": lambda: None},
            TypeError,
            "process_request is called with",
        ),
        ({"subprotocols": "chat"}, TypeError, "subprotocols must be a sequence"),
        ({"subprotocols": b""}, TypeError, "subprotocols must be a sequence"),
        ({"DEBUG": "no"}, TypeError, "DEBUG must be a bool"),
        ({"http": ""}, ValueError, "http must be a path"),
        ({"http": Bytes()}, TypeError, "http must be a path of str"),
        ({"unix": ""}, ValueError, "unix must be a path"),
        ({"unix": "a\0b"}, ValueError, "unix must be a path"),
        ({"unix": Bytes()}, TypeError, "unix must be a path of str"),
        ({"subprotocols": ["a b"]}, ValueError, "subprotocols must be tokens"),
        ({"origins": "https://a.example"}, TypeError, "origins"),
        ({"hosts": "a.example"}, TypeError, "hosts"),
        ({"logger": "websock"}, TypeError, "logger must be a Logger"),
        ({"on_error": 1}, TypeError, "on_error must be callable"),
        ({"port": "80"}, TypeError, "port must be an int"),
        ({"port": 70000}, ValueError, "port must be from 0 to 65535"),
        ({"ip": 1}, TypeError, "host must be a str"),
    ],
)
def test_wrong_option_is_named_at_construction(
    options: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    """Not at the first connection, in some thread."""
    with pytest.raises(kind, match=sentence):
        make_any(**{"ip": "127.0.0.1", "port": 0} | options)


def test_sock_and_unix_exclude_each_other() -> None:
    """There is one place to listen at."""
    import socket

    with socket.socket() as sock, pytest.raises(ValueError, match="exclude"):
        WebSocketServer(sock=sock, unix="x")


# Requests.


def test_process_request_may_answer_or_go_on(recorder: Recorder) -> None:
    """For plain requests and for WebSockets; headers of its own go into the 101."""
    seen: list[tuple[str, str]] = []

    def process_request(client: Client, request: Request) -> Response | None:
        seen.append((request.path, threading.current_thread().name))
        if request.path == "/page":
            return Response(200, {"Content-Type": "text/plain"}, "a page")
        if request.path == "/secret":
            return client.respond(401, "who are you?\n")
        if request.path == "/raise":
            raise InvalidRequest("not like this")
        if request.path == "/wrong":
            return "text"  # type: ignore[return-value]
        client.response_headers["Set-Cookie"] = "session=1; HttpOnly"
        client.username = request.cookies.get("user")
        return None

    server = make_server(recorder, process_request=process_request)
    with running(server):
        status, head, body = ask(server, get("/page"))
        assert (status, body) == (200, b"a page")
        assert "Connection: close" in head
        assert "\r\nDate: " in head
        assert ask(server, get("/page", method="HEAD"))[2] == b""
        for path, expected in (("/secret", 401), ("/raise", 400), ("/wrong", 500)):
            for data in (get(path), Peer.request(path)):
                assert ask(server, data)[0] == expected
        assert ask(server, get("/other"))[0] == 426
        with Peer(server.address) as peer:
            peer.socket.sendall(Peer.request("/ws?x=1", Cookie="user=Ada"))
            assert "Set-Cookie: session=1; HttpOnly" in peer.read_head()
            client = recorder.opened.get(timeout=DEADLINE)
            assert client.username == "Ada"
            assert client.request.path == "/ws"
            assert client.request.query == "x=1"
            assert seen[-1] == ("/ws", client.name)
    assert recorder.opened.empty()


def test_process_request_that_raises_gives_500(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The peer isn't told what; ``on_error`` and the log are."""

    def process_request(client: Client, request: Request) -> None:
        raise ZeroDivisionError("secret")

    server = make_server(recorder, process_request=process_request)
    with running(server), caplog.at_level(logging.INFO, "websock"):
        for data in (get("/"), Peer.request("/")):
            status, _, body = ask(server, data)
            assert status == 500
            assert b"secret" not in body
            error = recorder.errors.get(timeout=DEADLINE)
            assert isinstance(error, ZeroDivisionError)
            assert isinstance(error.client, Client)  # type: ignore[attr-defined]
    assert caplog.text.count("Traceback") == 2


def test_subprotocol_is_the_first_of_the_client(recorder: Recorder) -> None:
    """Of those that the server lists (1.9)."""
    server = make_server(recorder, subprotocols=["b", "a"])
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(Peer.request(Sec_WebSocket_Protocol="x, a, b"))
        assert "Sec-WebSocket-Protocol: a\r\n" in peer.read_head() + "\r\n"
        assert recorder.opened.get(timeout=DEADLINE).subprotocol == "a"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Sec_WebSocket_Protocol", "chat super"),
        ("Sec_WebSocket_Protocol", "a;b=(c)"),
        ("Sec_WebSocket_Protocol", "chat, chat"),
        ("Sec_WebSocket_Extensions", "a b"),
        ("Upgrade", "websocket, a b @"),
        ("Upgrade", "websocket, a/b/c"),
    ],
)
def test_malformed_header_is_refused_by_whoever_does_without_it(
    recorder: Recorder, header: str, value: str
) -> None:
    """What breaks the grammar of the handshake ends it (4.2.1)."""
    with running(make_server(recorder)) as server:
        status, _, body = ask(server, Peer.request(**{header: value}))
        assert status == 400
        assert body.startswith(b"invalid " + header.replace("_", "-").encode())


@pytest.mark.parametrize("choice", ["b", None])
def test_select_subprotocol_chooses(recorder: Recorder, choice: str | None) -> None:
    """Among what was offered, or none."""

    def select(client: Client, offered: list[str]) -> str | None:
        assert offered == ["a", "b"]
        return choice

    server = make_server(recorder, select_subprotocol=select)
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(Peer.request(Sec_WebSocket_Protocol="a, b"))
        head = peer.read_head()
        assert peer.status == 101
        assert ("Sec-WebSocket-Protocol: b" in head) == (choice == "b")
        assert recorder.opened.get(timeout=DEADLINE).subprotocol == choice
        assert recorder.errors.empty()


@pytest.mark.parametrize(
    "choice", ["nonsense", 1, KeyError("x"), SystemExit()], ids=str
)
def test_broken_select_subprotocol_lets_nobody_in(
    recorder: Recorder, choice: Any
) -> None:
    """It's an error of the application, which may rely on the choice."""

    def select(client: Client, offered: list[str]) -> str | None:
        if isinstance(choice, BaseException):
            raise choice
        return choice  # type: ignore[no-any-return]

    server = make_server(recorder, select_subprotocol=select)
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(Peer.request(Sec_WebSocket_Protocol="a, b"))
        status, _, body = peer.read_response()
        assert (status, body) == (500, b"internal error\n")
        error = recorder.errors.get(timeout=DEADLINE)
        assert type(error) in (ValueError, type(choice))
        assert recorder.opened.empty()
        assert recorder.errors.empty()


def test_files_and_health_are_served_on_the_same_port(
    recorder: Recorder, tmp_path: Path
) -> None:
    """``http=`` names the folder; what isn't there is 404."""
    (tmp_path / "index.html").write_text("<title>page</title>")
    server = make_server(recorder, http=tmp_path)
    with running(server):
        status, head, body = ask(server, get("/"))
        assert (status, body) == (200, b"<title>page</title>")
        assert "Content-Type: text/html; charset=utf-8" in head
        etag = re.search(r'ETag: ("[^"]+")', head)
        assert etag is not None
        again = get("/").replace(
            b"\r\n\r\n", f"\r\nIf-None-Match: {etag[1]}\r\n\r\n".encode()
        )
        assert ask(server, again)[0] == 304
        assert ask(server, get("/", method="HEAD"))[2] == b""
        assert ask(server, get("/no"))[0] == 404
        assert ask(server, get("/../secret"))[0] in (400, 404)
        assert ask(server, get("/healthz"))[::2] == (200, b"ok\n")
        with Peer(server.address).open("/"):
            pass


def test_health_is_served_without_a_folder(recorder: Recorder) -> None:
    """Load balancers need no more."""
    with running(make_server(recorder)) as server:
        assert ask(server, get("/healthz"))[0] == 200
        assert ask(server, get("/"))[0] == 426


def test_health_check_needs_no_host(recorder: Recorder) -> None:
    """Probers know the address, not the name; everything else does need one."""
    server = make_server(recorder, hosts=["chat.example"])
    with running(server):
        assert ask(server, get("/healthz", host="10.1.2.3"))[0] == 200
        assert ask(server, get("/", host="10.1.2.3"))[0] == 403


def test_health_check_goes_first(recorder: Recorder, tmp_path: Path) -> None:
    """Nobody else is asked about its path, which is the application's to choose."""
    (tmp_path / "healthz").write_text("file")

    def own(client: Client, request: Request) -> Response | None:
        return client.respond(403, "own") if request.path == "/healthz" else None

    for options, answers in (
        ({"process_request": own}, {"/healthz": (200, b"ok\n"), "/x": (404, None)}),
        ({}, {"/healthz": (200, b"ok\n")}),
        ({"health_path": "/x", "process_request": own}, {"/x": (200, b"ok\n")}),
        ({"health_path": "/x"}, {"/healthz": (200, b"file"), "/x": (200, b"ok\n")}),
        ({"health_path": None, "process_request": own}, {"/healthz": (403, b"own")}),
        ({"health_path": None}, {"/healthz": (200, b"file")}),
    ):
        with running(make_server(recorder, http=tmp_path, **options)) as server:
            for path, (status, body) in answers.items():
                got = ask(server, get(path))
                assert got[0] == status
                assert body in (None, got[2])
            # A WebSocket is none of its business.
            with Peer(server.address) as peer:
                peer.socket.sendall(Peer.request("/healthz"))
                peer.read_head()
                assert peer.status == (403 if "process_request" in options else 101)


@pytest.mark.parametrize(
    ("origin", "options", "status"),
    [
        (None, {}, 101),
        ("http://127.0.0.1:3000", {}, 101),
        ("http://localhost", {}, 101),
        ("https://evil.example", {}, 403),
        ("null", {}, 403),
        ("https://evil.example", {"origins": None}, 101),
        ("https://a.example", {"origins": ["https://a.example"]}, 101),
        ("https://b.example", {"origins": ["https://a.example"]}, 403),
        ("https://b.example", {"origins": [re.compile(r"https://.\.example")]}, 101),
        (None, {"origins": ["https://a.example"]}, 403),
        (None, {"origins": ["https://a.example", None]}, 101),
    ],
)
def test_origins(
    recorder: Recorder, origin: str | None, options: Any, status: int
) -> None:
    """Pages of other sites are refused, and told which option to set (10.2)."""
    with (
        running(make_server(recorder, **options)) as server,
        Peer(server.address) as peer,
    ):
        peer.socket.sendall(Peer.request(Origin=origin))
        head = peer.read_head()
        assert peer.status == status, head
        if status == 403:
            assert b"origins" in peer.read_to_end()
            assert isinstance(recorder.errors.get(timeout=DEADLINE), HandshakeError)


@pytest.mark.parametrize(
    ("host", "options", "status"),
    [
        ("localhost:80", {}, 101),
        ("[::1]", {}, 101),
        ("rebound.example", {}, 403),
        ("rebound.example", {"hosts": ["rebound.example"]}, 101),
        ("127.0.0.1", {"hosts": ["rebound.example"]}, 403),
    ],
)
def test_hosts(recorder: Recorder, host: str, options: Any, status: int) -> None:
    """A server on the loopback alone answers to its names alone (A17)."""
    with (
        running(make_server(recorder, **options)) as server,
        Peer(server.address) as peer,
    ):
        peer.socket.sendall(Peer.request(Host=host))
        peer.read_head()
        assert peer.status == status
        if status == 403:
            assert b"hosts" in peer.read_to_end()


def test_hosts_are_any_when_others_can_connect(recorder: Recorder) -> None:
    """A server on all addresses doesn't know its names."""
    server = WebSocketServer("0.0.0.0", 0, **recorder.callbacks())
    with running(server), Peer(("127.0.0.1", server.address[1])) as peer:
        peer.socket.sendall(Peer.request(Host="anything.example"))
        peer.read_head()
        assert peer.status == 101


# Callbacks.


@pytest.mark.parametrize("policy", ["close", "continue"])
def test_callback_that_raises(
    recorder: Recorder, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """``on_error`` and the log hear of it; the option decides about the client."""

    def fail(client: Client, data: str | bytes) -> None:
        if data == "fail":
            raise ZeroDivisionError("oops")
        client.send(data)

    server = make_server(recorder, callback_errors=policy)
    server.on_data_receive = fail
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        peer.send("fail")
        error = recorder.errors.get(timeout=DEADLINE)
        assert isinstance(error, ZeroDivisionError)
        assert error.client is client  # type: ignore[attr-defined]
        if policy == "close":
            assert peer.closes(1011)
            assert recorder.closed.get(timeout=DEADLINE)[1] == 1011
        else:
            peer.send("on")
            assert peer.receive() == "on"
    assert "ZeroDivisionError: oops" in caplog.text


def test_on_error_that_raises_harms_nobody(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Its exception is logged, and that's it."""

    def fail(*args: object) -> None:
        raise RuntimeError("again")

    server = make_server(recorder, callback_errors="continue")
    server.on_error = fail
    server.on_data_receive = fail
    server.add_callback("on_data_receive", lambda client, data: client.send(data))
    with running(server), Peer(server.address).open() as peer:
        peer.send("x")
        assert peer.receive() == "x"
        assert ask(server, get("/"))[0] == 426
    assert "exception in on_error" in caplog.text


def test_flood_of_exceptions_is_counted(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk helps nobody."""

    def fail(client: Client, data: str | bytes) -> None:
        client.send("sent")
        raise RuntimeError("again")

    server = make_server(recorder, callback_errors="continue")
    server.on_data_receive = fail
    with running(server), Peer(server.address).open() as peer:
        for _ in range(100):
            peer.send("x")
        for _ in range(100):
            assert peer.receive() == "sent"
        assert wait_until(lambda: recorder.errors.qsize() == 100)
    assert caplog.text.count("Traceback") == 20
    assert "counted only" in caplog.text


def test_losing_another_client_does_not_close_this_one(recorder: Recorder) -> None:
    """A callback that sends to somebody who has gone is not to blame."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as peer:
        with Peer(server.address).open() as gone:
            clients = [recorder.opened.get(timeout=DEADLINE) for _ in range(2)]
            other = next(c for c in clients if c.address == gone.socket.getsockname())
            gone.send_close()
            assert gone.closes(1000)
        recorder.closed.get(timeout=DEADLINE)
        server.on_data_receive = lambda client, data: (
            other.send("x") if data == "to other" else client.send(data)
        )
        peer.send("to other")
        assert isinstance(recorder.errors.get(timeout=DEADLINE), ConnectionClosed)
        peer.send("still here")
        assert peer.receive() == "still here"


def test_callbacks_are_added_and_removed(recorder: Recorder) -> None:
    """They run in order; a removed one isn't called any more."""
    calls: list[str] = []
    server = WebSocketServer("127.0.0.1", 0)

    def first(*args: object) -> None:
        calls.append("first")

    def second(*args: object) -> None:
        calls.append("second")

    server.add_callback("on_data_receive", first)
    server.add_callback("on_data_receive", second)
    server.add_callback("on_data_receive", lambda client, data: client.send(data))
    with running(server), Peer(server.address).open() as peer:
        peer.send("x")
        assert peer.receive() == "x"
        server.remove_callback("on_data_receive", first)
        peer.send("y")
        assert peer.receive() == "y"
    assert calls == ["first", "second", "second"]
    with pytest.raises(ValueError, match="no event 'on_dat'"):
        server.add_callback("on_dat", first)
    with pytest.raises(ValueError, match="isn't a callback"):
        server.remove_callback("on_data_receive", first)


def test_system_exit_in_a_callback_ends_nothing(recorder: Recorder) -> None:
    """It's an exception like others there."""
    server = make_server(recorder, callback_errors="continue")
    server.on_data_receive = lambda client, data: exec("raise SystemExit")
    with running(server), Peer(server.address).open() as peer:
        peer.send("x")
        assert isinstance(recorder.errors.get(timeout=DEADLINE), SystemExit)
        server.on_data_receive = lambda client, data: client.send(data)
        peer.send("x")
        assert peer.receive() == "x"


# Receiving in threads.


def test_recv_from_another_thread(recorder: Recorder) -> None:
    """Messages go to whoever waits, and wait for the next one (E5)."""
    server = WebSocketServer("127.0.0.1", 0, on_connection_open=recorder.opened.put)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        with pytest.raises(TimeoutError):
            client.recv(0.01)
        for number in range(100):
            peer.send(str(number))
        assert [client.recv(DEADLINE) for _ in range(100)] == [
            str(number) for number in range(100)
        ]
        peer.send_close(1000)
        with pytest.raises(ConnectionClosed):
            client.recv(DEADLINE)
        with pytest.raises(ConnectionClosed):
            server.recv(client, 1)


def test_recv_in_a_callback_times_out(recorder: Recorder) -> None:
    """And is told of the end."""
    results: list[object] = []

    def talk(client: Client) -> None:
        for timeout in (0.01, DEADLINE, DEADLINE):
            try:
                results.append(client.recv(timeout))
            except (TimeoutError, ConnectionClosed) as error:
                results.append(type(error))
                client.send("next")

    server = make_server(recorder)
    server.on_connection_open = talk
    with running(server), Peer(server.address).open() as peer:
        assert peer.receive() == "next"
        peer.send("hello")
        peer.send_close(4000)
        assert peer.receive() == "next"
        assert peer.closes(4000)
        assert wait_until(lambda: len(results) == 3)
    assert results == [TimeoutError, "hello", ConnectionClosed]


# The log.


def test_log_has_one_line_per_connection_and_no_secrets(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Path without query, no message, no reason, no control characters (E15)."""
    with (
        caplog.at_level(logging.INFO, "websock"),
        running(make_server(recorder)) as server,
    ):
        with Peer(server.address).open("/path?token=hunter2") as peer:
            peer.send("private")
            recorder.received.get(timeout=DEADLINE)
            peer.send_close(4000, "hunter2")
            assert peer.closes(4000)
        with Peer(server.address).open("/fault") as peer:
            peer.socket.sendall(b"\x83\x80")
            assert peer.closes(1002)
        assert wait_until(lambda: caplog.text.count("GET") == 2)
    access = [r.getMessage() for r in caplog.records if r.name == "websock.access"]
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+ GET /path 101 \d+\.\d{3} s closed with 4000", access[0]
    )
    assert access[1].endswith("closed with 1002 (reserved opcode 3)")
    server_lines = [
        r.getMessage() for r in caplog.records if r.name == "websock.server"
    ]
    assert server_lines[0].startswith("listening on 127.0.0.1:")
    assert server_lines[-1] == "stopped"
    assert "hunter2" not in caplog.text
    assert "private" not in caplog.text


def test_frames_are_logged_at_debug(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """For those who look for a fault."""
    with (
        caplog.at_level(logging.DEBUG, "websock"),
        running(make_server(recorder)) as server,
        Peer(server.address).open() as peer,
    ):
        peer.send("question")
        client = recorder.received.get(timeout=DEADLINE)[0]
        client.send("answer")
        peer.receive()
    assert "question" in caplog.text
    assert "answer" in caplog.text


def test_header_of_the_handshake_cannot_be_replaced(recorder: Recorder) -> None:
    """The application's mistake gives 500, not a broken 101."""

    def process_request(client: Client, request: Request) -> None:
        client.response_headers["Sec-WebSocket-Accept"] = "x"

    server = make_server(recorder, process_request=process_request)
    with running(server):
        assert ask(server, Peer.request())[0] == 500
        assert isinstance(recorder.errors.get(timeout=DEADLINE), ValueError)


def test_context_for_clients_is_refused() -> None:
    """Its handshakes would all fail."""
    import ssl

    with pytest.raises(ValueError, match="ssl must be a context for servers"):
        WebSocketServer("127.0.0.1", 0, ssl=ssl.create_default_context())


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /?token=hunter2 x HTTP/1.1\r\n\r\n",
        b"GET /?token=hunter2\r\n\r\n",
        b"GET /?token=hunter2#x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ?token=hunter2 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization Bearer hunter2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: ann:hunter2@a\r\n\r\n",
        Peer.request(Sec_WebSocket_Protocol="bearer hunter2"),
        Peer.request(Sec_WebSocket_Protocol="hunter2, hunter2"),
    ],
    ids=range(8),
)
def test_secrets_of_a_request_that_is_refused_are_not_logged(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    """The sentence says what is wrong, and leaves the line itself out."""
    with (
        caplog.at_level(logging.INFO, "websock"),
        running(make_server(recorder)) as server,
    ):
        assert ask(server, request_)[0] == 400
    assert " 400 " in caplog.text
    assert "hunter2" not in caplog.text
