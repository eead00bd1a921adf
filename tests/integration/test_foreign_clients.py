"""Clients of others against our server: websockets, websocket-client, aiohttp.

Node.js and Dart have folders of their own, browsers too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
import websocket
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.client
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from websock import PerMessageDeflate

from ..certificate import Certificate, make_certificate
from ..echo_server import DEADLINE, EchoServer, echo_server
from ..samples import CODES, LENGTHS, MIB, binary, unicode_texts
from ..tools import wait_until

T = TypeVar("T")


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    """An echo server of one test."""
    with echo_server(subprotocols=["chat", "chat.v2"]) as echo:
        yield echo


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for the loopback."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


# websockets, threads


def sync_connect(
    echo: EchoServer, **options: Any
) -> websockets.sync.client.ClientConnection:
    """Connect with the client of websockets that uses threads."""
    options = {"open_timeout": DEADLINE, "close_timeout": DEADLINE, **options}
    connection: websockets.sync.client.ClientConnection
    connection = websockets.sync.client.connect(echo.url, **options)
    return connection


def assert_echo(
    ws: websockets.sync.client.ClientConnection, message: str | bytes
) -> None:
    """Send a message, and get it back, of the same type."""
    ws.send(message)
    assert ws.recv(DEADLINE) == message


def test_websockets_sync_sends_text_in_all_of_unicode(echo: EchoServer) -> None:
    """Every scalar value survives both ways (RFC 6455, 5.6)."""
    with sync_connect(echo) as ws:
        for text in unicode_texts():
            assert_echo(ws, text)


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("length", LENGTHS)
def test_websockets_sync_sends_every_form_of_length(
    echo: EchoServer, length: int, compression: str | None
) -> None:
    """Text and binary, with compression and without (5.2)."""
    with sync_connect(echo, compression=compression) as ws:
        assert_echo(ws, binary(length))
        assert_echo(ws, "x" * length)


def test_websockets_sync_sends_fragments(echo: EchoServer) -> None:
    """Fragments, empty ones too, become one message of their type (5.4)."""
    with sync_connect(echo) as ws:
        ws.send(["Zo", "", "ë", " 中村"])
        assert ws.recv(DEADLINE) == "Zoë 中村"
        ws.send(iter([b"\x00", b"\xff" * 70000, b""]))
        assert ws.recv(DEADLINE) == b"\x00" + b"\xff" * 70000


@pytest.mark.parametrize("payload", [b"", b"payload", b"\xff" * 125])
def test_websockets_sync_gets_a_pong_with_its_payload(
    echo: EchoServer, payload: bytes
) -> None:
    """A Pong has the payload of its Ping (5.5.3)."""
    with sync_connect(echo) as ws:
        assert ws.ping(payload or None).wait(DEADLINE)
        assert_echo(ws, "after")


def test_websockets_sync_answers_our_ping(echo: EchoServer) -> None:
    """Its Pong gives the client a latency."""
    with sync_connect(echo) as ws:
        client = echo.client()
        assert_echo(ws, "before")
        assert client.latency is None
        ws.send("ping")
        assert_echo(ws, "after")

        # The client's reading thread answers, maybe after that text.
        assert wait_until(lambda: client.latency is not None)


@pytest.mark.parametrize("code", CODES)
def test_websockets_sync_closes(echo: EchoServer, code: int) -> None:
    """on_connection_close gets code and reason, the client its code back (5.5.1)."""
    with sync_connect(echo) as ws:
        ws.close(code, "tschüß")

    assert ws.close_code == code
    assert ws.protocol.close_rcvd is not None
    assert ws.protocol.close_rcvd.code == code
    assert echo.close_of_client() == (code, "tschüß")


@pytest.mark.parametrize("code", CODES)
def test_websockets_sync_is_closed(echo: EchoServer, code: int) -> None:
    """The client gets code and reason, and its answer completes the handshake."""
    with sync_connect(echo) as ws:
        ws.send(f"close {code} ade, Welt")
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            ws.recv(DEADLINE)

    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, "ade, Welt")
    assert caught.value.rcvd_then_sent
    assert echo.close_of_client()[0] == code


def test_websockets_sync_vanishes(echo: EchoServer) -> None:
    """TCP ends without a Close frame: 1006 (7.1.5)."""
    with sync_connect(echo) as ws:
        assert_echo(ws, "here")

        ws.socket.shutdown(socket.SHUT_RDWR)

        assert echo.close_of_client() == (1006, "")


def test_websockets_sync_sends_what_is_too_big(echo: EchoServer) -> None:
    """One byte over the limit is 1009, whatever it was compressed to (7.4.1)."""
    with sync_connect(echo) as ws:
        ws.send("x" * (MIB + 1))
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            ws.recv(DEADLINE)

    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


def test_websockets_sync_gets_its_subprotocol(echo: EchoServer) -> None:
    """The first that both know, by the client's preference (4.2.2)."""
    protocols: Any = ["nonsense", "chat.v2", "chat"]
    with sync_connect(echo, subprotocols=protocols) as ws:
        assert ws.subprotocol == "chat.v2"
        assert echo.client().subprotocol == "chat.v2"


def test_websockets_sync_gets_no_subprotocol(echo: EchoServer) -> None:
    """None if none is common; the connection is open all the same (4.2.2)."""
    protocols: Any = ["nonsense"]
    with sync_connect(echo, subprotocols=protocols) as ws:
        assert ws.subprotocol is None
        assert_echo(ws, "open")


OFFERS: dict[str, dict[str, Any]] = {
    "bare": {},
    "client context": {"client_no_context_takeover": True},
    "server context": {"server_no_context_takeover": True},
    "no context": {
        "client_no_context_takeover": True,
        "server_no_context_takeover": True,
    },
    "client window": {"client_max_window_bits": True},
    "client window of 9": {"client_max_window_bits": 9},
    "server window of 8": {"server_max_window_bits": 8},
    "server window of 9": {"server_max_window_bits": 9},
    "all": {
        "client_no_context_takeover": True,
        "server_no_context_takeover": True,
        "client_max_window_bits": 10,
        "server_max_window_bits": 10,
    },
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
def test_websockets_sync_compresses_as_it_wants(
    echo: EchoServer, offer: dict[str, Any]
) -> None:
    """Whatever it offers, texts come back, the window filled several times over."""
    extension = ClientPerMessageDeflateFactory(**offer)
    with sync_connect(echo, compression=None, extensions=[extension]) as ws:
        assert [e.name for e in ws.protocol.extensions] == ["permessage-deflate"]
        for i in range(20):
            assert_echo(ws, f"all work and no play makes {i} a dull boy. " * i * i)
            assert_echo(ws, binary(i * 3000))


SERVERS: dict[str, PerMessageDeflate | None] = {
    "none": None,
    "no context": PerMessageDeflate(
        server_no_context_takeover=True, client_no_context_takeover=True
    ),
    "smallest windows": PerMessageDeflate(
        server_max_window_bits=8, client_max_window_bits=9
    ),
    "largest windows": PerMessageDeflate(
        server_max_window_bits=15, client_max_window_bits=15, mem_level=9
    ),
    "everything compressed": PerMessageDeflate(threshold=0, level=9),
}


@pytest.mark.parametrize("compression", SERVERS.values(), ids=SERVERS.keys())
def test_websockets_sync_compresses_as_the_server_wants(
    compression: PerMessageDeflate | None,
) -> None:
    """Each setting of the server gets along with the client's usual offer."""
    with echo_server(compression=compression) as echo, sync_connect(echo) as ws:
        assert bool(ws.protocol.extensions) == (compression is not None)
        for i in range(20):
            assert_echo(ws, f"all work and no play makes {i} a dull boy. " * i * i)
            assert_echo(ws, binary(i * 3000))


def test_websockets_sync_over_tls(certificate: Certificate) -> None:
    """Small and large messages pass, the certificate is verified."""
    with (
        echo_server(ssl=certificate.server_context()) as echo,
        websockets.sync.client.connect(
            f"wss://localhost:{echo.port}/", ssl=certificate.client_context()
        ) as ws,
    ):
        assert isinstance(ws.socket, ssl.SSLSocket)
        for length in LENGTHS:
            assert_echo(ws, binary(length))


def test_websockets_sync_over_a_unix_socket(tmp_path: Path) -> None:
    """The path of the socket is all the address there is."""
    path = tmp_path / "echo.sock"
    with (
        echo_server(unix=path),
        websockets.sync.client.unix_connect(str(path)) as ws,
    ):
        for length in LENGTHS:
            assert_echo(ws, binary(length))


def test_websockets_sync_over_ipv6() -> None:
    """The loopback of IPv6; the client's address tells."""
    with (
        echo_server("::1") as echo,
        websockets.sync.client.connect(f"ws://[::1]:{echo.port}/") as ws,
    ):
        assert_echo(ws, "here")
        assert echo.client().address[0] == "::1"


def test_websockets_sync_sends_a_thousand_messages(echo: EchoServer) -> None:
    """All come back in their order, though many of them share a packet."""
    with sync_connect(echo) as ws:
        for i in range(1000):
            ws.send(f"message {i}")

        assert [ws.recv(DEADLINE) for _ in range(1000)] == [
            f"message {i}" for i in range(1000)
        ]


def test_twenty_clients_of_websockets_sync_at_once(echo: EchoServer) -> None:
    """Each gets its own messages and no others."""

    def talk(number: int) -> None:
        with sync_connect(echo) as ws:
            for i in range(20):
                assert_echo(ws, f"client {number}, message {i} " * 100)

    with ThreadPoolExecutor(20) as pool:
        for future in [pool.submit(talk, number) for number in range(20)]:
            future.result(DEADLINE)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"additional_headers": {"Sec-WebSocket-Protocol": "a b"}}, 400),
    ],
    ids=["origin", "subprotocol"],
)
def test_websockets_sync_is_refused(
    echo: EchoServer, options: dict[str, Any], status: int
) -> None:
    """With a status and a body that says why (4.2.2)."""
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        sync_connect(echo, **options)

    assert caught.value.response.status_code == status
    assert caught.value.response.body


# websockets, asyncio


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine with a deadline."""

    async def main() -> T:
        return await asyncio.wait_for(scenario(), DEADLINE)

    return asyncio.run(main())


def test_websockets_asyncio_sends_text_and_binary(echo: EchoServer) -> None:
    """Unicode in samples, every form of length, and fragments."""

    async def scenario() -> None:
        async with websockets.asyncio.client.connect(echo.url) as ws:
            for text in unicode_texts(61):
                await ws.send(text)
                assert await ws.recv() == text
            for length in LENGTHS:
                await ws.send(binary(length))
                assert await ws.recv() == binary(length)
            await ws.send(["Zo", "", "ë"])
            assert await ws.recv() == "Zoë"

    run(scenario)


def test_websockets_asyncio_pings_within_a_message(echo: EchoServer) -> None:
    """Its Ping between two fragments is answered before the message ends (5.4)."""

    async def scenario() -> None:
        async with websockets.asyncio.client.connect(echo.url) as ws:

            async def fragments() -> AsyncIterator[str]:
                yield "first "
                await (await ws.ping(b"between"))
                yield "second"

            await ws.send(fragments())
            assert await ws.recv() == "first second"

    run(scenario)


@pytest.mark.parametrize("code", CODES)
def test_websockets_asyncio_closes(echo: EchoServer, code: int) -> None:
    """Code and reason reach the server, the code comes back (5.5.1)."""

    async def scenario() -> int | None:
        async with websockets.asyncio.client.connect(echo.url) as ws:
            await ws.close(code, "tschüß")
            return ws.close_code

    assert run(scenario) == code
    assert echo.close_of_client() == (code, "tschüß")


@pytest.mark.parametrize("code", CODES)
def test_websockets_asyncio_is_closed(echo: EchoServer, code: int) -> None:
    """Code and reason reach the client (5.5.1)."""

    async def scenario() -> tuple[int | None, str | None]:
        async with websockets.asyncio.client.connect(echo.url) as ws:
            await ws.send(f"close {code} ade, Welt")
            await ws.wait_closed()
            return ws.close_code, ws.close_reason

    assert run(scenario) == (code, "ade, Welt")
    assert echo.close_of_client()[0] == code


def test_websockets_asyncio_over_tls(certificate: Certificate) -> None:
    """Reading and writing at the same time, many messages in flight."""

    async def scenario(port: int) -> None:
        context = certificate.client_context()
        url = f"wss://127.0.0.1:{port}/"
        async with websockets.asyncio.client.connect(url, ssl=context) as ws:
            messages = [binary(i * 1000) for i in range(200)]

            async def send() -> None:
                for message in messages:
                    await ws.send(message)

            sending = asyncio.create_task(send())
            assert [await ws.recv() for _ in messages] == messages
            await sending

    with echo_server(ssl=certificate.server_context()) as echo:
        run(lambda: scenario(echo.port))


def test_websockets_asyncio_over_a_unix_socket(tmp_path: Path) -> None:
    """As over TCP."""
    path = tmp_path / "echo.sock"

    async def scenario() -> None:
        async with websockets.asyncio.client.unix_connect(str(path)) as ws:
            await ws.send(binary(MIB))
            assert await ws.recv() == binary(MIB)

    with echo_server(unix=path):
        run(scenario)


def test_twenty_clients_of_websockets_asyncio_at_once(echo: EchoServer) -> None:
    """Each gets its own messages and no others."""

    async def talk(number: int) -> None:
        async with websockets.asyncio.client.connect(echo.url) as ws:
            for i in range(20):
                await ws.send(f"client {number}, message {i}")
                assert await ws.recv() == f"client {number}, message {i}"

    async def scenario() -> None:
        await asyncio.gather(*(talk(number) for number in range(20)))

    run(scenario)


# websocket-client


@contextlib.contextmanager
def plain_connect(url: str, **options: Any) -> Iterator[Any]:
    """Connect with websocket-client, which has types in part only."""
    ws: Any = websocket.create_connection(url, timeout=DEADLINE, **options)
    try:
        yield ws
    finally:
        ws.shutdown()


def test_websocket_client_sends_text_and_binary(echo: EchoServer) -> None:
    """Unicode in samples, every form of length (RFC 6455, 5.2, 5.6)."""
    with plain_connect(echo.url) as ws:
        for text in unicode_texts(61):
            ws.send(text)
            assert ws.recv() == text
        for length in LENGTHS:
            ws.send_binary(binary(length))
            assert ws.recv() == binary(length)
        ws.close()


def test_websocket_client_sends_fragments(echo: EchoServer) -> None:
    """A character is cut in two, a Ping comes in between (5.4)."""
    frame = websocket.ABNF
    with plain_connect(echo.url) as ws:
        ws.send_frame(frame.create_frame(b"Zo\xc3", frame.OPCODE_TEXT, 0))
        ws.ping(b"between")
        ws.send_frame(frame.create_frame(b"", frame.OPCODE_CONT, 0))
        ws.send_frame(frame.create_frame(b"\xab", frame.OPCODE_CONT, 1))

        pong = ws.recv_frame()
        assert (pong.opcode, pong.data) == (frame.OPCODE_PONG, b"between")
        assert ws.recv() == "Zoë"
        ws.close()


def test_websocket_client_closes(echo: EchoServer) -> None:
    """Code and reason reach the server, which echoes the code (5.5.1)."""
    with plain_connect(echo.url) as ws:
        ws.send_close(4321, "tschüß".encode())
        opcode, data = ws.recv_data(control_frame=True)

    assert (opcode, data[:2]) == (websocket.ABNF.OPCODE_CLOSE, (4321).to_bytes(2))
    assert echo.close_of_client() == (4321, "tschüß")


def test_websocket_client_is_closed(echo: EchoServer) -> None:
    """Code and reason reach the client (5.5.1)."""
    with plain_connect(echo.url) as ws:
        ws.send("close 4000 ade, Welt")
        opcode, data = ws.recv_data(control_frame=True)

    assert opcode == websocket.ABNF.OPCODE_CLOSE
    assert data == (4000).to_bytes(2) + b"ade, Welt"
    assert echo.close_of_client()[0] == 4000


def test_websocket_client_gets_its_subprotocol(echo: EchoServer) -> None:
    """The client's first that the server knows (4.2.2)."""
    with plain_connect(echo.url, subprotocols=["chat.v2", "chat"]) as ws:
        assert ws.getsubprotocol() == "chat.v2"
        ws.close()


def test_websocket_client_sends_an_origin(echo: EchoServer) -> None:
    """By default that of the server's own host, which passes (10.2)."""
    with plain_connect(echo.url) as ws:
        request = echo.client().request
        assert request.headers["Origin"].startswith("http://127.0.0.1")
        ws.close()


def test_websocket_client_over_tls(certificate: Certificate) -> None:
    """Small and large messages pass."""
    sslopt = {"context": certificate.client_context()}
    with echo_server(ssl=certificate.server_context()) as echo:
        url = f"wss://localhost:{echo.port}/"
        with plain_connect(url, sslopt=sslopt) as ws:
            for length in LENGTHS:
                ws.send_binary(binary(length))
                assert ws.recv() == binary(length)
            ws.close()


def test_websocket_client_over_a_socket_that_is_there(tmp_path: Path) -> None:
    """A connected Unix socket, handed to the client."""
    path = tmp_path / "echo.sock"
    with echo_server(unix=path), socket.socket(socket.AF_UNIX) as unix:
        unix.settimeout(DEADLINE)
        unix.connect(str(path))
        with plain_connect("ws://localhost/", socket=unix) as ws:
            ws.send("local")
            assert ws.recv() == "local"
            ws.close()


# aiohttp


def test_aiohttp_sends_text_and_binary(echo: EchoServer) -> None:
    """Unicode in samples, every form of length (RFC 6455, 5.2, 5.6)."""

    async def scenario() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(echo.url) as ws,
        ):
            for text in unicode_texts(61):
                await ws.send_str(text)
                assert await ws.receive_str() == text
            for length in LENGTHS:
                await ws.send_bytes(binary(length))
                assert await ws.receive_bytes() == binary(length)

    run(scenario)


@pytest.mark.parametrize("compress", [0, 9, 12, 15])
def test_aiohttp_compresses(echo: EchoServer, compress: int) -> None:
    """With windows of several sizes, and not at all."""

    async def scenario() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(echo.url, compress=compress) as ws,
        ):
            for i in range(20):
                text = f"all work and no play makes {i} a dull boy. " * i * i
                await ws.send_str(text)
                assert await ws.receive_str() == text

    run(scenario)


def test_aiohttp_pings(echo: EchoServer) -> None:
    """The Pong has the payload of the Ping (5.5.3)."""

    async def scenario() -> aiohttp.WSMessage:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(echo.url, autoping=False) as ws,
        ):
            await ws.ping(b"payload")
            return await ws.receive()

    message = run(scenario)

    assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"payload")


@pytest.mark.parametrize("code", CODES)
def test_aiohttp_closes(echo: EchoServer, code: int) -> None:
    """Code and reason reach the server (5.5.1)."""

    async def scenario() -> int | None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(echo.url) as ws,
        ):
            await ws.close(code=code, message="tschüß".encode())
            return ws.close_code

    assert run(scenario) == code
    assert echo.close_of_client() == (code, "tschüß")


@pytest.mark.parametrize("code", CODES)
def test_aiohttp_is_closed(echo: EchoServer, code: int) -> None:
    """Code and reason reach the client (5.5.1)."""

    async def scenario() -> aiohttp.WSMessage:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(echo.url) as ws,
        ):
            await ws.send_str(f"close {code} ade, Welt")
            return await ws.receive()

    message = run(scenario)

    assert message.type == aiohttp.WSMsgType.CLOSE
    assert (message.data, message.extra) == (code, "ade, Welt")
    assert echo.close_of_client()[0] == code


def test_aiohttp_gets_its_subprotocol(echo: EchoServer) -> None:
    """The client's first that the server knows (4.2.2)."""

    async def scenario() -> str | None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(echo.url, protocols=("x", "chat.v2", "chat")) as ws,
        ):
            return ws.protocol

    assert run(scenario) == "chat.v2"


def test_aiohttp_over_tls(certificate: Certificate) -> None:
    """A message of each form of length, the certificate verified."""

    async def scenario(port: int) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                f"wss://localhost:{port}/", ssl=certificate.client_context()
            ) as ws,
        ):
            for length in LENGTHS:
                await ws.send_bytes(binary(length))
                assert await ws.receive_bytes() == binary(length)
            connected: Any = ws.get_extra_info("socket")
        # The loop ends TLS behind the back of the client, which doesn't wait.
        while connected.fileno() != -1:
            await asyncio.sleep(0)

    with echo_server(ssl=certificate.server_context()) as echo:
        run(lambda: scenario(echo.port))


def test_aiohttp_over_a_unix_socket(tmp_path: Path) -> None:
    """As over TCP."""
    path = tmp_path / "echo.sock"

    async def scenario() -> None:
        connector = aiohttp.UnixConnector(str(path))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.ws_connect("ws://localhost/") as ws,
        ):
            await ws.send_str("local")
            assert await ws.receive_str() == "local"

    with echo_server(unix=path):
        run(scenario)


def test_aiohttp_is_refused(echo: EchoServer) -> None:
    """A page of another site gets 403 (10.2)."""

    async def scenario() -> int:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(echo.url, origin="https://evil.example")
            return caught.value.status

    assert run(scenario) == 403
