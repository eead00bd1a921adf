"""Signals: whose handlers are set, when, and that they are put back."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from websock.signals import stop_signals

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What the main thread waits on, and what wakes it."""
    read_end, write_end = socket.socketpair()
    read_end.setblocking(False)
    write_end.setblocking(False)
    with read_end, write_end:
        yield read_end, write_end


@pytest.fixture
def wakeup_fd(pair: tuple[socket.socket, socket.socket]) -> int:
    """Descriptor that wakes the main thread."""
    return pair[1].fileno()


@pytest.fixture(autouse=True)
def _default_handlers() -> Iterator[None]:
    """The handlers of a plain script, whatever runs the tests."""
    before = {number: signal.getsignal(number) for number in BOTH}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_sigterm_stops(wakeup_fd: int) -> None:
    """Every time, and it is no Ctrl-C."""
    stops: list[None] = []

    with stop_signals(lambda: stops.append(None), wakeup_fd) as interrupted:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

        assert len(stops) == 2
        assert not interrupted()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_ctrl_c_is_not_patient(wakeup_fd: int) -> None:
    """The first asks for an orderly end, the second one wants it now."""
    stops: list[None] = []

    with stop_signals(lambda: stops.append(None), wakeup_fd) as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert interrupted()
    assert len(stops) == 1


def test_handlers_are_put_back_after_an_error(wakeup_fd: int) -> None:
    """Whatever ends the context."""
    with pytest.raises(ZeroDivisionError), stop_signals(lambda: None, wakeup_fd):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("own", [signal.SIG_IGN, lambda *args: None])
def test_handler_of_the_application_stays(
    number: signal.Signals, own: object, wakeup_fd: int
) -> None:
    """Also if it ignores the signal; the other one is ours all the same."""
    signal.signal(number, own)  # type: ignore[arg-type]
    (other,) = set(BOTH) - {number}
    default = signal.getsignal(other)

    with stop_signals(lambda: None, wakeup_fd):
        assert signal.getsignal(number) is own
        assert signal.getsignal(other) is not default

    assert signal.getsignal(number) is own
    assert signal.getsignal(other) is default


def test_other_threads_set_no_handlers(wakeup_fd: int) -> None:
    """Python doesn't let them."""
    seen: list[object] = []

    def run() -> None:
        with stop_signals(lambda: None, wakeup_fd) as interrupted:
            seen.extend(signal.getsignal(number) for number in BOTH)
            seen.append(interrupted())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)

    assert seen == [signal.SIG_DFL, signal.default_int_handler, False]


def test_signal_wakes_who_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    """Also one that another thread of the process gets (signal.set_wakeup_fd)."""
    read_end, write_end = pair
    before = set(os.listdir("/proc/self/fd"))
    stopped = threading.Event()

    with stop_signals(stopped.set, write_end.fileno()):
        thread = threading.Thread(target=signal.raise_signal, args=(signal.SIGTERM,))
        thread.start()
        thread.join(20)
        read_end.settimeout(20)
        assert read_end.recv(1) == bytes([signal.SIGTERM])
        assert stopped.is_set()

    assert set(os.listdir("/proc/self/fd")) == before


def test_application_gets_its_wakeup_descriptor_back(
    pair: tuple[socket.socket, socket.socket], wakeup_fd: int
) -> None:
    """An event loop of its own may have set one."""
    own, other = socket.socketpair()
    with own, other:
        own.setblocking(False)
        former = signal.set_wakeup_fd(own.fileno())
        try:
            with stop_signals(lambda: None, wakeup_fd):
                pass
            assert signal.set_wakeup_fd(former) == own.fileno()
        finally:
            signal.set_wakeup_fd(former)


def test_handlers_are_put_back_without_descriptors(
    wakeup_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server can't start then, but the application keeps its Ctrl-C."""

    def exhausted(fd: int) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", exhausted)
        with pytest.raises(OSError), stop_signals(lambda: None, wakeup_fd):
            pass

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
