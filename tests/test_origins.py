"""Who may connect: origins and hosts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websock.exceptions import HandshakeError, HostForbidden, OriginForbidden
from websock.headers import Headers
from websock.origins import (
    LOOPBACK_HOSTS,
    SAME_HOST,
    OriginRule,
    check_host,
    check_origin,
    is_loopback,
    validate_hosts,
    validate_origins,
)
from websock.request import Request


def request(*origins: str, host: str | None = "example.org:8467") -> Request:
    """A request with these ``Origin`` headers, and this ``Host`` if any."""
    headers = Headers([("Origin", origin) for origin in origins])
    if host is not None:
        headers.add("Host", host)
    return Request("GET", "/", headers)


# Same host


def test_a_program_sends_no_origin_and_passes() -> None:
    """The rule is for browsers, which always send one (10.2; A16)."""
    check_origin(request())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.org:8467", "example.org:8467"),
        ("https://example.org", "example.org:8467"),
        ("http://example.org:3000", "example.org"),
        ("HTTP://Example.ORG", "eXample.org"),
        ("http://example.org.", "example.org"),
        ("http://example.org", "example.org."),
        ("ws://example.org", "example.org"),
        ("wss://example.org", "example.org"),
        ("http://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("http://192.0.2.1:80", "192.0.2.1:8467"),
        ("http://[2001:db8::1]", "[2001:DB8:0::1]:8467"),
    ],
)
def test_a_page_of_the_same_host_passes(origin: str, host: str) -> None:
    """The port, the case and a dot at the end make no other host (A16)."""
    check_origin(request(origin, host=host))


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:2", "a.localhost"])
@pytest.mark.parametrize(
    "origin",
    ["http://localhost", "https://127.8.9.1:3", "http://[::1]", "http://b.localhost."],
)
def test_loopback_names_and_addresses_are_one_host(origin: str, host: str) -> None:
    """A page at localhost talks to a server at 127.0.0.1 (A16)."""
    check_origin(request(origin, host=host))


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "Null",
        "",
        "file://",
        "http://",
        "https://",
        "example.org",
        "//example.org",
        "http:example.org",
        "http://example.org/",
        "http://example.org/path",
        "http://example.org?",
        "http://example.org#",
        "http://example.org\\.evil.example",
        "https://example.org.evil.example",
        "https://evilexample.org",
        "https://www.example.org",
        "https://org",
        "https://example.org..",
        "https://example.org@evil.example",
        "https://evil@example.org",
        "https://example.org:80:80",
        "https://example.org:http",
        "https://example.org:99999",
        "https://[example.org]",
        "http://example.org http://example.org",
        "http://example.org, http://example.org",
        "http://localhost",
        "chrome-extension://example.org",
        "data://example.org",
        "1http://example.org",
    ],
)
def test_another_origin_is_refused(origin: str) -> None:
    """Foreign, opaque and malformed origins get 403, naming the option (A16)."""
    with pytest.raises(OriginForbidden, match="the option origins= of the server"):
        check_origin(request(origin, host="example.org"))


def test_a_refused_origin_is_shown_escaped_and_short() -> None:
    """The sentence goes into a log, in one line."""
    with pytest.raises(OriginForbidden) as info:
        check_origin(request("https://" + "x" * 10_000))

    assert "origin 'https://xxx" in str(info.value)
    assert len(str(info.value)) < 200


@pytest.mark.parametrize("origins", [SAME_HOST, ["http://example.org"]])
def test_two_origins_are_refused(origins: Any) -> None:
    """One of them may be another page's (A16)."""
    with pytest.raises(OriginForbidden, match="several Origin headers"):
        check_origin(request("http://example.org", "http://example.org"), origins)


def test_a_page_of_no_host_can_not_be_of_the_same() -> None:
    """HTTP/1.0 has requests without a host."""
    with pytest.raises(OriginForbidden):
        check_origin(request("http://example.org", host=None))


def test_the_host_of_an_absolute_target_counts() -> None:
    """The ``Host`` header is ignored then (RFC 9112, 3.2.2)."""
    headers = Headers({"Host": "evil.example", "Origin": "http://example.org"})

    check_origin(Request("GET", "http://example.org/", headers))


# Listed origins


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "@", ""])
def test_none_lets_in_every_page(origin: str) -> None:
    """The check is off, whatever the header is."""
    check_origin(request(origin, origin), None)


@pytest.mark.parametrize(
    ("origin", "rule"),
    [
        ("https://good.example", "https://good.example"),
        ("HTTPS://GOOD.example.:443", "https://good.example"),
        ("https://good.example", "https://Good.example:443"),
        ("http://good.example:80", "http://good.example"),
        ("http://good.example:8080", "http://good.example:8080"),
        ("http://[::1]:8080", "http://[0::1]:8080"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("app://a:1", "app://a:1"),
        ("null", "null"),
        ("file://", "file://"),
        ("FILE://", "File://"),
        ("https://a.good.example", re.compile(r"https://\w+\.good\.example")),
        ("https://A.good.example:443", re.compile(r"https://\w+\.good\.example")),
        ("http://example.org", SAME_HOST),
    ],
)
def test_a_listed_origin_passes(origin: str, rule: OriginRule) -> None:
    """Case and default ports make no difference, on either side (A16)."""
    check_origin(request(origin), ["https://first.example", rule])


@pytest.mark.parametrize(
    ("origin", "rule"),
    [
        ("https://good.example.evil", "https://good.example"),
        ("https://agood.example", "https://good.example"),
        ("http://good.example", "https://good.example"),
        ("https://good.example:80", "https://good.example"),
        ("https://good.example:0", "https://good.example"),
        ("https://a.good.example.evil", re.compile(r"https://a\.good\.example")),
        ("https://evil/https://a.good.example", re.compile(r".*good\.example")),
        ("https://evil#a.good.example", re.compile(r".*good\.example")),
        ("https://good.example\n", re.compile(r"https://good.example$")),
        ("null", re.compile(r"https://.*")),
        ("null", SAME_HOST),
        ("https://good.example", None),
    ],
    ids=ascii,
)
def test_an_origin_that_is_not_listed_is_refused(origin: str, rule: OriginRule) -> None:
    """An origin must match as a whole, and be well-formed (A16)."""
    page = Request("GET", "/", Headers({"Host": "a"}))
    page.headers._fields.append(("Origin", origin))

    with pytest.raises(OriginForbidden):
        check_origin(page, [rule])


@pytest.mark.parametrize("rule", [None, SAME_HOST])
def test_a_missing_origin_passes_if_a_rule_says_so(rule: OriginRule) -> None:
    """``None`` in the list stands for programs; same host includes them (A16)."""
    check_origin(request(), ["https://good.example", rule])


def test_a_missing_origin_is_refused_if_only_pages_are_listed() -> None:
    """A list is complete (A16)."""
    with pytest.raises(OriginForbidden, match=r"without an Origin header .* origins="):
        check_origin(request(), ["https://good.example"])


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_any_origin_passes_or_is_forbidden(origin: str) -> None:
    """No header makes another error, and none is of the same host by chance."""
    for rules in (SAME_HOST, ["null"], [re.compile("https://a")]):
        with pytest.raises(OriginForbidden) as info:
            check_origin(request("~" + origin), rules)
        assert str(info.value).isprintable()


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8467",
        "localhost.",
        "localhost.:8467",
        "app.localhost",
        "127.0.0.1:8467",
        "127.255.0.9",
        "[::1]",
        "[0:0::1]:8467",
        "[::ffff:127.0.0.1]:8467",
    ],
)
def test_a_loopback_server_is_asked_for_loopback(host: str) -> None:
    """Its names and addresses pass, in all spellings (A17)."""
    check_host(request(host=host), LOOPBACK_HOSTS)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8467",
        "localhost.evil.example",
        "notlocalhost",
        "127.0.0.1.evil.example",
        "127.1",
        "0x7f000001",
        "0177.0.0.1",
        "2130706433",
        "0.0.0.0",
        "192.168.0.1",
        "[::]",
        "[::2]",
        "[::ffff:192.168.0.1]",
    ],
)
def test_a_name_that_resolves_to_loopback_is_refused(host: str) -> None:
    """DNS rebinding: the page of a foreign name gets 403, naming the option (A17)."""
    with pytest.raises(HostForbidden, match="the option hosts= of the server"):
        check_host(request(host=host), LOOPBACK_HOSTS)


@pytest.mark.parametrize(
    ("host", "rule"),
    [
        ("example.org:8467", "example.org"),
        ("example.org.", "Example.ORG"),
        ("example.org", "example.org."),
        ("a.example.org", "*.example.org"),
        ("a.b.example.org", "*.Example.org."),
        ("[::1]:80", "[::1]"),
        ("[0::1]:80", "::1"),
        ("192.0.2.7", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8::5]", "2001:db8::/32"),
    ],
)
def test_a_listed_host_passes(host: str, rule: str) -> None:
    """Case, port and a dot at the end make no difference."""
    check_host(request(host=host), ["other.example", rule])


@pytest.mark.parametrize(
    ("host", "rule"),
    [
        ("example.org.evil.example", "example.org"),
        ("www.example.org", "example.org"),
        ("example.org", "*.example.org"),
        ("notexample.org", "*.example.org"),
        ("192.0.3.1", "192.0.2.0/24"),
        ("192.0.2.1", "*.0.2.1"),
        ("[::1]", "127.0.0.1"),
    ],
)
def test_a_host_that_is_not_listed_is_refused(host: str, rule: str) -> None:
    """An asterisk stands for names below the one that follows, not for itself."""
    with pytest.raises(
        HostForbidden, match=f"host {host!r} isn't served".replace("[", r"\[")
    ):
        check_host(request(host=host), [rule])


def test_a_request_without_a_host_is_refused_if_hosts_are_listed() -> None:
    """HTTP/1.0 has such requests."""
    with pytest.raises(HostForbidden, match=r"without a host .* hosts="):
        check_host(request(host=None), ["example.org"])


@pytest.mark.parametrize("host", [None, "anything.example"])
def test_none_serves_all_hosts(host: str | None) -> None:
    """The check is off."""
    check_host(request(host=host), None)


def test_loopback_is_told_from_other_hosts() -> None:
    """The answer is for a host as the parser returns it."""
    assert is_loopback("localhost")
    assert is_loopback("::1")
    assert not is_loopback("example.org")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_any_host_passes_or_is_a_handshake_error(host: str) -> None:
    """No header makes another error, and none is served by chance."""
    with pytest.raises(HandshakeError):
        check_host(request(host=host + "~"), LOOPBACK_HOSTS)


# Options


@pytest.mark.parametrize("value", [None, SAME_HOST])
def test_origins_may_be_one_rule_for_all(value: Any) -> None:
    """The two rules that aren't a list stay as they are."""
    assert validate_origins(value) is value


def test_listed_origins_are_frozen() -> None:
    """A later change of the list changes no server."""
    pattern = re.compile("https://.*")
    rules = ["https://a.example:8", "http://[::1]", "null", pattern, None, SAME_HOST]

    assert validate_origins(rules) == tuple(rules)
    assert validate_origins({"https://a.example"}) == ("https://a.example",)


@pytest.mark.parametrize(
    "value",
    [
        "https://a.example",
        b"https://a.example",
        {"https://a.example": 1},
        5,
        True,
        re.compile("a"),
        ["https://a.example", 5],
        [b"https://a.example"],
        [re.compile(b"a")],
    ],
    ids=repr,
)
def test_origins_of_a_wrong_type_are_a_type_error(value: object) -> None:
    """The sentence names the option and the value."""
    with pytest.raises(TypeError, match=r"^origins: .* (isn't|is neither|is a) "):
        validate_origins(value)


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "*",
        "a.example",
        "https://",
        "https://*.a.example",
        "https://a.example/",
        "https://a.example:x",
        "https://user@a.example",
        "https://bücher.example",
    ],
)
def test_a_string_that_is_no_origin_is_a_value_error(rule: str) -> None:
    """The sentence names the option and the value, and shows how to write one."""
    with pytest.raises(ValueError, match=r"^origins: .* isn't an origin, such as"):
        validate_origins([rule])


def test_hosts_may_be_none() -> None:
    """All hosts are served then."""
    assert validate_hosts(None) is None


def test_listed_hosts_are_frozen() -> None:
    """A later change of the list changes no server."""
    hosts = [*LOOPBACK_HOSTS, "Example.org.", "*.example.org", "[::1]", "10.0.0.0/8"]

    assert validate_hosts(hosts) == tuple(hosts)


@pytest.mark.parametrize("value", ["a.example", b"a", {"a": 1}, 5, [5], [None]])
def test_hosts_of_a_wrong_type_are_a_type_error(value: object) -> None:
    """The sentence names the option and the value."""
    with pytest.raises(TypeError, match=r"^hosts: .* isn't a"):
        validate_hosts(value)


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "*",
        "*.",
        "*.*.a",
        "a.*",
        "a:80",
        "a:",
        "[::1]:80",
        "http://a",
        "10.0.0.1/8",
        "bücher.example",
        "a b",
    ],
)
def test_a_string_that_is_no_host_is_a_value_error(rule: str) -> None:
    """The sentence names the option and the value, and shows how to write one."""
    with pytest.raises(ValueError, match=r"^hosts: .* isn't a host, such as"):
        validate_hosts([rule])


@pytest.mark.parametrize("validate", [validate_origins, validate_hosts])
@pytest.mark.parametrize("value", [[], (), set()])
def test_an_empty_list_is_a_value_error(validate: Any, value: object) -> None:
    """It would refuse everybody, which nobody wants."""
    with pytest.raises(ValueError, match="an empty list would let nobody in"):
        validate(value)


def test_the_rule_for_the_same_host_shows_its_name() -> None:
    """Settings that are printed show what to write."""
    assert repr(SAME_HOST) == "SAME_HOST"
