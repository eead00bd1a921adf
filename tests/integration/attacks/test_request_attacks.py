"""Attacks with whole requests: A13 to A19, and A21, of the list of attacks.

Other protocols, bodies and second requests, hosts and origins, targets, early
frames, and headers of proxies that nobody trusts.
"""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest

from ..wire import DEADLINE
from .conftest import MakeArena
from .kit import FIN, frame, request


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"POST / HTTP/1.1", 405),
        (b"CONNECT 127.0.0.1:1 HTTP/1.1", 405),
        (b"BREW / HTTP/1.1", 501),
        (b"get / HTTP/1.1", 501),
        (b"GET / HTTP/1.0", 400),
        (b"GET /", 400),
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTX/1.1", 400),
        (b"GET HTTP/1.1", 400),
        (b"SSH-2.0-OpenSSH_9.2p1", 400),
        (b"*3", 400),
    ],
)
def test_a13_other_methods_and_protocols(
    arena: MakeArena, line: bytes, status: int
) -> None:
    """Whatever else knocks gets an answer in HTTP, and the end."""
    with arena() as scene:
        scene.refuses(request(line=line), status)


def test_a13_head_is_refused_without_a_body(arena: MakeArena) -> None:
    """HEAD opens nothing, and its answer has no body (RFC 9110, 9.3.2)."""
    with arena() as scene, scene.attacker() as peer:
        peer.write(request(line=b"HEAD / HTTP/1.1"))
        status, head, body = peer.read_response()

    assert status == 400
    assert "Content-Length: 0" not in head
    assert body == b""


def test_a13_tls_hello_on_a_plain_port(tcp_arena: MakeArena) -> None:
    """It is refused by its first byte, in words that name the cause."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(507)

    with tcp_arena() as scene:
        scene.refuses(hello, 400, "TLS")
        scene.refuses(hello[:1], 400, "TLS")


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"POST / HTTP/1.1"])
def test_a13_plain_request_on_a_tls_port(tls_arena: MakeArena, line: bytes) -> None:
    """The answer is plain, too, and says what to use instead."""
    with tls_arena() as scene, scene.attacker(plain=True) as peer:
        peer.write(request(line=line))

        peer.refused(400, "TLS", "wss://")


def test_a13_garbage_on_a_tls_port(tls_arena: MakeArena) -> None:
    """What is neither TLS nor HTTP is dropped, with one line in the log."""
    with tls_arena() as scene, scene.attacker(plain=True) as peer:
        peer.write(b"\x00\xff\x1b[2J" * 100)

        with pytest.raises((ConnectionError, EOFError)):
            peer.read_head()


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ((b"Content-Length: 5",), b"hello", 413),
        ((b"Content-Length: 5",), b"", 413),
        ((b"Content-Length: 18446744073709551616",), b"", 413),
        ((b"Content-Length: -5",), b"", 400),
        ((b"Content-Length: 5, 6",), b"", 400),
        ((b"Content-Length: " + b"9" * 5000,), b"", 400),
        ((b"Content-Length: 5", b"Content-Length: 6"), b"", 400),
        ((b"Transfer-Encoding: chunked",), b"5\r\nhello\r\n0\r\n\r\n", 413),
        ((b"Transfer-Encoding: gzip",), b"", 501),
        (
            (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
            b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            400,
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a14_body_on_an_upgrade(
    arena: MakeArena, fields: tuple[bytes, ...], body: bytes, status: int
) -> None:
    """It is refused from the header, and nothing of the body is a request."""
    with arena() as scene:
        scene.refuses(request(*fields) + body, status)


@pytest.mark.parametrize(
    "first",
    [
        request(without=[b"Upgrade"]),
        request(without=[b"Sec-WebSocket-Version"]),
        request(b"Origin: https://evil.example"),
        request(line=b"HEAD / HTTP/1.1"),
        request(b"Content-Length: 0", line=b"POST / HTTP/1.1"),
        request(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        request(without=[b"Upgrade", b"Sec-WebSocket-Key"]),
    ],
    ids=["upgrade", "version", "origin", "head", "post", "chunked", "plain"],
)
def test_a14_second_request_behind_a_refused_one_is_not_served(
    arena: MakeArena, first: bytes
) -> None:
    """One connection, one request, one answer (CVE-2026-69243)."""
    with arena() as scene, scene.attacker() as peer:
        peer.write(first + request(line=b"GET /smuggled HTTP/1.1"))
        head = peer.read_head()
        assert peer.status >= 400
        rest = peer.read_to_end()

        assert b"HTTP/1.1" not in rest, (head, rest)
        assert scene.requests == ["/bystander"]


def test_a14_second_request_behind_an_accepted_one_is_no_frame(
    arena: MakeArena,
) -> None:
    """Behind the 101 nothing is HTTP any more."""
    with arena() as scene, scene.attacker() as peer:
        peer.write(request() + request(line=b"GET /smuggled HTTP/1.1"))
        peer.read_head()

        assert peer.status == 101
        assert peer.closes(1002)
        assert scene.requests == ["/bystander", "/"]


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (b"Host: 127.0.0.1", b"Host: 127.0.0.1"),
        (b"Host: 127.0.0.1", b"Host: evil.example"),
        (b"Host:",),
        (b"Host: [::1",),
        (b"Host: ::1",),
        (b"Host: [::1]]",),
        (b"Host: [127.0.0.1]",),
        (b"Host: 127.0.0.1:",),
        (b"Host: 127.0.0.1:65536",),
        (b"Host: 127.0.0.1:-1",),
        (b"Host: evil@127.0.0.1",),
        (b"Host: 127.0.0.1, evil.example",),
        (b"Host: 127.0.0.1/evil.example",),
        (b"Host: 127.0.0.1 evil.example",),
    ],
    ids=str,
)
def test_a15_hosts_that_are_none(
    tcp_arena: MakeArena, fields: tuple[bytes, ...]
) -> None:
    """One valid Host, or 400 (RFC 9112, 3.2)."""
    with tcp_arena() as scene:
        if fields == (b"Host: 127.0.0.1:",):
            # RFC 3986 (3.2.3): an empty port is the default one.
            scene.accepts(request(*fields, without=[b"Host"]))
        else:
            scene.refuses(request(*fields, without=[b"Host"]), 400)


GOOD = "https://good.example"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        f"{GOOD}.evil",
        f"{GOOD}.evil.example",
        "https://evilgood.example",
        "https://sub.good.example",
        "https://evil.example/https://good.example",
        "https://good.example@evil.example",
        "http://good.example",
        "wss://good.example",
        f"{GOOD}:444",
        f"{GOOD}:4433",
        f"{GOOD}/",
        f"{GOOD} https://evil.example",
        f"{GOOD}, https://evil.example",
        "good.example",
        "file://",
        "",
    ],
)
def test_a16_foreign_origins_are_refused(tcp_arena: MakeArena, origin: str) -> None:
    """Scheme, host and port, all of them, or 403 that names the option (10.2)."""
    with tcp_arena(origins=[GOOD, None]) as scene:
        scene.refuses(request(f"Origin: {origin}".encode()), 403, "origins")


@pytest.mark.parametrize(
    "fields",
    [
        (f"Origin: {GOOD}".encode(), b"Origin: https://evil.example"),
        (b"Origin: https://evil.example", f"Origin: {GOOD}".encode()),
        (f"Origin: {GOOD}".encode(),) * 2,
    ],
    ids=str,
)
def test_a16_two_origins_are_one_too_many(
    tcp_arena: MakeArena, fields: tuple[bytes, ...]
) -> None:
    """Nobody has to guess which one a proxy looked at."""
    with tcp_arena(origins=[GOOD, None]) as scene:
        scene.refuses(request(*fields), 403, "origins")


@pytest.mark.parametrize(
    "origin",
    [GOOD, "HTTPS://Good.Example", f"{GOOD}:443", "https://GOOD.example:443"],
)
def test_a16_other_spellings_of_an_origin_are_the_same(
    tcp_arena: MakeArena, origin: str
) -> None:
    """Case and the default port make no other origin (RFC 6454, 4)."""
    with tcp_arena(origins=[GOOD, None]) as scene:
        scene.accepts(request(f"Origin: {origin}".encode()))


def test_a16_missing_origin_is_the_option_s_business(tcp_arena: MakeArena) -> None:
    """None in the list lets programs in that are no browsers; else they get 403."""
    with tcp_arena(origins=[GOOD, None]) as scene:
        scene.accepts(request())
    with tcp_arena(process_request=None) as scene:
        scene.accepts(request())


def test_a16_page_of_another_site_is_refused_by_default(arena: MakeArena) -> None:
    """A server that sets nothing is safe from other sites' pages."""
    with arena() as scene:
        for origin in (b"https://evil.example", b"null", b"file://"):
            scene.refuses(request(b"Origin: " + origin), 403, "origins")
        scene.accepts(request(b"Origin: http://127.0.0.1:8000"))
        scene.accepts(request(b"Origin: https://localhost"))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evillocalhost",
        "192.0.2.1",
        "0.0.0.0",
        "[::]",
        "[::ffff:192.0.2.1]",
        "2130706433",
        "0177.0.0.1",
    ],
)
@pytest.mark.parametrize("same", [False, True], ids=["no origin", "same origin"])
def test_a17_rebound_names_are_refused_on_loopback(
    tcp_arena: MakeArena, host: str, same: bool
) -> None:
    """A page whose name resolves to 127.0.0.1 gets 403 that names the option."""
    fields = [f"Host: {host}:8467".encode()]
    if same:
        fields.append(f"Origin: http://{host}:8467".encode())

    with tcp_arena() as scene:
        scene.refuses(request(*fields, without=[b"Host"]), 403, "hosts")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "app.localhost", "127.8.9.10", "[::1]"]
)
def test_a17_names_of_the_loopback_are_served_on_loopback(
    tcp_arena: MakeArena, host: str
) -> None:
    """Nobody else can have them (RFC 6761, 6.3)."""
    with tcp_arena() as scene:
        scene.accepts(request(f"Host: {host}:8467".encode(), without=[b"Host"]))


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/",
        "HTTP://127.0.0.1",
        "//",
        "//evil.example/",
        "/%00",
        "/..",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/a?" + "b" * 8000,
    ],
    ids=lambda target: target[:40],
)
def test_a18_strange_targets_reach_the_application_as_they_came(
    tcp_arena: MakeArena, target: str
) -> None:
    """They are no file names, so nothing is decoded or resolved."""
    with tcp_arena() as scene:
        scene.accepts(request(line=f"GET {target} HTTP/1.1".encode()))

        assert scene.requests == ["/bystander", target]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://evil.example/", 403),
        ("http://127.0.0.1@evil.example/", 400),
        ("http:///", 400),
        ("ftp://127.0.0.1/", 400),
        ("*", 400),
        ("127.0.0.1:80", 400),
        ("a", 400),
        ("/a#b", 400),
        ("/a?" + "b" * 8192, 414),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a18_targets_that_are_none(
    tcp_arena: MakeArena, target: str, status: int
) -> None:
    """A host in the target goes before the one in Host (RFC 9112, 3.2.2)."""
    with tcp_arena() as scene:
        scene.refuses(request(line=f"GET {target} HTTP/1.1".encode()), status)


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "/%252e%252e/secret.txt",
        "/a/../../secret.txt",
        "//secret.txt",
        "/.//../secret.txt",
        "/index.html%00.txt",
        "/link.txt",
    ],
)
def test_a18_no_target_leads_out_of_the_folder(
    tcp_arena: MakeArena, tmp_path: Path, target: str
) -> None:
    """Where files are served, those beside the folder aren't among them."""
    folder = tmp_path / "public"
    folder.mkdir()
    (folder / "index.html").write_text("public")
    (tmp_path / "secret.txt").write_text("do not serve")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")

    with tcp_arena(http=folder) as scene, scene.attacker() as peer:
        line = f"GET {target} HTTP/1.1".encode()
        peer.write(request(line=line, without=[b"Upgrade", b"Sec-WebSocket-Key"]))
        status, _, body = peer.read_response()

    assert status in (400, 404)
    assert b"do not serve" not in body


@pytest.mark.parametrize("size", [1, 100_000])
def test_a19_frames_in_the_packet_of_the_request_are_not_lost(
    arena: MakeArena, size: int
) -> None:
    """They count once the WebSocket is open, a Close frame among them (4.1)."""
    text = b"a" * size
    early = frame(FIN | 1, text) + frame(FIN | 9, b"early") + frame(FIN | 8)

    with arena() as scene, scene.attacker() as peer:
        peer.write(request() + early)
        peer.read_head()

        assert peer.status == 101
        assert peer.receive() == text.decode()
        assert peer.read_frame().payload == b"early"
        assert peer.closes(1005)


def test_a19_half_a_frame_in_the_packet_of_the_request(arena: MakeArena) -> None:
    """A frame may be cut where the packet ends."""
    text = frame(FIN | 1, b"in two parts")

    with arena() as scene, scene.attacker() as peer:
        peer.write(request() + text[:5])
        peer.read_head()
        peer.write(text[5:])

        assert peer.receive() == "in two parts"
        assert peer.leave()


def test_a19_frames_behind_a_refused_request_are_dropped(arena: MakeArena) -> None:
    """Without a 101 there are no frames."""
    with arena() as scene:
        scene.refuses(request(b"Origin: null") + frame(FIN | 1, b"x" * 5000), 403)


FORGED = (
    b"X-Forwarded-For: 192.0.2.1",
    b"X-Real-IP: 192.0.2.1",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: evil.example",
    b"Forwarded: for=192.0.2.1;host=evil.example;proto=https",
)


def test_a21_forged_headers_of_a_proxy_change_nothing(arena: MakeArena) -> None:
    """The address of a client is the one that its packets come from."""
    opened: queue.Queue[Any] = queue.Queue()

    with arena(on_connection_open=opened.put) as scene:
        opened.get(timeout=DEADLINE)
        with scene.attacker() as peer:
            peer.write(request(*FORGED))
            peer.read_head()
            client = opened.get(timeout=DEADLINE)

            assert client.address == ("127.0.0.1", peer.port)
            assert client.address in scene.server.clients
            assert peer.leave()

        assert not any("192.0.2.1" in line for line in scene.lines(peer))


def test_a21_forged_headers_evade_no_limit(tcp_arena: MakeArena) -> None:
    """Limits for an address count that of the packets, too."""
    with tcp_arena(max_connections_per_ip=1) as scene:
        scene.refuses(request(*FORGED), 429)


@pytest.mark.parametrize(
    "preamble",
    [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x01",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ],
    ids=["v1", "v1 unknown", "v2", "v2 short", "v2 long"],
)
def test_a21_forged_line_of_a_proxy_is_refused(
    arena: MakeArena, preamble: bytes
) -> None:
    """The PROXY protocol isn't spoken to whoever comes."""
    with arena() as scene:
        scene.refuses(preamble + request(), 400)
