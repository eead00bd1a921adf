"""The request at the start of a connection, from bytes."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websock.exceptions import (
    ContentTooLarge,
    ForbiddenMethod,
    HandshakeError,
    InvalidRequest,
    LocalProtocolError,
    RequestTooLarge,
    TargetTooLong,
    UnsupportedCoding,
    UnsupportedHTTPVersion,
    UnsupportedMethod,
)
from websock.headers import Headers
from websock.request import Request, RequestReader

UPGRADE = (
    b"GET /chat?room=1 HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Origin: http://example.com\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)

Outcome = Request | tuple[type[HandshakeError], str] | None


def read(data: Iterable[bytes], reader: RequestReader) -> tuple[Outcome, int]:
    """What the reader makes of the data, and after how many bytes."""
    count = 0
    for piece in data:
        count += len(piece)
        try:
            request = reader.receive_data(piece)
        except HandshakeError as error:
            return (type(error), str(error)), count
        if request is not None:
            return request, count
    return None, count


def pieces(data: bytes, size: int = 1) -> list[bytes]:
    """The data in packets of this size."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def assert_refused(
    data: bytes, error: type[HandshakeError], sentence: str, **limits: int
) -> None:
    """All ways to split the data into equal packets end in the same error.

    Byte by byte, it comes with the last byte of the data and not before.
    """
    whole, _ = read([data], RequestReader(**limits))
    assert whole is not None
    assert not isinstance(whole, Request)
    assert whole[0] is error
    assert sentence in whole[1]
    assert whole[1].isprintable()
    assert len(whole[1]) < 200

    assert read(pieces(data), RequestReader(**limits)) == (whole, len(data))
    assert read(pieces(data, 7), RequestReader(**limits))[0] == whole
    # What would come after it changes nothing.
    more = data + b"\r\n\r\n\x00\n"
    assert read([more], RequestReader(**limits))[0] == whole


def assert_read(data: bytes, **limits: int) -> Request:
    """All ways to split the data give the same request, with its last byte."""
    request, _ = read([data], RequestReader(**limits))

    assert isinstance(request, Request)
    for size in (1, 2, 3, 1000):
        assert read(pieces(data, size), RequestReader(**limits)) == (request, len(data))
    return request


def get(*fields: bytes) -> bytes:
    """A request with these fields after its host."""
    return b"\r\n".join((b"GET / HTTP/1.1", b"Host: a", *fields, b"", b""))


# Requests


def test_an_opening_handshake_is_read() -> None:
    """The example of section 1.2 comes out as it went in, in any split."""
    request = assert_read(UPGRADE)

    assert request.method == "GET"
    assert request.target == "/chat?room=1"
    assert request.http_version == "1.1"
    assert request.headers.raw_items() == [
        ("Host", "server.example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", "http://example.com"),
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Version", "13"),
    ]


def test_a_request_is_read_in_any_two_packets() -> None:
    """Wherever the network cuts, the second packet completes the request."""
    expected = RequestReader().receive_data(UPGRADE)

    for cut in range(len(UPGRADE)):
        reader = RequestReader()
        assert reader.receive_data(UPGRADE[:cut]) is None
        assert reader.started is (cut > 0)
        assert reader.trailing == b""
        assert reader.receive_data(UPGRADE[cut:]) == expected


@pytest.mark.parametrize("trailing", [b"", b"\x81\x85\0\0\0\0Hello", b"\n\r\n\r\n\0"])
def test_frames_behind_the_request_are_not_lost(trailing: bytes) -> None:
    """They may come in its packet, or later, and can be any bytes (A19)."""
    for cut in range(len(trailing) + 1):
        reader = RequestReader()
        request = reader.receive_data(UPGRADE + trailing[:cut])
        assert request is not None
        assert reader.trailing == trailing[:cut]
        assert reader.receive_data(trailing[cut:]) is None
        assert reader.trailing == trailing
        reader.receive_eof()


def test_a_second_request_stays_unread() -> None:
    """One connection is good for one request; the rest is never parsed (A14)."""
    reader = RequestReader()

    assert reader.receive_data(UPGRADE + b"GET /admin HTTP/1.1\r\n\r\n") is not None
    assert reader.receive_data(UPGRADE) is None
    assert reader.trailing.startswith(b"GET /admin")


@pytest.mark.parametrize(
    "fields",
    [
        (b"Upgrade: WEBSOCKET", b"Connection:Upgrade"),
        (b"upgrade: websocket", b"connection: upgrade"),
        (b"UPGRADE:\twebsocket \t", b"CONNECTION:  keep-alive, Upgrade  "),
    ],
)
def test_spelling_of_fields_is_free(fields: tuple[bytes, ...]) -> None:
    """Firefox, Dart and others differ in case and in white space."""
    request = assert_read(get(*fields))

    assert request.headers["upgrade"].lower() == "websocket"
    assert request.headers["connection"].lower().endswith("upgrade")


def test_an_empty_value_is_a_value() -> None:
    """A field may be empty (RFC 9110, 5.5)."""
    request = assert_read(get(b"A:", b"B: ", b"A: \t"))

    assert request.headers.get_all("a") == ["", ""]
    assert request.headers["b"] == ""


def test_one_empty_line_before_the_request_is_ignored() -> None:
    """Old clients send one after the body of their last request (RFC 9112, 2.2)."""
    assert assert_read(b"\r\n" + UPGRADE) == assert_read(UPGRADE)


def test_more_empty_lines_are_refused() -> None:
    """A peer can't keep the server waiting with them."""
    assert_refused(b"\r\n\r\n", InvalidRequest, "empty lines")


def test_http_1_0_is_read_without_a_host() -> None:
    """An upgrade over it is refused later; health checks still use it (A13)."""
    request = assert_read(b"GET / HTTP/1.0\r\n\r\n")

    assert request.http_version == "1.0"
    assert request.host == ""


def test_later_minor_versions_are_read() -> None:
    """Who speaks HTTP/1.2 understands HTTP/1.1 (RFC 9110, 2.5)."""
    assert assert_read(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n").http_version == "1.2"


def test_a_head_request_is_read() -> None:
    """The reader tells it even if the request is refused afterwards."""
    reader = RequestReader()

    before = reader.is_head
    reader.receive_data(b"HEAD / HTTP/1.1\r\n")
    with pytest.raises(InvalidRequest):
        reader.receive_data(b"\r\n")

    assert (before, reader.is_head) == (False, True)
    assert assert_read(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").method == "HEAD"


def test_expectations_are_ignored() -> None:
    """There is no body to send or not to send (RFC 9110, 10.1.1)."""
    assert_read(get(b"Expect: 100-continue", b"Content-Length: 0"))


# Targets


@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        ("/", "a", "/", ""),
        ("/chat?x=1&y=?/#"[:-1], "a", "/chat", "x=1&y=?/"),
        ("/?", "a", "/", ""),
        ("//evil.example/x", "a", "//evil.example/x", ""),
        ("/%00/../..%2f", "a", "/%00/../..%2f", ""),
        ("/http://b/", "a", "/http://b/", ""),
        ("/\\{}|^\"'<>", "a", "/\\{}|^\"'<>", ""),
        ("http://b", "b", "/", ""),
        ("HTTP://B:80/x?y", "B:80", "/x", "y"),
        ("https://b?y=http://c/", "b", "/", "y=http://c/"),
        ("ws://[::1]:8467//x", "[::1]:8467", "//x", ""),
        ("wss://b/", "b", "/", ""),
        ("/?" + "q" * 8000, "a", "/", "q" * 8000),
    ],
)
def test_a_target_has_a_path_and_a_query(
    target: str, host: str, path: str, query: str
) -> None:
    """Origin-form and absolute-form are understood (RFC 9112, 3.2; A18).

    The host of an absolute target goes before the ``Host`` header (3.2.2).
    """
    request = assert_read(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    assert request.target == target
    assert (request.host, request.path, request.query) == (host, path, query)


@pytest.mark.parametrize(
    "target",
    [
        "*",
        "chat",
        "example.org:80",
        "?x",
        "..",
        "ftp://a/",
        "http:/a/",
        "http:///x",
        "http://",
        "http://user@a/",
        "http://user:pw@a/",
        "http://a:x/",
        "http://[::1/",
        "http://a,b/",
        "/#",
        "/a#b",
        "http://a/#b",
        "http://a#b",
    ],
)
def test_another_target_is_refused(target: str) -> None:
    """Other forms, user names, fragments and malformed hosts get 400 (A18)."""
    assert_refused(f"GET {target} HTTP/1.1\r\n".encode(), InvalidRequest, "target")


# Request lines


@pytest.mark.parametrize(
    ("line", "error", "sentence"),
    [
        (b"GET /", InvalidRequest, "without HTTP/1.1"),
        (b"GET", InvalidRequest, "invalid request line"),
        (b"GET  / HTTP/1.1", InvalidRequest, "invalid request line"),
        (b"GET /  HTTP/1.1", InvalidRequest, "invalid request line"),
        (b"GET / HTTP/1.1 ", InvalidRequest, "invalid request line"),
        (b"GET\t/\tHTTP/1.1", InvalidRequest, "invalid request line"),
        (b" GET / HTTP/1.1", InvalidRequest, "invalid request line"),
        (b"GET / a HTTP/1.1", InvalidRequest, "invalid request line"),
        (b"GET / HTTP/1", InvalidRequest, "invalid request line"),
        (b"GET / HTTP/11.1", InvalidRequest, "invalid request line"),
        (b"GET / http/1.1", InvalidRequest, "invalid request line"),
        (b"GET / ICY/1.1", InvalidRequest, "invalid request line"),
        (b"(GET) / HTTP/1.1", InvalidRequest, "invalid request line"),
        (b"SSH-2.0-OpenSSH_9.2", InvalidRequest, "invalid request line"),
        (b"GET / HTTP/2.0", UnsupportedHTTPVersion, "HTTP/2.0"),
        (b"GET / HTTP/0.9", UnsupportedHTTPVersion, "HTTP/0.9"),
        (b"PRI * HTTP/2.0", UnsupportedHTTPVersion, "only HTTP/1.1"),
        (b"get / HTTP/1.1", UnsupportedMethod, "'get'"),
        (b"BREW / HTTP/1.1", UnsupportedMethod, "unknown method: 'BREW'"),
        (b"A" * 8000 + b" / HTTP/1.1", UnsupportedMethod, "AAA..."),
        (b"POST / HTTP/1.1", ForbiddenMethod, "POST isn't allowed"),
        (b"PUT / HTTP/1.1", ForbiddenMethod, "PUT isn't allowed"),
        (b"OPTIONS * HTTP/1.1", ForbiddenMethod, "OPTIONS isn't allowed"),
        (b"CONNECT a:80 HTTP/1.1", ForbiddenMethod, "CONNECT isn't allowed"),
    ],
)
def test_a_request_line_is_refused_when_it_ends(
    line: bytes, error: type[HandshakeError], sentence: str
) -> None:
    """Nobody waits for fields that an old or foreign client won't send (A13)."""
    assert_refused(line + b"\r\n", error, sentence)


def test_a_forbidden_method_tells_the_allowed_ones() -> None:
    """A 405 must have ``Allow`` (RFC 9110, 15.5.6; A13)."""
    with pytest.raises(ForbiddenMethod) as info:
        RequestReader().receive_data(b"POST / HTTP/1.1\r\n")

    assert info.value.headers == (("Allow", "GET, HEAD"),)


def test_tls_on_a_plain_port_is_refused_at_its_first_byte() -> None:
    """A ClientHello has no line end to wait for (A13)."""
    assert_refused(b"\x16", InvalidRequest, "TLS on a port for plain HTTP")


# Bytes


@pytest.mark.parametrize("byte", [0, 1, 8, 0x0B, 0x1F, 0x7F, 0x80, 0xC3, 0xFF])
@pytest.mark.parametrize(
    ("before", "where"),
    [
        (b"GET /", "the request line"),
        (b"\r\nGET /", "the request line"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX", "the name of a header field"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX:a: ", "the header field 'X'"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", "the name of a header field"),
    ],
)
def test_a_forbidden_byte_is_refused_when_it_comes(
    before: bytes, where: str, byte: int
) -> None:
    """Control characters and bytes outside of ASCII get 400 (A8)."""
    assert_refused(
        before + bytes([byte]), InvalidRequest, f"byte 0x{byte:02x} in {where}"
    )


@pytest.mark.parametrize(
    "before",
    [b"", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a"],
)
def test_a_bare_line_feed_is_refused_when_it_comes(before: bytes) -> None:
    """Who ends lines with it alone gets 400, and not a time-out (A8)."""
    assert_refused(before + b"\n", InvalidRequest, "bare line feed in the")


@pytest.mark.parametrize(
    "before",
    [b"", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a"],
)
@pytest.mark.parametrize("after", [b"\r", b"a", b" ", b"\0"])
def test_a_bare_carriage_return_is_refused_when_it_is_certain(
    before: bytes, after: bytes
) -> None:
    """It may be half a line end as long as nothing else follows (A8)."""
    data = before + b"\r" + after

    assert_refused(data, InvalidRequest, "bare carriage return in the")


@pytest.mark.parametrize("space", [b" ", b"\t"])
@pytest.mark.parametrize("before", [b"", b"Host: a\r\n", b"Host:\r\n"])
def test_a_folded_line_is_refused_when_it_begins(before: bytes, space: bytes) -> None:
    """So is white space before the first field (RFC 9112, 2.2 and 5.2; A8)."""
    data = b"GET / HTTP/1.1\r\n" + before + space

    assert_refused(data, InvalidRequest, "folded, or starts with white space")


@pytest.mark.parametrize(
    "line", [b"Host", b"Host : a", b": a", b"Ho st: a", b"(a): b", b'"a": b', b"=: b"]
)
def test_a_malformed_field_is_refused_when_it_ends(line: bytes) -> None:
    """White space before the colon smuggles requests (RFC 9112, 5.1)."""
    data = b"GET / HTTP/1.1\r\n" + line + b"\r\n"

    assert_refused(data, InvalidRequest, "invalid header field")


# Limits


def test_a_long_request_line_is_refused_without_its_end() -> None:
    """It gets 414 at the byte that is too much (A2)."""
    line = b"GET /" + b"x" * 8178 + b" HTTP/1.1"
    assert len(line) == 8192

    assert_read(line + b"\r\nHost: a\r\n\r\n")
    assert_refused(line + b"11", TargetTooLong, "request line over 8192 bytes")
    assert_refused(line + b"1\r", TargetTooLong, "request line over 8192 bytes")
    with pytest.raises(TargetTooLong):
        RequestReader().receive_data(b"G" * 1_000_000)


def test_a_long_field_is_refused_without_its_end() -> None:
    """It gets 431 at the byte that is too much (A2)."""
    line = b"Host: a\r\nX: " + b"x" * 8189
    start = b"GET / HTTP/1.1\r\n"

    assert_read(start + line + b"\r\n\r\n")
    assert_refused(
        start + line + b"xx", RequestTooLarge, "header field over 8192 bytes"
    )


def test_many_bytes_of_fields_are_refused_without_their_end() -> None:
    """They get 431 at the byte that is too much, all fields together (A3)."""
    start = b"GET / HTTP/1.1\r\n"
    fields = b"Host: a\r\n" + b"X: 234567890\r\n" * 10
    limits = {"max_header_size": len(fields) + 2}

    assert_read(start + fields + b"\r\n", **limits)
    assert_refused(
        start + fields + b"Y:",
        RequestTooLarge,
        "header fields over 151 bytes",
        **limits,
    )


def test_many_fields_are_refused() -> None:
    """They get 431 at the end of the one that is too much (A1)."""
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    fields = b"".join(b"%02x: 1\r\n" % number for number in range(127))

    assert_read(start + fields + b"\r\n")
    assert_refused(
        start + fields + b"zz: 1\r\n", RequestTooLarge, "more than 128 header fields"
    )


def test_limits_can_be_chosen() -> None:
    """Each one of them."""
    data = b"GET / HTTP/1.1\r\n"

    assert_refused(data[:7], TargetTooLong, "over 5 bytes", max_line=5)
    assert_refused(data + b"A:\r\n", RequestTooLarge, "than 0", max_headers=0)
    assert_refused(data + b"A:", RequestTooLarge, "over 2 bytes", max_header_size=2)


# Hosts


@pytest.mark.parametrize(
    "host",
    [b"", b" ", b"[::1", b"::1", b"a b", b"user@a", b"a/b", b"a:x", b"a, b", b"a,b"],
)
def test_a_malformed_host_is_refused(host: bytes) -> None:
    """RFC 9112 (3.2) wants 400, for an absolute target too (A15)."""
    for target in (b"/", b"http://a/"):
        data = b"GET " + target + b" HTTP/1.1\r\nHost:" + host + b"\r\n\r\n"

        assert_refused(data, InvalidRequest, "invalid Host header")


@pytest.mark.parametrize("version", [b"1.1", b"1.2"])
def test_a_request_without_a_host_is_refused(version: bytes) -> None:
    """RFC 9112 (3.2) wants 400 from HTTP/1.1 on (A15)."""
    assert_refused(b"GET / HTTP/" + version + b"\r\n\r\n", InvalidRequest, "Host")


@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"1.2"])
def test_two_hosts_are_refused(version: bytes) -> None:
    """One of them may have passed a proxy's check (A15)."""
    data = b"GET / HTTP/" + version + b"\r\nHost: a\r\nhost: a\r\n\r\n"

    assert_refused(data, InvalidRequest, "multiple Host")


# Bodies


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        ((b"Content-Length: 5",), ContentTooLarge, "no request bodies"),
        ((b"Content-Length: 5, 5",), ContentTooLarge, "no request bodies"),
        ((b"Content-Length: 1" + b"0" * 19,), ContentTooLarge, "no request bodies"),
        ((b"Transfer-Encoding: chunked",), ContentTooLarge, "no request bodies"),
        ((b"Transfer-Encoding: Chunked",), ContentTooLarge, "no request bodies"),
        ((b"Content-Length: x",), InvalidRequest, "Content-Length"),
        ((b"Content-Length: -1",), InvalidRequest, "Content-Length"),
        ((b"Content-Length: +1",), InvalidRequest, "Content-Length"),
        ((b"Content-Length: 0x1",), InvalidRequest, "Content-Length"),
        ((b"Content-Length: 1_0",), InvalidRequest, "Content-Length"),
        ((b"Content-Length:",), InvalidRequest, "Content-Length"),
        ((b"Content-Length: 0, 5",), InvalidRequest, "Content-Length"),
        ((b"Content-Length: 0", b"content-length: 5"), InvalidRequest, "Content-L"),
        (
            (b"Content-Length: 0", b"transfer-encoding: chunked"),
            InvalidRequest,
            "both Content-Length and Transfer-Encoding",
        ),
        (
            (b"Transfer-Encoding: gzip", b"Content-Length: 5"),
            InvalidRequest,
            "both Content-Length and Transfer-Encoding",
        ),
        ((b"Transfer-Encoding: gzip",), UnsupportedCoding, "Transfer-Encoding"),
        ((b"Transfer-Encoding: gzip, chunked",), UnsupportedCoding, "Transfer"),
        ((b"Transfer-Encoding: identity",), UnsupportedCoding, "Transfer-Encoding"),
        ((b"Transfer-Encoding: chunked",) * 2, UnsupportedCoding, "Transfer-Encoding"),
    ],
)
def test_a_body_is_refused_before_it_comes(
    fields: tuple[bytes, ...], error: type[HandshakeError], sentence: str
) -> None:
    """It could hide a second request from one of two parsers (A14)."""
    assert_refused(get(*fields), error, sentence)


@pytest.mark.parametrize("digits", [65, 5000])
def test_a_length_of_many_digits_is_refused_when_it_ends(digits: int) -> None:
    """No version of h11 gets to see it; some would stumble over it."""
    data = b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * digits + b"\r\n"

    assert_refused(data, InvalidRequest, "invalid header field content-length")


@pytest.mark.parametrize("length", [b"0", b"000", b"0, 0"])
def test_a_body_of_no_bytes_is_none(length: bytes) -> None:
    """Some clients send a length of 0 with GET."""
    assert_read(get(b"Content-Length: " + length))


# Ends


@pytest.mark.parametrize("data", [b"", b"G", UPGRADE[:-1]])
def test_an_end_in_the_middle_is_an_invalid_request(data: bytes) -> None:
    """The peer may still read why (8.1)."""
    reader = RequestReader()
    reader.receive_data(data)

    with pytest.raises(InvalidRequest, match="ended in the middle of the request"):
        reader.receive_eof()


def test_a_reader_that_refused_takes_nothing_more() -> None:
    """Whoever goes on feeding it made a mistake."""
    reader = RequestReader()
    with pytest.raises(InvalidRequest):
        reader.receive_data(b"\n")

    with pytest.raises(LocalProtocolError, match="refused already"):
        reader.receive_data(UPGRADE)

    assert reader.trailing == b""


# Cookies


@pytest.mark.parametrize(
    ("fields", "cookies"),
    [
        ([], {}),
        (["a=1"], {"a": "1"}),
        (["a=1; b=2;c=3 ; "], {"a": "1", "b": "2", "c": "3"}),
        (["a=1", "b=2"], {"a": "1", "b": "2"}),
        (["a=1; a=2", "a=3"], {"a": "1"}),
        (["a=b=c=="], {"a": "b=c=="}),
        (["a="], {"a": ""}),
        (['a=""; b="'], {"a": "", "b": '"'}),
        (['a="x y"'], {"a": "x y"}),
        (['a="x\\054\\"\\\\\\073"'], {"a": 'x,"\\;'}),
        (["bad; =x; ; a=1; \t=; b@[]{}=2"], {"a": "1", "b@[]{}": "2"}),
        (["a=1, b=2"], {"a": "1, b=2"}),
    ],
)
def test_cookies_are_parsed(fields: list[str], cookies: dict[str, str]) -> None:
    """What isn't a cookie is left out, and does no harm to the others."""
    headers = Headers([("Cookie", field) for field in fields])

    assert Request("GET", "/", headers).cookies == cookies


def test_a_request_is_read_only() -> None:
    """So that threads can share it."""
    request = Request("GET", "/")

    with pytest.raises(dataclasses.FrozenInstanceError):
        request.target = "/x"  # type: ignore[misc]
    assert not hasattr(request, "__dict__")


# Any input

BITS = st.sampled_from(
    [
        *(b"GET", b"HEAD", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\n", b"\r", b"\t"),
        *(b"Host: a", b"Host", b":", b"Content-Length: ", b"0", b"5", b","),
        *(b"Transfer-Encoding: chunked", b"\x00", b"\x16", b"\xff", b"x" * 50),
        b"GET / HTTP/1.1\r\n",
    ]
)
LIMITS = {"max_line": 60, "max_headers": 3, "max_header_size": 150}


@given(
    st.one_of(st.binary(), st.lists(BITS).map(b"".join)),
    st.lists(st.integers(0, 300), max_size=5),
)
def test_any_bytes_have_one_outcome_in_any_split(data: bytes, cuts: list[int]) -> None:
    """A request, an error of the handshake, or nothing yet; the same each time."""
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    split = [data[i:j] for i, j in itertools.pairwise(bounds)]

    whole, _ = read([data], RequestReader(**LIMITS))

    assert read(split, RequestReader(**LIMITS))[0] == whole
    assert read(pieces(data), RequestReader(**LIMITS))[0] == whole


@given(st.integers(0, len(UPGRADE) - 1), st.integers(0, 255))
def test_any_wrong_byte_has_a_documented_outcome(position: int, byte: int) -> None:
    """A mutation of a good request is another one, an error, or incomplete."""
    data = UPGRADE[:position] + bytes([byte]) + UPGRADE[position + 1 :]

    assert read([data], RequestReader())[0] == read(pieces(data), RequestReader())[0]


# Time


@pytest.mark.parametrize(
    "make",
    [
        lambda n: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 34567890\r\n" * n,
        lambda n: b"GET / HTTP/1.1\r\nX:" + b" " * 13 * n,
        lambda n: b"GET / HTTP/1.1\r\nX:" + b" x" * 7 * n,
        lambda n: b"GET /" + b"x" * 13 * n,
    ],
)
def test_tiny_packets_take_linear_time(make: Callable[[int], bytes]) -> None:
    """16 times the bytes, one at a time, are far from 256 times the work (A3)."""

    def cpu_time(size: int) -> float:
        packets = pieces(make(size) + b"\r\n\r\n")
        times = []
        for _ in range(3):
            reader = RequestReader(
                max_line=10**6, max_headers=10**6, max_header_size=10**6
            )
            start = time.thread_time()
            read(packets, reader)
            times.append(time.thread_time() - start)
        return min(times)

    assert cpu_time(16 * 40) < 64 * cpu_time(40)
