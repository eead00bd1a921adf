"""Attacks with credentials: A20 of the list of attacks.

The server asks for none itself: an application does, in ``process_request``. What
can be said of the server is that they reach the application, but not the log; of
the application, that the one of the how-to guide is a good example.
"""

from __future__ import annotations

import hmac
import queue
import runpy
from typing import Any

import pytest

from ...tools import ROOT
from ..wire import DEADLINE
from .conftest import MakeArena
from .kit import SECRET, request

GUIDE = ROOT / "docs" / "howto" / "authentication.py"


@pytest.mark.parametrize(
    "value",
    [
        f"Basic {SECRET}",
        "Basic",
        "Basic dGVsbC1ub2JvZHk=",
        "Basic /w==",
        "Basic ====",
        "Basic dGVsbC1ub2JvZHk=, Basic OjE=",
        f"Bearer {SECRET * 500}",
    ],
    ids=lambda value: value[:40],
)
def test_a20_credentials_reach_the_application_as_they_came(
    tcp_arena: MakeArena, value: str
) -> None:
    """Nothing decodes them before it does, and no log has them."""
    seen: queue.Queue[Any] = queue.Queue()

    def note(client: Any, asked: Any) -> None:
        seen.put(asked.headers.get("Authorization"))

    with tcp_arena(process_request=note) as scene:
        assert seen.get(timeout=DEADLINE) is None
        scene.accepts(request(f"Authorization: {value}".encode()))

        assert seen.get(timeout=DEADLINE) == value


def test_a20_megabyte_of_credentials_is_refused_before_its_end(
    arena: MakeArena,
) -> None:
    """They are a header field like others, whose limit is 8 KiB."""
    with arena() as scene:
        data = request(b"Authorization: Basic " + b"A" * 2**20)
        scene.refuses(data, 431, "header field over 8192 bytes")


@pytest.mark.parametrize(
    "cookie",
    ["", "ann", ".", f"ann.{SECRET}", "ann." + "0" * 64, "%C3%A9.0", "a" * 8000 + ".0"],
    ids=lambda value: value[:20],
)
def test_a20_guide_compares_credentials_in_constant_time(
    tcp_arena: MakeArena, monkeypatch: pytest.MonkeyPatch, cookie: str
) -> None:
    """Whatever the cookie is, it gets 403; one with a name is compared as a whole."""
    monkeypatch.setenv("CHAT_KEY", "a key for tests")
    guide = runpy.run_path(str(GUIDE))
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return compare_digest(one, other)

    def check(client: Any, asked: Any) -> Any:
        return None if asked.path == "/bystander" else guide["check"](client, asked)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    with tcp_arena(process_request=check) as scene:
        scene.refuses(request(f"Cookie: session={cookie}".encode()), 403, "log in")

    assert len(compared) == (cookie.rpartition(".")[0] != "")
