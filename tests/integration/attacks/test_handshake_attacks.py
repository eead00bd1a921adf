"""Attacks on the opening handshake: A1 to A12 of the list of attacks.

Whatever a request is, the arena checks what it leaves behind: nothing but one line
in the log. What a refusal does while its peer goes on sending is here, too.
"""

from __future__ import annotations

import select
import threading
import time
from typing import Any
from urllib.parse import unquote

import pytest

from websock import Response
from websock.exceptions import InvalidRequest

from ...tools import wait_until
from ..wire import DEADLINE
from .arena import client_threads
from .conftest import MakeArena
from .kit import DEFLATE, cpu_time, growth_is_linear, request


def test_a1_two_thousand_headers_are_too_many(arena: MakeArena) -> None:
    """More header fields than the limit get 431, whatever their sizes."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    names = [f"{one}{two}:".encode() for one in letters for two in letters][:2000]

    with arena() as scene:
        scene.refuses(request(*names), 431, "more than 128 header fields")


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (
            request(b"X-Long: " + b"a" * (8193 - len("X-Long: "))),
            431,
            "header field over 8192 bytes",
        ),
        (
            b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 8192,
            431,
            "header field over 8192 bytes",
        ),
        (b"GET /" + b"a" * 8192, 414, "request line over 8192 bytes"),
        (b"GET /" + b"a" * 1_000_000, 414, "request line over 8192 bytes"),
        (b"a" * 1_000_000, 414, "request line over 8192 bytes"),
    ],
    ids=["field", "open field", "line", "megabyte line", "megabyte"],
)
def test_a2_endless_line_is_refused_before_its_end(
    flooded_arena: MakeArena, data: bytes, status: int, words: str
) -> None:
    """A line over 8 KiB is refused as soon as that much is there, end or not."""
    with flooded_arena() as scene:
        scene.refuses(data, status, words)


@pytest.mark.slow
def test_a3_header_block_in_one_byte_packets(arena: MakeArena) -> None:
    """A header block of 17 KiB in tiny packets gets 431 like one in large ones."""
    block = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(16))
    data = b"GET / HTTP/1.1\r\n" + block[:-2] + b"a" * 600

    with arena() as scene, scene.attacker() as peer:
        peer.write_bytewise(data)

        peer.refused(431, "header fields over 16384 bytes")


@pytest.mark.usefixtures("_one_byte_reads")
def test_a3_header_block_in_one_byte_reads_costs_linear_time(
    tcp_arena: MakeArena,
) -> None:
    """No byte is looked at again because others come after it."""
    with tcp_arena(open_timeout=DEADLINE) as scene:
        (main,) = (t for t in threading.enumerate() if "serve_forever" in t.name)

        def cost(size: int) -> float:
            lines = size // 512
            fields = [b"X-%d: " % n + b"a" * 500 for n in range(lines)]
            with scene.attacker() as peer:
                before = cpu_time(main)
                peer.write(request(*fields))
                peer.read_head()
                assert peer.leave()
                return cpu_time(main) - before

        assert growth_is_linear(cost, 1920, 8)


@pytest.mark.slow
def test_a4_slow_handshakes_take_no_threads(tcp_arena: MakeArena) -> None:
    """Silence ends at ``open_timeout``, and costs a socket until then."""
    with tcp_arena(open_timeout=3.0) as scene:
        threads = threading.active_count()
        peers = [scene.attacker() for _ in range(200)]
        scene.others_live()
        assert threading.active_count() == threads

        for peer in peers:
            assert peer.read_to_end() == b""

        assert threading.active_count() == threads


def test_a4_byte_after_byte_does_not_put_off_the_deadline(arena: MakeArena) -> None:
    """``open_timeout`` counts from the connection: who trickles gets 408."""
    with arena(open_timeout=2.0) as scene, scene.attacker() as peer:
        for byte in request(b"X: " + b"a" * 4000):
            peer.write(bytes([byte]))
            if select.select([peer.socket], [], [], 0.05)[0]:
                break
        else:
            pytest.fail("the whole request was waited for")

        assert client_threads() == list(scene.bystander.server_side(scene.server))
        peer.refused(408, "the request isn't complete in time")


def test_a4_tls_handshake_has_the_same_deadline(tls_arena: MakeArena) -> None:
    """A ClientHello that never ends costs a socket until ``open_timeout``."""
    with (
        tls_arena(open_timeout=2.0) as scene,
        scene.attacker(plain=True) as silent,
        scene.attacker(plain=True) as slow,
    ):
        slow.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        for _ in range(400):
            slow.write(b"\x00")
            if select.select([slow.socket], [], [], 0.05)[0]:
                break
        else:
            pytest.fail("the whole ClientHello was waited for")

        assert slow.read_to_end() == b""
        assert silent.read_to_end() == b""


def test_a5_quoted_parameter_without_end_is_refused_in_linear_time(
    tcp_arena: MakeArena,
) -> None:
    r"""Nothing is tried twice in ``a; b="\c\c\c...`` (CVE-2020-7662)."""
    name = b"Sec-WebSocket-Extensions: "

    with tcp_arena() as scene:

        def cost(size: int) -> float:
            value = b'a; b="' + rb"\c" * (size // 2)
            before = time.process_time()
            scene.refuses(request(name + value), 400, "Sec-WebSocket-Extensions")
            return time.process_time() - before

        assert growth_is_linear(cost, 500, 16)


@pytest.mark.parametrize(
    ("spaces", "status", "words"),
    [
        (32_000, 431, "header field over 8192 bytes"),
        (8_000, 400, "Sec-WebSocket-Protocol"),
    ],
)
def test_a6_spaces_in_a_list_of_subprotocols(
    arena: MakeArena, spaces: int, status: int, words: str
) -> None:
    """Thousands of spaces are a fault of the list, found once (CVE-2021-32640)."""
    value = b"b" + b" " * spaces + b"x"

    with arena(subprotocols=["b"]) as scene:
        scene.refuses(request(b"Sec-WebSocket-Protocol: " + value), status, words)


@pytest.mark.parametrize(
    "value",
    [
        "constructor",
        "__proto__; a=b",
        ", ".join(["a"] * 1000),
        f"{DEFLATE}; server_no_context_takeover; server_no_context_takeover",
        f"{DEFLATE}; client_max_window_bits=15; client_max_window_bits=15",
        *(f"{DEFLATE}; client_max_window_bits={n}" for n in ("7", "16", "0", "x")),
        f"{DEFLATE}; client_max_window_bits=08",
        f"{DEFLATE}; client_max_window_bits=99999999999999999999",
        f"{DEFLATE}; server_max_window_bits",
        f"{DEFLATE}; unknown",
    ],
    ids=lambda value: value[:60],
)
def test_a7_offers_that_can_not_be_accepted_are_declined(
    tcp_arena: MakeArena, value: str
) -> None:
    """A WebSocket without compression is what they get (RFC 7692, 7.1; 9.1)."""
    field = f"Sec-WebSocket-Extensions: {value}".encode()

    with tcp_arena() as scene:
        head = scene.accepts(request(field))

    assert "Sec-WebSocket-Extensions" not in head


@pytest.mark.parametrize(
    "value",
    [
        ",;constructor",
        ";",
        f"{DEFLATE};",
        f"{DEFLATE}; =",
        f"{DEFLATE}; client_max_window_bits=",
        f"{DEFLATE} client_max_window_bits",
        f'{DEFLATE}; client_max_window_bits=" 9"',
        f'{DEFLATE}; client_max_window_bits=""',
        "a b",
        "a/b",
    ],
)
def test_a7_offers_against_the_grammar_are_refused(
    tcp_arena: MakeArena, value: str
) -> None:
    """What isn't a list of extensions gets 400 (9.1)."""
    field = f"Sec-WebSocket-Extensions: {value}".encode()

    with tcp_arena() as scene:
        scene.refuses(request(field), 400, "Sec-WebSocket-Extensions")


@pytest.mark.parametrize(
    "name",
    [b"X", b"Host", b"Origin", b"Cookie", b"User-Agent", b"Sec-WebSocket-Protocol"],
)
@pytest.mark.parametrize(
    "value",
    [
        b"\xff",
        "ü".encode(),
        b"a\0b",
        b"a\rb",
        b"a\nX: b",
        b"a\r\n b",
        b"\x1b[2J",
        b"\x7f",
    ],
)
def test_a8_bytes_that_no_header_has(
    tcp_arena: MakeArena, name: bytes, value: bytes
) -> None:
    """They are refused anywhere, and don't reach the log (RFC 9110, 5.5)."""
    with tcp_arena(subprotocols=["b"]) as scene:
        scene.refuses(request(name + b": " + value, without=[name]), 400)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /\xff HTTP/1.1",
        b"GET /\0 HTTP/1.1",
        b"GET /\x1b[2J HTTP/1.1",
        b"GET / HTTP/1.1\rX: a",
        b"GET / HTTP/1.1\nHost: a",
        b"GET /\tHTTP/1.1",
        b" GET / HTTP/1.1",
    ],
)
def test_a8_bytes_that_no_request_line_has(arena: MakeArena, line: bytes) -> None:
    """They are refused there as well (RFC 9112, 3)."""
    with arena() as scene:
        scene.refuses(request(line=line), 400)


@pytest.mark.parametrize("field", [b" X: a", b"X : a", b"X\xff: a", b"X", b": a"])
def test_a8_names_that_no_header_has(tcp_arena: MakeArena, field: bytes) -> None:
    """Space before a colon, for example, is how requests are smuggled (5.1)."""
    with tcp_arena() as scene:
        scene.refuses(request(field), 400)


INJECTION = "/?%0d%0aSet-Cookie:%20id=stolen%0d%0a%0d%0a<script>"


def test_a9_line_break_in_a_redirect_splits_no_response(arena: MakeArena) -> None:
    """An application that puts a peer's words into a header gets an exception."""

    def redirect(client: Any, asked: Any) -> Response | None:
        if asked.path == "/bystander":
            return None
        return Response(302, {"Location": unquote(asked.target)})

    with arena(process_request=redirect) as scene:
        scene.tracebacks_allowed = True
        line = f"GET {INJECTION} HTTP/1.1".encode()
        with scene.attacker(lines=None) as peer:
            peer.write(request(line=line))
            status, head, body = peer.read_response()

    assert status == 500
    assert b"stolen" not in head.encode() + body


def test_a9_line_break_in_a_header_of_the_101_splits_no_response(
    arena: MakeArena,
) -> None:
    """The same goes for what it adds to the response of the handshake."""

    def set_cookie(client: Any, asked: Any) -> None:
        client.response_headers["Set-Cookie"] = f"asked={unquote(asked.query)}"

    with arena(process_request=set_cookie) as scene:
        scene.tracebacks_allowed = True
        line = f"GET {INJECTION} HTTP/1.1".encode()
        with scene.attacker(lines=None) as peer:
            peer.write(request(line=line))
            status, head, body = peer.read_response()

    assert status == 500
    assert b"stolen" not in head.encode() + body


def test_a9_line_break_in_a_subprotocol_splits_no_response(arena: MakeArena) -> None:
    """A subprotocol that the client didn't offer is the application's fault."""

    def select_subprotocol(client: Any, offered: Any) -> str | None:
        return "chat\r\nSet-Cookie: id=stolen" if offered else None

    with arena(select_subprotocol=select_subprotocol) as scene:
        scene.tracebacks_allowed = True
        with scene.attacker(lines=None) as peer:
            peer.write(request(b"Sec-WebSocket-Protocol: chat"))
            status, head, body = peer.read_response()

    assert status == 500
    assert b"stolen" not in head.encode() + body


def test_a9_line_break_in_a_refusal_forges_no_line(arena: MakeArena) -> None:
    """An application may quote its peer when it refuses; the log stays one line."""

    def refuse(client: Any, asked: Any) -> None:
        if asked.path != "/bystander":
            raise InvalidRequest(f"no such thing: {unquote(asked.query)}")

    with arena(process_request=refuse) as scene, scene.attacker() as peer:
        peer.write(request(line=b"GET /?a%0d%0aINFO%20forged%1b[2J HTTP/1.1"))
        status, head, _ = peer.read_response()

        assert status == 400
        assert "forged" not in head


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"Connection", b"notupgrade"),
        (b"Connection", b"upgrade2"),
        (b"Connection", b"keep-alive"),
        (b"Connection", b""),
        (b"Upgrade", b"websocket2"),
        (b"Upgrade", b"notwebsocket"),
        (b"Upgrade", b"websocket/13"),
        (b"Upgrade", b"h2c"),
    ],
)
def test_a10_words_that_contain_the_token_are_not_it(
    tcp_arena: MakeArena, name: bytes, value: bytes
) -> None:
    """Half an upgrade gets 426 (4.2.1)."""
    with tcp_arena() as scene:
        data = request(name + b": " + value, without=[name])
        head = scene.refuses(data, 426, name.decode())

    assert "Upgrade: websocket" in head


@pytest.mark.parametrize(
    "fields",
    [
        (b"Connection: keep-alive, Upgrade", b"Upgrade: websocket"),
        (b"Connection: keep-alive", b"Connection: UPGRADE", b"Upgrade: WebSocket"),
        (b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: websocket"),
        (b"Connection: ,upgrade\t,", b"Upgrade: h2c, websocket"),
    ],
)
def test_a10_tokens_count_wherever_they_are_in_a_list(
    tcp_arena: MakeArena, fields: tuple[bytes, ...]
) -> None:
    """Lists, in one field or more, and any case are as good (RFC 9110, 5.3)."""
    with tcp_arena() as scene:
        scene.accepts(request(*fields, without=[b"Connection", b"Upgrade"]))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j",), 400),
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",), 400),
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU=",), 400),
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWV=",), 400),
        ((b"Sec-WebSocket-Key: dGhlIHNh!XBsZSBub25jZQ==",), 400),
        ((b"Sec-WebSocket-Key: dGhlIHNh XBsZSBub25jZQ==",), 400),
        ((b"Sec-WebSocket-Key:",), 400),
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",) * 2, 400),
        ((b"Sec-WebSocket-Key: " + b"A" * 2**20,), 431),
        ((), 400),
    ],
    ids=[
        *("15 bytes", "no padding", "17 bytes", "17 bytes padded", "not base64"),
        *("space", "empty", "two", "megabyte", "none"),
    ],
)
def test_a11_keys_that_are_not_sixteen_bytes(
    tcp_arena: MakeArena, fields: tuple[bytes, ...], status: int
) -> None:
    """One key, of 16 bytes in base64, or 400 (4.2.1)."""
    with tcp_arena() as scene:
        data = request(*fields, without=[b"Sec-WebSocket-Key"])
        scene.refuses(data, status)


@pytest.mark.parametrize(
    "fields",
    [
        *(
            (f"Sec-WebSocket-Version: {version}".encode(),)
            for version in ("8", "12", "14", "13, 8", "013", "0", "-13", "x", "")
        ),
        (b"Sec-WebSocket-Version: 13",) * 2,
        (),
    ],
    ids=str,
)
def test_a12_other_versions_are_told_which_one_is_spoken(
    tcp_arena: MakeArena, fields: tuple[bytes, ...]
) -> None:
    """426 with ``Sec-WebSocket-Version: 13`` (4.2.2, 4.4)."""
    with tcp_arena() as scene:
        data = request(*fields, without=[b"Sec-WebSocket-Version"])
        head = scene.refuses(data, 426)

    assert "Sec-WebSocket-Version: 13" in head


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(b"Origin: null"), b"403"),
        (b"a" * 8194, b"414"),
        (request(without=[b"Upgrade"]), b"426"),
    ],
)
def test_refusal_reaches_a_peer_that_goes_on_sending(
    flooded_arena: MakeArena, data: bytes, status: bytes
) -> None:
    """All of it, and then the end, though megabytes come in all the while."""
    with flooded_arena() as scene, scene.attacker() as peer:
        peer.write(data)
        answer = peer.write_while_reading(b"z" * 65536, 8 * 2**20)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert f"content-length: {len(body)}".encode() in head.lower()


def test_refusal_reaches_a_peer_that_sends_first_and_reads_then(
    flooded_arena: MakeArena,
) -> None:
    """The server takes what comes, for a while, lest the answer be lost with it."""
    with flooded_arena() as scene, scene.attacker() as peer:
        peer.write(b"a" * (8 * 2**20))

        peer.refused(414)


def test_refusal_does_not_wait_for_ever_for_a_peer_that_stays(
    arena: MakeArena,
) -> None:
    """Who doesn't end its side is cut off after ``close_timeout``."""
    with arena(close_timeout=0.3) as scene, scene.attacker() as peer:
        peer.write(request(b"Origin: null"))
        peer.refused(403)

        assert wait_until(scene.is_back_to_the_bystander)
