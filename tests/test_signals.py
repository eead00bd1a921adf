"""Signals: whose handlers are set, when, and that they are put back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from websock.signals import stop_signals

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def _default_handlers() -> Iterator[None]:
    """The handlers of a plain script, whatever runs the tests."""
    before = {number: signal.getsignal(number) for number in BOTH}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_sigterm_stops() -> None:
    """Every time, and it is no Ctrl-C."""
    stops: list[None] = []

    with stop_signals(lambda: stops.append(None)) as interrupted:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

        assert len(stops) == 2
        assert not interrupted()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_ctrl_c_is_not_patient() -> None:
    """The first asks for an orderly end, the second one wants it now."""
    stops: list[None] = []

    with stop_signals(lambda: stops.append(None)) as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert interrupted()
    assert len(stops) == 1


def test_handlers_are_put_back_after_an_error() -> None:
    """Whatever ends the context."""
    with pytest.raises(ZeroDivisionError), stop_signals(lambda: None):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("own", [signal.SIG_IGN, lambda *args: None])
def test_handler_of_the_application_stays(number: signal.Signals, own: object) -> None:
    """Also if it ignores the signal; the other one is ours all the same."""
    signal.signal(number, own)  # type: ignore[arg-type]
    (other,) = set(BOTH) - {number}
    default = signal.getsignal(other)

    with stop_signals(lambda: None):
        assert signal.getsignal(number) is own
        assert signal.getsignal(other) is not default

    assert signal.getsignal(number) is own
    assert signal.getsignal(other) is default


def test_other_threads_set_no_handlers() -> None:
    """Python doesn't let them."""
    seen: list[object] = []

    def run() -> None:
        with stop_signals(lambda: None) as interrupted:
            seen.extend(signal.getsignal(number) for number in BOTH)
            seen.append(interrupted())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)

    assert seen == [signal.SIG_DFL, signal.default_int_handler, False]
