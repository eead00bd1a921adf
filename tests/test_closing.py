"""Close codes and reasons as data."""

from __future__ import annotations

import pytest

from websock.closing import Close, CloseCode


@pytest.mark.parametrize(
    ("close", "text"),
    [
        (Close(1000), "1000 (normal closure)"),
        (Close(CloseCode.GOING_AWAY, "bye"), "1001 (going away) bye"),
        (Close(3001), "3001 (registered)"),
        (Close(4999, "x"), "4999 (private use) x"),
        (Close(1016), "1016 (unknown)"),
        (Close(5000), "5000 (unknown)"),
    ],
)
def test_close_tells_code_meaning_and_reason(close: Close, text: str) -> None:
    """A log line says what a code means (RFC 6455, 7.4)."""
    assert str(close) == text


def test_close_compares_by_value() -> None:
    """Two closes of the same code and reason are equal, and usable as keys."""
    assert Close(1000, "a") == Close(CloseCode.NORMAL_CLOSURE, "a")
    assert {Close(1000): 1}[Close(1000)] == 1
