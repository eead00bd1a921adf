"""Header fields and their grammars."""

from __future__ import annotations

import re
import string
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websock.exceptions import InvalidRequest
from websock.headers import (
    Headers,
    is_token,
    parse_extensions,
    parse_host,
    parse_subprotocols,
    parse_token_list,
    serialize_extensions,
    shown,
)

TCHARS = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
TOKENS = st.text(TCHARS, min_size=1, max_size=12)
VALUES = st.text(string.ascii_letters + string.punctuation + " \t", max_size=30)


def cpu_time(run: Callable[[], object]) -> float:
    """Seconds of the processor for a run, the least of three."""
    times = []
    for _ in range(3):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return min(times)


def assert_linear(make: Callable[[int], Callable[[], object]], size: int) -> None:
    """16 times the input takes about 16 times as long, far from 256 times."""
    small, big = make(size), make(16 * size)

    assert cpu_time(big) < 64 * max(cpu_time(small), 2e-5)


# Headers


def test_a_name_is_found_in_any_case() -> None:
    """Names of fields are case-insensitive (RFC 9110, 5.1)."""
    headers = Headers({"Sec-WebSocket-Key": "abc"})

    assert headers["sec-websocket-KEY"] == "abc"
    assert "SEC-WEBSOCKET-KEY" in headers
    assert headers.get("sec-websocket-accept") is None
    assert 1 not in headers  # type: ignore[comparison-overlap]


def test_fields_of_one_name_are_one_list() -> None:
    """Their values are joined by commas (RFC 9110, 5.3), or taken one by one."""
    headers = Headers([("Upgrade", "a"), ("Host", "h"), ("UPGRADE", "b")])

    assert headers["upgrade"] == "a, b"
    assert headers.get_all("upgrade") == ["a", "b"]
    assert headers.get_all("missing") == []


def test_setting_replaces_all_fields_of_the_name() -> None:
    """One assignment leaves one field, at the end."""
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])

    headers["a"] = "4"

    assert headers.raw_items() == [("B", "2"), ("a", "4")]


def test_adding_keeps_the_fields_that_are_there() -> None:
    """A response may set several cookies, in one field each."""
    headers = Headers({"Set-Cookie": "a=1"})

    headers.add("set-cookie", "b=2")

    assert headers.raw_items() == [("Set-Cookie", "a=1"), ("set-cookie", "b=2")]


def test_deleting_removes_all_fields_of_the_name() -> None:
    """Nothing of that name is left, in any case."""
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])

    del headers["a"]

    assert headers.raw_items() == [("B", "2")]


def test_a_missing_name_is_a_key_error() -> None:
    """Reading and deleting act as they do in a dict."""
    headers = Headers()

    with pytest.raises(KeyError, match="Host"):
        headers["Host"]
    with pytest.raises(KeyError, match="Host"):
        del headers["Host"]


def test_names_are_counted_and_listed_once() -> None:
    """As a mapping, headers have each name once, in the order of first use."""
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])

    assert len(headers) == 2
    assert list(headers) == ["A", "B"]
    assert dict(headers) == {"A": "1, 3", "B": "2"}


def test_a_copy_is_independent() -> None:
    """A change of the copy leaves the original as it was."""
    headers = Headers([("A", "1"), ("a", "2")])
    copy = Headers(headers)

    copy.add("B", "3")

    assert headers.raw_items() == [("A", "1"), ("a", "2")]
    assert copy.raw_items() == [("A", "1"), ("a", "2"), ("B", "3")]


def test_headers_are_equal_if_their_fields_mean_the_same() -> None:
    """The case of names and the order of different names mean nothing."""
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])

    assert headers == Headers([("b", "2"), ("a", "1"), ("A", "3")])
    assert headers != Headers([("A", "3"), ("B", "2"), ("a", "1")])
    assert headers != {"A": "1, 3", "B": "2"}


def test_headers_show_their_fields() -> None:
    """The representation is a call that makes the same headers."""
    headers = Headers([("A", "1"), ("a", "2")])

    assert repr(headers) == "Headers([('A', '1'), ('a', '2')])"
    assert eval(repr(headers)) == headers


def test_headers_have_no_dict() -> None:
    """There is one of them for each connection."""
    assert not hasattr(Headers(), "__dict__")


def test_white_space_around_a_value_is_not_part_of_it() -> None:
    """A field's value has none at its ends (RFC 9110, 5.5)."""
    assert Headers({"A": " \tb c\t "})["A"] == "b c"


@pytest.mark.parametrize(
    "value",
    ["a\r\nSet-Cookie: b", "a\n", "\ra", "a\0", "a\x1f", "a\x7f", "ü", "\udc80"],
    ids=ascii,
)
def test_a_value_that_could_split_a_response_is_refused(value: str) -> None:
    """No line break, control character or foreign character gets in (A9)."""
    headers = Headers({"A": "1"})

    with pytest.raises(ValueError, match="invalid character in the value of A"):
        headers.add("A", value)
    with pytest.raises(ValueError, match="invalid character in the value of A"):
        headers["A"] = value
    with pytest.raises(ValueError, match="invalid character in the value of A"):
        Headers([("A", value)])

    assert headers.raw_items() == [("A", "1")]


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\n", "a\r\nb", "ä", " a"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    """A name with a colon or a line break would be two fields (A9)."""
    with pytest.raises(ValueError, match="invalid name of a header field"):
        Headers({name: "1"})


def test_a_field_that_is_no_string_is_a_type_error() -> None:
    """The error shows the field."""
    headers = Headers()

    with pytest.raises(TypeError, match="'Content-Length' and 5"):
        headers["Content-Length"] = 5  # type: ignore[assignment]
    with pytest.raises(TypeError, match="None and 'a'"):
        headers.add(None, "a")  # type: ignore[arg-type]


@given(st.lists(st.tuples(TOKENS, VALUES)))
def test_fields_come_out_as_they_went_in(fields: list[tuple[str, str]]) -> None:
    """Order, spelling and number are kept, whatever the names."""
    headers = Headers(fields)

    assert headers.raw_items() == [(name, value.strip()) for name, value in fields]
    assert set(headers) <= {name for name, _ in fields}
    assert all(headers.get_all(name.swapcase()) for name, _ in fields)


# Sentences


def test_a_shown_value_is_short_and_escaped() -> None:
    """It fits in one line of a log, whatever the peer sent."""
    assert shown("a\r\n\x1bü") == r"'a\r\n\x1b\xfc'"
    assert shown(b"\xff") == r"'\xff'"
    assert len(shown("x" * 78)) == 80
    assert shown("x" * 79) == "'" + "x" * 76 + "..."
    assert len(shown("\0" * 1_000_000)) == 80


# Lists of tokens


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("", []),
        (" , ,,", []),
        ("upgrade", ["upgrade"]),
        ("keep-alive, Upgrade", ["keep-alive", "Upgrade"]),
        ("a,b", ["a", "b"]),
        (",a ,\tb , ", ["a", "b"]),
    ],
)
def test_a_list_of_tokens_is_parsed(value: str, tokens: list[str]) -> None:
    """White space and empty elements don't count (RFC 9110, 5.6.1.2)."""
    assert parse_token_list(value) == tokens


@pytest.mark.parametrize("value", ["a b", '"a"', "a/1", "a;b", "a, @", "é", "a\n"])
def test_an_element_that_is_no_token_is_refused(value: str) -> None:
    """The sentence names the header; the value may be a secret, and isn't shown."""
    with pytest.raises(InvalidRequest) as info:
        parse_token_list(value, header="Connection")

    assert re.fullmatch(
        r"invalid Connection header: expected .* at position \d+", str(info.value)
    )


def test_errors_about_long_values_are_short() -> None:
    """A peer can't fill a log or a response with what it sent."""
    with pytest.raises(InvalidRequest) as info:
        parse_token_list("x" * 100_000 + "@")

    assert len(str(info.value)) < 200


@given(st.lists(TOKENS))
def test_tokens_come_out_of_a_list_as_they_went_in(tokens: list[str]) -> None:
    """Joining by commas and parsing are inverse."""
    assert all(is_token(token) for token in tokens)
    assert parse_token_list(", ".join(tokens)) == tokens
    assert parse_token_list(",".join(tokens)) == tokens


def test_subprotocols_are_unique() -> None:
    """The elements of a client's list must all differ, by case at least (4.1)."""
    assert parse_subprotocols("chat, Chat") == ["chat", "Chat"]

    with pytest.raises(InvalidRequest, match=r"Sec-WebSocket-Protocol.* twice"):
        parse_subprotocols("chat, superchat, chat")


@pytest.mark.parametrize("value", ["caf\xe9", "\xff", "a b", "a/b"])
def test_a_subprotocol_is_a_token(value: str) -> None:
    """Anything else is refused, bytes outside of ASCII too (A8)."""
    with pytest.raises(InvalidRequest, match="invalid Sec-WebSocket-Protocol header"):
        parse_subprotocols(value)


# Extensions

EXTENSIONS = [
    ("", []),
    (" ,", []),
    ("foo", [("foo", [])]),
    ("foo, bar", [("foo", []), ("bar", [])]),
    ("foo;a", [("foo", [("a", None)])]),
    ("foo; a=1 ;b = 2", [("foo", [("a", "1"), ("b", "2")])]),
    ('foo; a="1"', [("foo", [("a", "1")])]),
    ('foo; a="\\1\\5" , bar', [("foo", [("a", "15")]), ("bar", [])]),
    ("foo; a; a=1; a", [("foo", [("a", None), ("a", "1"), ("a", None)])]),
    (
        "permessage-deflate; client_max_window_bits, permessage-deflate",
        [
            ("permessage-deflate", [("client_max_window_bits", None)]),
            ("permessage-deflate", []),
        ],
    ),
    ("constructor", [("constructor", [])]),
    ("__proto__; __class__=x", [("__proto__", [("__class__", "x")])]),
]


@pytest.mark.parametrize(("value", "offers"), EXTENSIONS)
def test_extensions_are_parsed(
    value: str, offers: list[tuple[str, list[tuple[str, str | None]]]]
) -> None:
    """Names and parameters follow the grammar of section 9.1 (A7)."""
    assert parse_extensions(value) == offers


@pytest.mark.parametrize(
    "value",
    [
        ",;constructor",
        "foo bar",
        "foo;",
        "foo; ;",
        "foo; a=",
        'foo; a=""',
        'foo; a="b c"',
        'foo; a="b',
        'foo; a="b\\"',
        'foo; a="\\ "',
        'foo; a="b"c',
        "foo; a b",
        "foo=1",
        '"foo"',
        "foo; a==1",
        "é",
    ],
)
def test_malformed_extensions_are_refused(value: str) -> None:
    """A quoted value without its quotes must be a token, too (9.1; A7)."""
    with pytest.raises(InvalidRequest, match="invalid Sec-WebSocket-Extensions header"):
        parse_extensions(value)


@pytest.mark.parametrize(("value", "offers"), EXTENSIONS)
def test_each_beginning_of_extensions_parses_or_is_refused(
    value: str, offers: object
) -> None:
    """No prefix of a good value makes another error than the documented one."""
    for end in range(len(value)):
        try:
            parse_extensions(value[:end])
        except InvalidRequest as error:
            assert str(error).startswith("invalid Sec-WebSocket-Extensions header")
    assert parse_extensions(value) == offers


@given(
    st.lists(
        st.tuples(TOKENS, st.lists(st.tuples(TOKENS, st.one_of(st.none(), TOKENS))))
    )
)
def test_extensions_come_out_as_they_went_in(
    extensions: list[tuple[str, list[tuple[str, str | None]]]],
) -> None:
    """Writing and parsing are inverse."""
    assert parse_extensions(serialize_extensions(extensions)) == extensions


@given(st.text())
def test_any_text_parses_or_is_an_invalid_request(value: str) -> None:
    """No text makes another error than the documented one."""
    for parse in (parse_token_list, parse_subprotocols, parse_extensions, parse_host):
        try:
            parse(value)
        except InvalidRequest as error:
            assert str(error).isascii()
            assert str(error).isprintable()


def test_extensions_are_written_as_everyone_does() -> None:
    """With a space after each comma and semicolon, and no quotes."""
    extensions = [("foo", [("a", None), ("b", "1")]), ("bar", [])]

    assert serialize_extensions(extensions) == "foo; a; b=1, bar"


@pytest.mark.parametrize(
    "extension",
    [("", []), ("a b", []), ("a", [("b;", None)]), ("a", [("b", "c\r\nd: e")])],
)
def test_an_extension_that_breaks_its_header_is_not_written(
    extension: tuple[str, list[tuple[str, str | None]]],
) -> None:
    """An extension of an application can't add fields to a response (A9)."""
    with pytest.raises(ValueError, match="not a token"):
        serialize_extensions([extension])


# Hosts


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        ("example.org", "example.org", None),
        ("Example.ORG.:80", "example.org", 80),
        ("localhost:8467", "localhost", 8467),
        ("under_score-1", "under_score-1", None),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("example.org:", "example.org", None),
        ("[::1]", "::1", None),
        ("[0:0:0:0:0:0:0:1]:65535", "::1", 65535),
        ("[2001:DB8::A]:", "2001:db8::a", None),
        ("%2Frun%2fs", "%2frun%2fs", None),
    ],
)
def test_a_host_is_parsed(value: str, host: str, port: int | None) -> None:
    """Names come in lower case and addresses in one form, to be compared."""
    assert parse_host(value) == (host, port)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        ".a",
        "a..b",
        "a..",
        ":80",
        "[::1",
        "::1",
        "[::1]a",
        "[]",
        "[1.2.3.4]",
        "[fe80::1%25eth0]",
        "[::g]",
        "a b",
        "user@example.org",
        "example.org/",
        "a,b",
        "a:80:80",
        "a:-1",
        "a:x",
        "a:65536",
        "a:000080",
        "%zz",
        "a\n",
        "é",
        "a:\u0661",
    ],
)
def test_a_malformed_host_is_refused(value: str) -> None:
    """User names, zones, second ports and the like are no hosts (A15)."""
    with pytest.raises(InvalidRequest, match=r"invalid .*Host"):
        parse_host(value)


# Time


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "b" + " " * n + "x",  # A6
        lambda n: "," * n,
        lambda n: " " * n,
        lambda n: ", ".join(map(str, range(n))),
        lambda n: "x" * n + "@",
    ],
)
def test_lists_take_linear_time(make: Callable[[int], str]) -> None:
    """No list makes the parser go back over what it has seen (A6)."""

    def run(size: int) -> Callable[[], object]:
        value = make(size)
        return lambda: _outcome(parse_subprotocols, value)

    assert_linear(run, 2_000)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: 'a; b="' + "\\c" * n,  # A5
        lambda n: 'a; b="' + "c" * n,
        lambda n: 'a; b="' + "\\" * n,
        lambda n: "a" + "; b" * n,
        lambda n: "a; b, " * n,
        lambda n: "a" + " ;" * n,
        lambda n: "a;" + " " * n + "=",
    ],
)
def test_extensions_take_linear_time(make: Callable[[int], str]) -> None:
    """No value makes the parser go back over what it has seen (A5, A7)."""

    def run(size: int) -> Callable[[], object]:
        value = make(size)
        return lambda: _outcome(parse_extensions, value)

    assert_linear(run, 1_000)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "a" * n + "@",
        lambda n: "a." * n + ".",
        lambda n: "%aa" * n + "%",
        lambda n: "[" + ":" * n + "]",
        lambda n: "[" + ":" * n,
    ],
)
def test_hosts_take_linear_time(make: Callable[[int], str]) -> None:
    """No host makes the pattern try a second way to match."""

    def run(size: int) -> Callable[[], object]:
        value = make(size)
        return lambda: _outcome(parse_host, value)

    assert_linear(run, 1_000)


def _outcome(parse: Callable[[str], object], value: str) -> object:
    try:
        return parse(value)
    except InvalidRequest as error:
        return error
