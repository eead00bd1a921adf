"""The package ``ws`` of Node.js, and Node's own WebSocket, as foreign clients."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from websock import PerMessageDeflate

from ..certificate import make_certificate
from ..echo_server import EchoServer, echo_server
from ..tools import require_node_package, require_tool

pytestmark = pytest.mark.node

CLIENT = Path(__file__).with_name("client.js")

SECONDS = 45.0
"""Longest time for one run of the client."""


def run_node(*arguments: str) -> str:
    """Run Node.js with the package ``ws``; returns what it printed."""
    result = subprocess.run(
        [require_tool("node", apt="nodejs"), *arguments],
        env={**os.environ, "NODE_PATH": str(require_node_package("ws"))},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def play(url: str, scenario: str, **options: Any) -> None:
    """Play a scenario of the client; all must be well."""
    assert run_node(str(CLIENT), url, scenario, json.dumps(options)) == "ok"


@pytest.fixture(scope="module")
def shared() -> Iterator[EchoServer]:
    """A server for tests that don't ask it for anything afterwards."""
    with echo_server(subprotocols=["chat", "chat.v2"]) as echo:
        yield echo


@pytest.fixture(scope="module")
def wide() -> Iterator[EchoServer]:
    """A server that asks for nothing when it comes to compression."""
    compression = PerMessageDeflate(
        server_max_window_bits=15, client_max_window_bits=15
    )
    with echo_server(compression=compression) as echo:
        yield echo


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    """A server for one test."""
    with echo_server() as echo:
        yield echo


def test_text_in_all_of_unicode_comes_back(shared: EchoServer) -> None:
    """Every scalar value survives both ways (RFC 6455, 5.6)."""
    play(shared.url, "unicode")


def test_every_form_of_length_comes_back(shared: EchoServer) -> None:
    """Messages of 0, 125, 126, 65,535, 65,536 bytes, text and binary (5.2)."""
    play(shared.url, "binary")


@pytest.mark.parametrize("compressed", [True, False], ids=["deflate", "plain"])
def test_a_message_of_1_mib_comes_back(shared: EchoServer, compressed: bool) -> None:
    """The default limit lets a message of 2**20 bytes pass."""
    play(shared.url, "mebibyte", perMessageDeflate=compressed)


@pytest.mark.parametrize("compressed", [True, False], ids=["deflate", "plain"])
def test_a_message_over_the_limit_is_1009(shared: EchoServer, compressed: bool) -> None:
    """One byte more ends the connection with 1009 (7.4.1)."""
    play(shared.url, "tooBig", perMessageDeflate=compressed)


@pytest.mark.parametrize("compressed", [True, False], ids=["deflate", "plain"])
def test_fragments_become_one_message(shared: EchoServer, compressed: bool) -> None:
    """With a Ping, an empty fragment, and a character cut in two (5.4)."""
    play(shared.url, "fragments", perMessageDeflate=compressed)


def test_a_thousand_fragments_become_one_message(shared: EchoServer) -> None:
    """Their number is no fault below the limit (5.4)."""
    play(shared.url, "manyFragments")


def test_pings_are_answered_both_ways(shared: EchoServer) -> None:
    """With payloads of 0 to 125 bytes; an unsolicited Pong is no fault (5.5.2)."""
    play(shared.url, "pings")


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 3000, 4321, 4999])
def test_close_of_the_client_is_told_and_echoed(echo: EchoServer, code: int) -> None:
    """on_connection_close gets code and reason; the code comes back (5.5.1)."""
    play(echo.url, "closeByClient", code=code, reason="tschüß")

    assert echo.close_of_client() == (code, "tschüß")


def test_close_without_a_code_is_1005(echo: EchoServer) -> None:
    """An empty Close frame is answered by one, and told as 1005 (7.1.5)."""
    play(echo.url, "closeWithoutCode")

    assert echo.close_of_client() == (1005, "")


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 3000, 4321, 4999])
def test_close_of_the_server_reaches_the_client(echo: EchoServer, code: int) -> None:
    """Client.close() sends code and reason (5.5.1)."""
    play(echo.url, "closeByServer", code=code, reason="tschüß")

    assert echo.close_of_client()[0] == code


def test_a_client_that_vanishes_is_1006(echo: EchoServer) -> None:
    """TCP ends without a Close frame (7.1.5)."""
    play(echo.url, "terminate")

    assert echo.close_of_client() == (1006, "")


@pytest.mark.parametrize("change", ["toLowerCase", "toUpperCase"])
def test_names_of_headers_come_in_any_case(shared: EchoServer, change: str) -> None:
    """They're case-insensitive (RFC 9110, 5.1)."""
    play(shared.url, "headerCase", change=change)


def test_the_first_common_subprotocol_is_chosen(shared: EchoServer) -> None:
    """By the client's order of preference (RFC 6455, 4.2.2)."""
    offer = ["nonsense", "chat.v2", "chat"]

    play(shared.url, "subprotocol", protocols=offer, expected="chat.v2")


def test_none_is_chosen_if_none_is_common(shared: EchoServer) -> None:
    """The 101 has no Sec-WebSocket-Protocol then; this client gives up (4.2.2)."""
    play(shared.url, "noCommonSubprotocol")


DEFLATE: list[tuple[str, Any, dict[str, Any] | None]] = [
    ("off", False, None),
    ("default", {}, {}),
    (
        "no client context",
        {"clientNoContextTakeover": True},
        {"client_no_context_takeover": True},
    ),
    (
        "no server context",
        {"serverNoContextTakeover": True},
        {"server_no_context_takeover": True},
    ),
    (
        "no context",
        {"clientNoContextTakeover": True, "serverNoContextTakeover": True},
        {"client_no_context_takeover": True, "server_no_context_takeover": True},
    ),
    (
        "server window of 9 bits",
        {"serverMaxWindowBits": 9},
        {"server_max_window_bits": 9},
    ),
    (
        "server window of 15 bits",
        {"serverMaxWindowBits": 15},
        {"server_max_window_bits": 15},
    ),
]


@pytest.mark.parametrize(
    ("offer", "agreed"), [case[1:] for case in DEFLATE], ids=[c[0] for c in DEFLATE]
)
def test_compression_is_as_the_client_asks(
    wide: EchoServer, offer: Any, agreed: dict[str, Any] | None
) -> None:
    """Each parameter by which it binds the server or itself is agreed (RFC 7692, 7)."""
    play(wide.url, "deflate", perMessageDeflate=offer, expected=agreed)


def test_windows_are_of_12_bits_by_default(shared: EchoServer) -> None:
    """The server binds itself, and the client that lets it (RFC 7692, 7.1.2)."""
    agreed = {"server_max_window_bits": 12, "client_max_window_bits": 12}

    play(shared.url, "deflate", perMessageDeflate={}, expected=agreed)


@pytest.mark.parametrize("bits", [8, 9, 12, 14])
def test_compression_is_as_the_server_asks(bits: int) -> None:
    """Any window that RFC 7692 has works for both (7.1.2)."""
    compression = PerMessageDeflate(
        server_max_window_bits=bits, client_max_window_bits=bits
    )
    agreed = {"server_max_window_bits": bits, "client_max_window_bits": bits}
    with echo_server(compression=compression) as echo:
        play(echo.url, "deflate", perMessageDeflate={}, expected=agreed)


def test_no_context_is_kept_if_the_server_asks() -> None:
    """It may ask for that, both of itself and of the client (RFC 7692, 7.1.1)."""
    compression = PerMessageDeflate(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=15,
        client_max_window_bits=15,
    )
    agreed = {"server_no_context_takeover": True, "client_no_context_takeover": True}
    with echo_server(compression=compression) as echo:
        play(echo.url, "deflate", perMessageDeflate={}, expected=agreed)


def test_no_compression_without_the_server(shared: EchoServer) -> None:
    """``compression=None`` declines every offer."""
    with echo_server(compression=None) as echo:
        play(echo.url, "deflate", perMessageDeflate={}, expected=None)


def test_messages_in_one_packet_all_arrive(shared: EchoServer) -> None:
    """Five hundred messages and a Ping in one write keep their order."""
    play(shared.url, "onePacket")


def test_a_message_in_front_of_a_close_arrives(echo: EchoServer) -> None:
    """Its echo comes before the Close, though both came in one packet."""
    play(echo.url, "packetWithClose")

    assert echo.close_of_client() == (4001, "in the same packet")


def test_twenty_clients_at_once(shared: EchoServer) -> None:
    """Each gets its own messages."""
    play(shared.url, "twenty")


def test_tls(tmp_path: Path) -> None:
    """Small and large messages pass through TLS, whose certificate is verified."""
    made = make_certificate(tmp_path)
    with echo_server(ssl=made.server_context()) as echo:
        url = f"wss://localhost:{echo.port}/"
        play(url, "tls", ca=str(made.certificate))


def test_ipv6() -> None:
    """The loopback of IPv6."""
    with echo_server("::1") as echo:
        play(f"ws://[::1]:{echo.port}/", "binary")


def test_unix_socket(tmp_path: Path) -> None:
    """Both over a Unix socket."""
    path = tmp_path / "echo.sock"
    with echo_server(unix=path):
        play(f"ws+unix:{path}:/", "unix")


@pytest.mark.parametrize(
    ("status", "headers", "version"),
    [
        (403, {"Origin": "https://evil.example"}, 13),
        (403, {"Host": "evil.example"}, 13),
        (426, {}, 8),
    ],
    ids=["origin", "host", "version"],
)
def test_refusals_have_a_status_and_a_text(
    shared: EchoServer, status: int, headers: dict[str, str], version: int
) -> None:
    """A client that is refused learns why (RFC 6455, 4.2.2, 4.4, 10.2)."""
    play(shared.url, "refused", status=status, headers=headers, protocolVersion=version)


def test_websocket_of_node_itself(shared: EchoServer) -> None:
    """Node has one since version 22, and hidden behind an option since 20.10."""
    match = re.match(r"v(\d+)\.(\d+)", run_node("--version"))
    assert match is not None
    version = (int(match[1]), int(match[2]))
    hidden = (20, 10) <= version < (22, 0)
    option = ["--experimental-websocket"] if hidden else []

    result = run_node(*option, str(CLIENT), shared.url, "builtIn")

    assert result == ("ok" if version >= (20, 10) else "absent")
