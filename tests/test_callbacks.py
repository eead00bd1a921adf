"""Callbacks: of any shape, in order, and what comes of their exceptions."""

from __future__ import annotations

import builtins
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from websock import callbacks as module
from websock.callbacks import (
    EVENTS,
    FLOOD_COUNT,
    FLOOD_SECONDS,
    Callbacks,
    Outcome,
    adapt,
)
from websock.exceptions import ClientGone, ConnectionClosed, SendTimeout


@pytest.fixture
def callbacks() -> Callbacks:
    """A table without functions."""
    return Callbacks(logging.getLogger("websock.test"))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Time on the clock."""
        return self.now


# Shapes of functions.


class Listener:
    """Holder of functions of all kinds."""

    def __init__(self) -> None:
        self.got: list[tuple[object, ...]] = []

    def method(self, client: object) -> None:
        """Take the client alone."""
        self.got.append((client,))

    def both(self, client: object, code: object) -> None:
        """Take two of three."""
        self.got.append((client, code))

    def __call__(self, client: object, /, code: object, reason: object) -> None:
        """Take everything."""
        self.got.append((client, code, reason))

    def with_option(self, client: object, *, verbose: bool = False) -> None:
        """Take the client, and an option that no caller sets."""
        self.got.append((client, verbose))

    def with_default(self, client: object, code: object = None) -> None:
        """Take two; a default counts as a place for an argument."""
        self.got.append((client, code))

    def everything(self, *args: object) -> None:
        """Take what there is."""
        self.got.append(args)

    def first_and_rest(self, client: object, *rest: object) -> None:
        """Take what there is, the first by name."""
        self.got.append((client, *rest))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("method", (1,)),
        ("both", (1, 2)),
        ("__call__", (1, 2, 3)),
        ("with_option", (1, False)),
        ("with_default", (1, 2)),
        ("everything", (1,)),
        ("first_and_rest", (1,)),
    ],
)
def test_bound_method_gets_its_share(name: str, expected: tuple[object, ...]) -> None:
    """As many arguments as it takes, the first ones; ``self`` isn't counted."""
    listener = Listener()

    adapt(getattr(listener, name), 3)(1, 2, 3)

    assert listener.got == [expected]


def test_function_lambda_and_partial_get_their_share() -> None:
    """What a partial has bound already is no place any more."""
    got: list[object] = []

    def function(client: object, code: object) -> None:
        got.append((client, code))

    adapt(function, 3)(1, 2, 3)
    adapt(lambda: got.append("none"), 3)(1, 2, 3)
    adapt(lambda client: got.append(client), 3)(1, 2, 3)
    adapt(functools.partial(function, 0), 3)(1, 2, 3)
    adapt(functools.partial(function, code=9), 3)(1, 2, 3)
    adapt(Listener(), 3)(1, 2, 3)

    assert got == [(1, 2), "none", 1, (0, 1), (1, 9)]


def test_function_that_takes_everything_is_not_wrapped() -> None:
    """The wrapper would cost something on every message."""
    listener = Listener()

    for function in (listener.both, listener.everything, listener.first_and_rest):
        assert adapt(function, 2) == function
    assert adapt(listener, 3) is listener
    assert adapt(listener.method, 1) == listener.method


def keyword_only(client: object, *, name: str) -> None:
    """Take what no caller passes."""


@pytest.mark.parametrize(
    ("function", "missing"), [(lambda a, b, c: None, "c"), (keyword_only, "name")]
)
def test_function_that_can_not_be_called_is_refused(
    callbacks: Callbacks, function: Callable[..., object], missing: str
) -> None:
    """At once, by an error that names the argument that it would miss."""
    with pytest.raises(
        TypeError, match=rf"on_data_receive is called with.*'{missing}'"
    ):
        callbacks.add("on_data_receive", function)

    assert callbacks.functions("on_data_receive") == ()


@pytest.mark.parametrize("function", [builtins.print, [].append, max, str])
def test_builtins_are_called_somehow(function: Any) -> None:
    """Some have a signature and some have none; both can be passed."""
    adapt(function, 1)("text")


def test_function_without_a_signature_gets_what_it_always_got() -> None:
    """Python can't tell how many arguments it takes: ``set.discard`` takes one."""
    people = {"Ada", "Bob"}

    adapt(people.discard, 3)("Ada", 1000, "")

    assert people == {"Bob"}

    class Strange:
        __signature__ = "nonsense"

        def __call__(self, *args: object) -> tuple[object, ...]:
            return args

    strange = Strange()

    assert adapt(strange, 2) is strange


# The table.


def test_functions_run_in_order(callbacks: Callbacks) -> None:
    """The assigned one first, then those that were added, each with its share."""
    got: list[object] = []
    callbacks.add("on_connection_close", lambda client: got.append(client))
    callbacks.add(
        "on_connection_close", lambda c, code, why: got.append((c, code, why))
    )
    callbacks.assign("on_connection_close", lambda client, code: got.append(code))

    outcome = callbacks.run("on_connection_close", None, "c", 1000, "bye")

    assert outcome is Outcome.RETURNED

    assert got == [1000, "c", ("c", 1000, "bye")]


def test_functions_can_be_replaced_and_removed(callbacks: Callbacks) -> None:
    """By assignment, and one by one; the same function may be there twice."""
    got: list[str] = []

    def first() -> None:
        got.append("first")

    def second() -> None:
        got.append("second")

    event = "on_server_destruct"
    callbacks.assign(event, first)
    callbacks.assign(event, second)
    assert callbacks.get(event) is second
    callbacks.add(event, second)
    callbacks.add(event, first)
    callbacks.remove(event, second)
    callbacks.run(event, None)
    assert got == ["second", "first"]
    callbacks.remove(event, second)
    callbacks.run(event, None)
    assert got == ["second", "first", "first"]
    assert callbacks.get(event) is None
    callbacks.assign(event, None)
    callbacks.remove(event, first)
    assert callbacks.functions(event) == ()


def test_mistakes_are_errors_that_name_the_event(callbacks: Callbacks) -> None:
    """An unknown event, something that can't be called, or that isn't there."""
    with pytest.raises(ValueError, match="no event 'on_message'; there are on_data"):
        callbacks.add("on_message", print)
    with pytest.raises(ValueError, match="no event 'on_message'"):
        callbacks.remove("on_message", print)
    with pytest.raises(ValueError, match="isn't a callback of on_error"):
        callbacks.remove("on_error", print)
    for change in (callbacks.add, callbacks.assign):
        with pytest.raises(TypeError, match="on_error must be callable, not int"):
            change("on_error", 1)  # type: ignore[arg-type]
    assert all(callbacks.functions(event) == () for event in EVENTS)


class Awaited:
    """Something callable, whose calls do nothing by themselves."""

    async def __call__(self, *args: object) -> None:
        """Do nothing, unless somebody awaits it."""

    async def method(self, *args: object) -> None:
        """Do nothing, unless somebody awaits it."""

    async def iterate(self, *args: object) -> AsyncIterator[None]:
        """Do nothing, unless somebody iterates."""
        yield

    def generate(self, *args: object) -> Iterator[None]:
        """Do nothing, unless somebody iterates."""
        yield


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (Awaited(), "use def"),
        (Awaited().method, "use def"),
        (functools.partial(Awaited().method, 1), "use def"),
        (Awaited().iterate, "use def"),
        (Awaited().generate, "without yield"),
    ],
)
def test_function_whose_call_does_nothing_is_refused(
    callbacks: Callbacks, function: Callable[..., Any], remedy: str
) -> None:
    """An ``async`` callback would never run, and nobody would tell why."""
    for put in (callbacks.assign, callbacks.add):
        with pytest.raises(TypeError, match=f"^on_error must be a plain .*{remedy}"):
            put("on_error", function)
    assert callbacks.functions("on_error") == ()


def test_class_may_be_a_callback(callbacks: Callbacks) -> None:
    """Calling it makes an object, whatever calling that one does."""
    callbacks.assign("on_error", Awaited)
    assert callbacks.functions("on_error")


def test_function_may_change_the_table_while_it_runs(callbacks: Callbacks) -> None:
    """Whoever runs goes on with what there was; the next time it's different."""
    got: list[str] = []

    def once() -> None:
        got.append("once")
        callbacks.remove("on_server_destruct", once)
        callbacks.add("on_server_destruct", lambda: got.append("later"))

    callbacks.add("on_server_destruct", once)

    callbacks.run("on_server_destruct", None)
    callbacks.run("on_server_destruct", None)

    assert got == ["once", "later"]


def test_function_that_another_one_removes_is_not_called(callbacks: Callbacks) -> None:
    """Not even for the event that is being dealt with; the others are."""
    got: list[str] = []

    class Second:
        def __call__(self, *_: object) -> None:
            got.append("second")

    second = Second()

    def first(_: object) -> None:
        got.append("first")
        callbacks.remove("on_connection_open", second)

    callbacks.assign("on_connection_open", first)
    callbacks.add("on_connection_open", second)
    callbacks.add("on_connection_open", lambda client: got.append("third"))

    callbacks.run("on_connection_open", None, "c")

    assert got == ["first", "third"]


def test_table_changes_while_others_call(callbacks: Callbacks) -> None:
    """No call sees half a change."""
    stop = threading.Event()
    outcomes: list[Outcome] = []

    def call() -> None:
        while not stop.is_set():
            outcomes.append(callbacks.run("on_connection_open", None, "c"))

    caller = threading.Thread(target=call)
    caller.start()

    def function(client: object) -> None:
        pass

    for _ in range(500):
        callbacks.add("on_connection_open", function)
        callbacks.remove("on_connection_open", function)
    stop.set()
    caller.join(10)

    assert set(outcomes) == {Outcome.RETURNED}


# Exceptions.


def test_ctrl_c_passes_where_the_main_thread_runs_callbacks(
    callbacks: Callbacks,
) -> None:
    """``serve_once`` in a script ends with it; other threads never get one."""

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    callbacks.assign("on_data_receive", interrupt)

    with pytest.raises(KeyboardInterrupt):
        callbacks.run("on_data_receive", "the client", "c", "data")
    thread = threading.Thread(
        target=callbacks.run, args=("on_data_receive", "the client", "c", "data")
    )
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_exception_of_a_function_stops_no_other(
    callbacks: Callbacks, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its traceback, and on_error gets it with its client."""
    got: list[object] = []
    raised = error("oops")

    def fail(*args: object) -> None:
        raise raised

    callbacks.assign("on_data_receive", fail)
    callbacks.add("on_data_receive", lambda *args: got.append(args))
    callbacks.assign("on_error", got.append)

    outcome = callbacks.run("on_data_receive", "the client", "c", "data")

    assert outcome is Outcome.FAILED
    assert got == [raised, ("c", "data")]
    assert raised.client == "the client"  # type: ignore[attr-defined]
    (record,) = caplog.records
    assert record.getMessage() == "the client: exception in on_data_receive"
    assert record.exc_info is not None
    assert record.exc_info[1] is raised


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosed(None, None),
        ClientGone(("192.0.2.1", 1)),
        SendTimeout("slow"),
    ],
)
def test_peer_that_is_lost_speaks_not_against_the_callback(
    callbacks: Callbacks, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A callback that sends to somebody who leaves is healthy: one line at INFO."""
    got: list[object] = []

    def fail(*args: object) -> None:
        raise error

    callbacks.assign("on_connection_open", fail)
    callbacks.assign("on_error", got.append)

    with caplog.at_level(logging.INFO):
        outcome = callbacks.run("on_connection_open", "the client", "c")

    assert outcome is Outcome.LOST_PEER
    assert got == [error]
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.exc_info is None


def test_worst_of_several_functions_counts(callbacks: Callbacks) -> None:
    """A lost peer hides no mistake, whichever comes first."""
    errors: list[Exception] = [SendTimeout("slow"), ValueError(), SendTimeout("slow")]

    def fail(client: object) -> None:
        raise errors.pop()

    for _ in range(3):
        callbacks.add("on_connection_open", fail)

    assert callbacks.run("on_connection_open", None, "c") is Outcome.FAILED
    assert errors == []


def test_exception_of_on_error_ends_there(
    callbacks: Callbacks, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; on_error isn't told of its own mistakes."""
    calls: list[BaseException] = []

    def fail(error: BaseException) -> None:
        calls.append(error)
        raise SystemExit

    callbacks.assign("on_error", fail)
    callbacks.add("on_error", calls.append)
    error = ValueError("x")

    callbacks.notify(error, "the client")

    assert calls == [error, error]
    assert "the client: exception in on_error" in caplog.text


def test_exception_that_does_not_want_to_carry_its_client_is_passed_on(
    callbacks: Callbacks,
) -> None:
    """Whatever setting an attribute raises there."""

    class Stubborn(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise ZeroDivisionError

    got: list[BaseException] = []
    callbacks.assign("on_error", got.append)
    error = Stubborn()

    assert callbacks.report(error, "c", "on_data_receive") is Outcome.FAILED
    assert got == [error]


def test_exception_that_cannot_carry_its_client_is_passed_on(
    callbacks: Callbacks,
) -> None:
    """A class of the application may refuse attributes."""

    class Closed(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    got: list[BaseException] = []
    callbacks.assign("on_error", got.append)
    error = Closed()

    callbacks.notify(error, "the client")

    assert got == [error]


def test_flood_of_exceptions_is_counted(
    callbacks: Callbacks,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So many tracebacks in a minute, then one line, then how many there were."""
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)

    def report(times: int) -> list[str]:
        caplog.clear()
        for _ in range(times):
            callbacks.report(ValueError("x"), "c", "on_data_receive")
        return [record.getMessage() for record in caplog.records]

    line = "c: exception in on_data_receive"
    assert report(FLOOD_COUNT) == [line] * FLOOD_COUNT
    assert report(5) == [f"more than {FLOOD_COUNT} exceptions in 60 s: counted only"]
    clock.now += FLOOD_SECONDS
    assert report(1) == []
    clock.now += 0.1
    assert report(2) == ["6 more exceptions weren't logged", line, line]
    clock.now += FLOOD_SECONDS + 1
    assert report(1) == [line]
