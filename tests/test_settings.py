"""Settings: what each option tells its users, and what is refused, by name."""

from __future__ import annotations

import dataclasses
import logging
import math
import socket
import ssl
import typing
from pathlib import Path
from typing import Any

import pytest

from websock.extensions.permessage_deflate import PerMessageDeflate
from websock.settings import COUNTS, TIMES, Options, Settings

FIELDS = dataclasses.fields(Settings)
NUMBERS = (*TIMES, *COUNTS, "write_limit", "backlog")


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_option_tells_what_it_does_and_why(
    field: dataclasses.Field[object],
) -> None:
    """The reference is made of these sentences; a number has its unit, too."""
    assert field.metadata["doc"].endswith(".")
    assert field.metadata["reason"].endswith(".")
    assert bool(field.metadata["unit"]) == (field.name in NUMBERS)
    assert field.kw_only


def test_seconds_are_the_unit_of_every_time() -> None:
    """Nobody has to guess whether it's milliseconds."""
    for field in FIELDS:
        assert (field.metadata["unit"] == "seconds") == (field.name in TIMES)


def test_options_are_the_settings_for_type_checkers() -> None:
    """The same names, in the same order, of the same types."""
    settings = typing.get_type_hints(Settings)
    options = typing.get_type_hints(Options)

    assert list(options.items()) == list(settings.items())
    assert not Options.__required_keys__


def test_settings_do_not_change() -> None:
    """Threads read them without a lock."""
    settings = Settings()

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.max_size = 1  # type: ignore[misc]


def test_defaults_are_bounded() -> None:
    """A server on the internet needs no options: what a peer can cost has limits."""
    settings = Settings()

    # All may come through one proxy.
    unlimited = {"max_connections_per_ip", "max_http_connections_per_ip"}
    for name in set(NUMBERS) - unlimited:
        assert getattr(settings, name) is not None, name


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [0, -1, -0.1, math.inf, math.nan])
def test_time_that_is_none_is_refused(name: str, value: float) -> None:
    """Zero and infinity are mistakes; ``None`` stands for no limit."""
    with pytest.raises(
        ValueError, match=rf"^{name} must be positive and at most \d+, not"
    ):
        Settings(**{name: value})  # type: ignore[arg-type]

    assert getattr(Settings(**{name: None}), name) is None  # type: ignore[arg-type]
    assert getattr(Settings(**{name: 0.5}), name) == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*COUNTS, "write_limit", "backlog"])
@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)]
)
def test_count_that_is_none_is_refused(
    name: str, value: float, error: type[Exception]
) -> None:
    """A count is a whole number above zero."""
    with pytest.raises(error, match=f"^{name} must be"):
        Settings(**{name: value})  # type: ignore[arg-type]

    assert getattr(Settings(**{name: 7}), name) == 7  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["write_limit", "backlog"])
def test_some_counts_need_a_limit(name: str) -> None:
    """An outbox or backlog without end would only fail later."""
    with pytest.raises(TypeError, match=f"^{name} must be an int, not NoneType$"):
        Settings(**{name: None})  # type: ignore[arg-type]


async def later(*args: object) -> None:
    """Do nothing, unless somebody awaits it."""


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ping_interval", True, "must be a number of seconds or None, not bool"),
        ("ping_interval", "20", "must be a number of seconds or None, not str"),
        ("max_size", True, "must be an int or None, not bool"),
        ("max_size", 2.0, "must be an int or None, not float"),
        ("select_subprotocol", "chat", "must be callable, not str"),
        ("process_request", 1, "must be callable, not int"),
        ("ssl", "cert.pem", "must be a SSLContext, not str"),
        ("sock", 3, "must be a socket, not int"),
        ("logger", "websock", "must be a Logger, not str"),
        ("unix", 3, "must be a path, not int"),
        ("http", b"folder", "must be a path, not bytes"),
        ("health_path", b"/", "must be a str or None, not bytes"),
        ("subprotocols", "chat", "must be a sequence of strings, not str"),
        ("subprotocols", {"chat"}, "must be a sequence of strings, not set"),
        ("origins", "https://a.example", r"pass \['https://a.example'\]"),
        ("hosts", "a.example", r"pass \['a.example'\]"),
        ("process_request", later, "must be a plain function, not an async one"),
        ("select_subprotocol", later, "must be a plain function, not an async one"),
    ],
)
def test_wrong_type_is_an_error_that_names_the_option(
    name: str, value: Any, sentence: str
) -> None:
    """It comes at construction, not with the first client."""
    with pytest.raises(TypeError, match=rf"^{name}\b.*{sentence}"):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("slow_client", "wait", "is one of close, drop_newest, drop_oldest"),
        ("callback_errors", "ignore", "is one of close, continue, not 'ignore'"),
        ("compression", "gzip", "is 'deflate', a PerMessageDeflate or None"),
        ("compression", True, "is 'deflate', a PerMessageDeflate or None"),
        ("subprotocols", ["a b"], "must be tokens, which 'a b' isn't"),
        ("subprotocols", [""], "must be tokens, which '' isn't"),
        ("subprotocols", [1], "must be tokens, which 1 isn't"),
        ("http", "/nowhere/at/all", "must be a folder, which /nowhere/at/all"),
        ("health_path", "healthz", "must be a path from / on, not 'healthz'"),
        ("health_path", "", "must be a path from / on, not ''"),
        ("health_path", "/healthz?x", r"must be a path from / on, not '/healthz\?x'"),
    ],
)
def test_wrong_value_is_an_error_that_names_the_option(
    name: str, value: Any, sentence: str
) -> None:
    """The sentence tells what would be right."""
    with pytest.raises(ValueError, match=f"^{name} {sentence}"):
        Settings(**{name: value})


def test_two_places_to_listen_exclude_each_other() -> None:
    """One of them would be ignored."""
    with (
        socket.socket() as sock,
        pytest.raises(ValueError, match="sock and unix exclude each other"),
    ):
        Settings(sock=sock, unix="path")


def test_right_values_of_every_type_are_kept(tmp_path: Path) -> None:
    """As they are: nothing is copied or converted."""
    with socket.socket() as sock:
        options = Options(
            ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            sock=sock,
            subprotocols=("chat", "x.y-z"),
            select_subprotocol=lambda client, offered: None,
            compression=PerMessageDeflate(),
            process_request=lambda client, request: None,
            http=tmp_path,
            health_path="/health",
            logger=logging.getLogger("x"),
            slow_client="drop_newest",
            callback_errors="continue",
        )

        settings = Settings(**options)

    for name, value in options.items():
        assert getattr(settings, name) is value
    assert Settings(unix=tmp_path / "socket", compression=None).unix is not None
    assert Settings(health_path=None).health_path is None
