"""Opening handshake: judging the request, writing the response."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any, cast

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from websock.exceptions import (
    ForbiddenMethod,
    HandshakeError,
    InvalidRequest,
    UnsupportedVersion,
    UpgradeRequired,
)
from websock.extensions.base import Extension, Parameters
from websock.handshake import (
    MAX_OFFERS,
    Request,
    RequestReader,
    Response,
    accept_key,
    accept_response,
    check_upgrade,
    is_upgrade,
    negotiate_extensions,
    negotiate_subprotocol,
    offered_subprotocols,
    refuse,
    serialize_response,
    wants_upgrade,
)
from websock.headers import Headers

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

FIELDS = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def upgrade(
    changes: dict[str, str | list[str] | None] | None = None,
    method: str = "GET",
    http_version: str = "1.1",
) -> Request:
    """An opening handshake with some fields changed, removed or repeated."""
    headers = Headers()
    for name, value in {**FIELDS, **(changes or {})}.items():
        for each in (
            [] if value is None else [value] if isinstance(value, str) else value
        ):
            headers.add(name, each)
    return Request(method, "/", headers, http_version)


# Is it one?


@pytest.mark.parametrize(
    ("connection", "protocol"),
    [
        ("Upgrade", "websocket"),
        ("upgrade", "WEBSOCKET"),
        ("keep-alive, Upgrade", "WebSocket"),
        ("Upgrade,keep-alive", "h2c, websocket"),
        (", upgrade ,", "foo/2 , websocket,"),
        (["keep-alive", "Upgrade"], ["foo/2", "websocket"]),
        ("Upgrade", ["websocket", "websocket"]),
    ],
)
def test_an_upgrade_is_told_by_its_tokens(
    connection: str | list[str], protocol: str | list[str]
) -> None:
    """Any case, any place in the list, in one field or in several (4.2.1; A10)."""
    request = upgrade({"Connection": connection, "Upgrade": protocol})

    assert is_upgrade(request)
    assert wants_upgrade(request)
    assert check_upgrade(request) == KEY


@pytest.mark.parametrize(
    ("connection", "protocol", "sentence"),
    [
        ("notupgrade", "websocket", "'upgrade' in its Connection.* is 'notupgrade'"),
        ("keep-alive", "websocket", "'upgrade' in its Connection"),
        ("upgrade keep-alive", "websocket", "'upgrade' in its Connection"),
        (None, "websocket", "'upgrade' in its Connection header; it is missing"),
        ("Upgrade", "websocket2", "'websocket' in its Upgrade.* is 'websocket2'"),
        ("Upgrade", "websocket/13", "'websocket' in its Upgrade"),
        ("Upgrade", "web socket", "'websocket' in its Upgrade"),
        ("Upgrade", "h2c", "'websocket' in its Upgrade"),
        ("Upgrade", "", "'websocket' in its Upgrade header; it is ''"),
        ("Upgrade", None, "'websocket' in its Upgrade header; it is missing"),
        (None, None, "'websocket' in its Upgrade header; it is missing"),
    ],
)
def test_half_an_upgrade_is_none(
    connection: str | None, protocol: str | None, sentence: str
) -> None:
    """With a key it still means to be one, and gets 426 for an answer (A10)."""
    request = upgrade({"Connection": connection, "Upgrade": protocol})

    assert not is_upgrade(request)
    assert wants_upgrade(request)
    with pytest.raises(UpgradeRequired, match=sentence):
        check_upgrade(request)


@pytest.mark.parametrize(
    "protocol", ["websocket, a b", "a/b/c, websocket", "websocket, /"]
)
def test_malformed_upgrade_is_refused(protocol: str) -> None:
    """Also if the rest of it is what is wanted (4.2.1)."""
    with pytest.raises(InvalidRequest, match="invalid Upgrade header"):
        check_upgrade(upgrade({"Upgrade": protocol}))


@pytest.mark.parametrize("protocol", [None, "h2c"])
@pytest.mark.parametrize("connection", [None, "keep-alive", "upgrade"])
def test_a_plain_request_means_no_upgrade(
    connection: str | None, protocol: str | None
) -> None:
    """Reverse proxies send ``Connection: upgrade`` with every request."""
    changes = {"Connection": connection, "Upgrade": protocol}
    request = upgrade({**changes, "Sec-WebSocket-Key": None})

    assert not is_upgrade(request)
    assert not wants_upgrade(request)


# Is it a valid one?


def test_a_malformed_connection_header_is_refused() -> None:
    """An element that is no token is a fault, even beside a good one."""
    with pytest.raises(InvalidRequest, match="invalid Connection header"):
        check_upgrade(upgrade({"Connection": "upgrade, @"}))


@pytest.mark.parametrize("method", ["HEAD", "POST", "get"])
def test_another_method_is_refused(method: str) -> None:
    """An opening handshake is a GET request (4.2.1; A13)."""
    with pytest.raises(InvalidRequest, match=f"is a GET request, not '{method}'"):
        check_upgrade(upgrade(method=method))


def test_http_1_0_is_refused() -> None:
    """An upgrade needs HTTP/1.1 (4.2.1; RFC 9110, 7.8; A13)."""
    with pytest.raises(InvalidRequest, match=r"needs HTTP/1\.1"):
        check_upgrade(upgrade(http_version="1.0"))
    assert check_upgrade(upgrade(http_version="1.2")) == KEY


@pytest.mark.parametrize(
    "version",
    [None, "", "8", "12", "14", "13, 8", "013", "13.0", "x", ["13", "13"], ["8", "13"]],
)
def test_another_version_is_told_the_right_one(
    version: str | list[str] | None,
) -> None:
    """The answer is 426 with the version that would do (4.2.2, 4.4; A12)."""
    with pytest.raises(UnsupportedVersion, match="only 13 is supported") as info:
        check_upgrade(upgrade({"Sec-WebSocket-Version": version}))

    response = refuse(info.value)
    assert response.status == 426
    assert response.headers["Sec-WebSocket-Version"] == "13"
    assert response.headers["Upgrade"] == "websocket"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25j==",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25jZSEh",
        "dGhlIHNhbXBsZSBub25-ZQ==",
        "dGhlIHNhbXBsZ  ub25jZQ==",
        f"{KEY}, {KEY}",
        "x" * 1_000_000,
    ],
    ids=lambda key: key[:30],
)
def test_a_key_that_is_not_16_bytes_is_refused(key: str) -> None:
    """15 or 17 bytes, another alphabet, a megabyte (4.2.1; A11)."""
    with pytest.raises(InvalidRequest, match="isn't 16 bytes in base64") as info:
        check_upgrade(upgrade({"Sec-WebSocket-Key": key}))

    assert len(str(info.value)) < 200


@pytest.mark.parametrize("keys", [None, [KEY, KEY]])
def test_a_handshake_has_one_key(keys: list[str] | None) -> None:
    """None and two are faults (4.2.1, 11.3.1; A11)."""
    with pytest.raises(InvalidRequest, match=r"one Sec-WebSocket-Key header, not [02]"):
        check_upgrade(upgrade({"Sec-WebSocket-Key": keys}))


def test_the_accept_value_is_that_of_the_rfc() -> None:
    """The example of section 1.3."""
    assert accept_key(KEY) == ACCEPT


# Extensions


class FakeExtension:
    """An extension that owns bits; negotiation looks at nothing else."""

    def __init__(self, name: str, bits: str) -> None:
        self.name = name
        self.rsv1 = "1" in bits
        self.rsv2 = "2" in bits
        self.rsv3 = "3" in bits


class FakeFactory:
    """A server's side that declines offers with a parameter named ``no``."""

    def __init__(self, name: str, bits: str = "") -> None:
        self.name = name
        self.bits = bits
        self.calls = 0

    def negotiate(self, params: Parameters) -> tuple[Parameters, Extension] | None:
        """Agree to the offer as it is, or decline it."""
        self.calls += 1
        if ("no", None) in params:
            return None
        return params, cast(Extension, FakeExtension(self.name, self.bits))


@pytest.mark.parametrize(
    ("offers", "agreed"),
    [
        (None, []),
        ("", []),
        ("foo", [("foo", [])]),
        ("bar; x=1, foo", [("bar", [("x", "1")]), ("foo", [])]),
        (["foo", "bar"], [("foo", []), ("bar", [])]),
        ("unknown, foo", [("foo", [])]),
        ("constructor, __class__", []),
        ("Foo", []),
        ("foo; no, foo; x", [("foo", [("x", None)])]),
        ("foo; a, foo; b", [("foo", [("a", None)])]),
        ("free; a, free; b", [("free", [("a", None)])]),
        ("foo, rival, bar", [("foo", []), ("bar", [])]),
        ("rival, foo, bar", [("rival", []), ("bar", [])]),
        ("both, bar, free", [("both", []), ("free", [])]),
        ("third, both, bar", [("third", []), ("bar", [])]),
    ],
)
def test_extensions_are_agreed_on_as_the_client_prefers(
    offers: str | list[str] | None, agreed: list[tuple[str, Parameters]]
) -> None:
    """Each one once, and each reserved bit has one owner (9.1; A7)."""
    factories = [
        FakeFactory("free"),
        FakeFactory("bar", "2"),
        FakeFactory("foo", "1"),
        FakeFactory("rival", "1"),
        FakeFactory("both", "23"),
        FakeFactory("third", "3"),
    ]

    result, extensions = negotiate_extensions(
        upgrade({"Sec-WebSocket-Extensions": offers}), factories
    )

    assert result == agreed
    assert [extension.name for extension in extensions] == [name for name, _ in agreed]


def test_malformed_extensions_are_an_invalid_request() -> None:
    """Even if the server has none to agree on (A5, A7)."""
    for value in (",;constructor", 'a; b="' + "\\c" * 4000):
        with pytest.raises(InvalidRequest, match="Sec-WebSocket-Extensions"):
            negotiate_extensions(upgrade({"Sec-WebSocket-Extensions": value}), [])


def test_offers_are_considered_up_to_a_number() -> None:
    """A thousand of them cost no more than a few (A7)."""
    factory = FakeFactory("foo")
    offers = ", ".join(["foo; no"] * 1000 + ["foo"])

    agreed, _ = negotiate_extensions(
        upgrade({"Sec-WebSocket-Extensions": offers}), [factory]
    )

    assert agreed == []
    assert factory.calls == MAX_OFFERS == 32


# Subprotocols


@pytest.mark.parametrize(
    ("offered", "supported", "subprotocol"),
    [
        (None, ["chat"], None),
        ("", ["chat"], None),
        ("chat", [], None),
        ("chat, superchat", ["superchat", "chat"], "chat"),
        (["chat", "superchat"], ["superchat"], "superchat"),
        ("Chat", ["chat"], None),
    ],
)
def test_the_client_chooses_among_the_subprotocols_of_the_server(
    offered: str | list[str] | None, supported: list[str], subprotocol: str | None
) -> None:
    """The first one of its list that the server has, compared exactly (4.2.2)."""
    request = upgrade({"Sec-WebSocket-Protocol": offered})

    assert negotiate_subprotocol(request, supported) == subprotocol


def test_offered_subprotocols_keep_their_order() -> None:
    """The one that the client prefers is the first (4.1)."""
    request = upgrade({"Sec-WebSocket-Protocol": ["b, a", "c"]})

    assert offered_subprotocols(request) == ["b", "a", "c"]


@pytest.mark.parametrize("value", ["a b", "a, a", "b" + " " * 32_000 + "x"])
def test_malformed_subprotocols_are_an_invalid_request(value: str) -> None:
    """Even if the server has none to agree on (A6)."""
    with pytest.raises(InvalidRequest, match="Sec-WebSocket-Protocol"):
        negotiate_subprotocol(upgrade({"Sec-WebSocket-Protocol": value}), [])


# Responses


def test_a_handshake_is_accepted_with_the_bytes_of_the_rfc() -> None:
    """Nothing but what section 4.2.2 asks for."""
    data = serialize_response(accept_response(KEY))

    assert data == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n"
        b"\r\n"
    )


def test_a_101_tells_what_was_agreed_on() -> None:
    """Extensions, the subprotocol, and the application's own fields follow."""
    response = accept_response(
        KEY,
        extensions=[("foo", [("a", None), ("b", "1")]), ("bar", [])],
        subprotocol="chat",
        headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
    )

    assert response.status == HTTPStatus.SWITCHING_PROTOCOLS
    assert response.headers.raw_items()[3:] == [
        ("Sec-WebSocket-Extensions", "foo; a; b=1, bar"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "upgrade",
        "CONNECTION",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
        "Content-Length",
        "Transfer-Encoding",
    ],
)
def test_an_application_can_not_change_the_handshake(name: str) -> None:
    """What decides about the connection isn't its business."""
    with pytest.raises(ValueError, match=f"{name} belongs to the opening handshake"):
        accept_response(KEY, headers={name: "1"})


@pytest.mark.parametrize(
    "choices",
    [
        {"headers": {"A": "b\r\nSet-Cookie: c=d"}},
        {"headers": {"A\r\nSet-Cookie": "b"}},
        {"subprotocol": "chat\r\nSet-Cookie: c=d"},
        {"subprotocol": "a, b"},
        {"subprotocol": ""},
        {"extensions": [("a\r\nb: c", [])]},
    ],
    ids=repr,
)
def test_an_application_can_not_split_a_response(choices: dict[str, Any]) -> None:
    """No choice of it gets a line break into the header (A9)."""
    with pytest.raises(ValueError):
        accept_response(KEY, **choices)


def parse(data: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    """What an HTTP client understands."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.their_state is h11.MUST_CLOSE
    assert client.trailing_data == (b"", True)
    return response, body


@pytest.mark.parametrize("head", [False, True])
def test_a_refusal_is_a_short_text(head: bool) -> None:
    """A browser must not take it for a page, and the connection ends."""
    error = InvalidRequest("invalid <key>", headers=[("X-Reason", "key")])

    response, body = parse(
        serialize_response(refuse(error), head=head), "HEAD" if head else "GET"
    )

    assert response.status_code == 400
    assert response.reason == b"Bad Request"
    assert response.headers.raw_items() == [
        (b"X-Reason", b"key"),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Length", b"14"),
        (b"Connection", b"close"),
    ]
    assert body == (b"" if head else b"invalid <key>\n")


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (UpgradeRequired("plain"), ("Upgrade", "websocket")),
        (UnsupportedVersion("old"), ("Sec-WebSocket-Version", "13")),
        (ForbiddenMethod("post"), ("Allow", "GET, HEAD")),
    ],
)
def test_a_refusal_has_the_fields_of_its_status(
    error: HandshakeError, field: tuple[str, str]
) -> None:
    """An error knows what its response needs."""
    response = refuse(error)

    assert response.status == error.status
    assert field in response.headers.raw_items()


def test_a_response_with_upgrade_names_it_in_connection() -> None:
    """RFC 9110 (7.8) wants both, and the connection still ends (A12)."""
    refused = refuse(UpgradeRequired("plain"))
    own = Response(426, {"Upgrade": "websocket", "Connection": "keep-alive"})

    for response in (refused, own):
        assert b"\r\nConnection: close, Upgrade\r\n" in serialize_response(response)


def test_a_sentence_of_any_characters_can_be_sent() -> None:
    """Even with what has no encoding."""
    assert refuse(InvalidRequest("ü\udc80")).body == "ü?\n".encode()


def test_a_response_is_made_from_what_is_at_hand() -> None:
    """A body of text, fields in a mapping or in pairs, a number for a status."""
    response = Response(404, {"Content-Type": "text/plain"}, "ü")

    assert response.status == HTTPStatus.NOT_FOUND
    assert response.headers == Headers([("content-type", "text/plain")])
    assert response.body == b"\xc3\xbc"
    assert Response(200).body == b""
    assert Response(HTTPStatus.OK, body=b"a").body == b"a"
    assert response == Response(404, [("content-type", "text/plain")], b"\xc3\xbc")
    assert "status=404" in repr(response)


@pytest.mark.parametrize("status", [0, 99, 100, 102, 199, 600, -1])
def test_a_status_that_ends_no_request_is_a_value_error(status: int) -> None:
    """Neither interim responses nor numbers without a meaning (RFC 9110, 15)."""
    with pytest.raises(ValueError, match=f"invalid status of a response: {status}"):
        Response(status)


def test_framing_is_not_a_response_s_business() -> None:
    """Wrong lengths, codings and connection options are put right."""
    fields = {
        "Content-Length": "1",
        "transfer-encoding": "chunked",
        "connection": "keep-alive",
        "X-Other": "a",
    }
    original = Response(200, fields, "body")

    response, body = parse(serialize_response(original))

    assert body == b"body"
    assert response.headers.raw_items() == [
        (b"X-Other", b"a"),
        (b"Content-Length", b"4"),
        (b"Connection", b"close"),
    ]
    assert original.headers == Headers(fields)


def test_a_response_to_head_may_know_a_length_without_a_body() -> None:
    """It is the length that GET would get (RFC 9110, 8.6)."""
    file = Response(200, {"Content-Length": "1000"})

    assert b"Content-Length: 1000\r\n" in serialize_response(file, head=True)
    assert b"Content-Length: 0\r\n" in serialize_response(file)
    assert b"Content-Length: 0\r\n" in serialize_response(Response(200), head=True)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("head", [False, True])
def test_a_response_without_content_has_no_length(status: int, head: bool) -> None:
    """Nothing follows its header, whatever its body is (RFC 9110, 8.6)."""
    original = Response(status, {"ETag": '"a"'}, "body")

    response, body = parse(
        serialize_response(original, head=head), "HEAD" if head else "GET"
    )

    assert body == b""
    assert response.headers.raw_items() == [
        (b"ETag", b'"a"'),
        (b"Connection", b"close"),
    ]


class Ten:
    """A source of ten bytes, which nobody reads here."""

    size = 10

    def read(self) -> bytes:
        """Fail."""
        raise AssertionError

    def close(self) -> None:
        """Fail."""
        raise AssertionError


def test_a_source_is_content_that_comes_behind() -> None:
    """The header tells its length; who sends it reads it."""
    response = Response(200, {"Content-Length": "3"}, source=Ten())

    for head in (False, True):
        data = serialize_response(response, head=head)
        assert b"\r\nContent-Length: 10\r\n" in data
        assert data.endswith(b"\r\n\r\n")
        assert response.has_content(head=head) is not head
    with pytest.raises(ValueError, match="a body or a source, not both"):
        Response(200, {}, "body", source=Ten())


@pytest.mark.parametrize("status", [101, 204, 304])
def test_some_statuses_have_no_content(status: int) -> None:
    """Neither from a body nor from a source (RFC 9110, 6.4.1)."""
    assert not Response(status, source=Ten()).has_content(head=False)
    assert b"Content-Length" not in serialize_response(Response(status, source=Ten()))


def test_a_status_without_a_name_can_be_sent() -> None:
    """The reason phrase may be empty, but not its space (RFC 9112, 4)."""
    assert serialize_response(Response(599)).startswith(b"HTTP/1.1 599 \r\n")


# Any input

VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@given(
    st.dictionaries(
        st.sampled_from(
            [*FIELDS, "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"]
        ),
        VALUES,
        max_size=3,
    )
)
def test_any_fields_are_accepted_or_refused(fields: dict[str, Any]) -> None:
    """No header makes another error, and each answer is a valid response."""
    request = upgrade(fields)

    try:
        key = check_upgrade(request)
        agreed, _ = negotiate_extensions(request, [FakeFactory("foo")])
        subprotocol = negotiate_subprotocol(request, ["chat"])
    except HandshakeError as error:
        parse(serialize_response(refuse(error)))
    else:
        response = accept_response(key, extensions=agreed, subprotocol=subprotocol)
        assert serialize_response(response).endswith(b"\r\n\r\n")


def test_a_handshake_of_the_largest_size_is_judged_quickly() -> None:
    """Twice the fields are far from four times the work (A1, A5, A6, A7)."""

    def cpu_time(fields: int) -> float:
        offers = ", ".join(["foo; no; a=1"] * 30)
        data = b"GET / HTTP/1.1\r\n" + b"".join(
            f"{name}: {value}\r\n".encode()
            for name, value in [
                *FIELDS.items(),
                *[("Sec-WebSocket-Extensions", offers)] * fields,
            ]
        )
        start = time.thread_time()
        request = RequestReader(max_header_size=10**6).receive_data(data + b"\r\n")
        assert request is not None
        check_upgrade(request)
        negotiate_extensions(request, [FakeFactory("foo")])
        return time.thread_time() - start

    assert min(cpu_time(96) for _ in range(3)) < 64 * min(cpu_time(6) for _ in range(3))
