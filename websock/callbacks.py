"""The user's functions: which there are, how they run, and what if they raise.

No lock of the package is held while one of them runs.

Layer: shells. May import: exceptions, logs, settings.
"""

from __future__ import annotations

import contextlib
import enum
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Final, NamedTuple

from .exceptions import ConnectionClosed, SendTimeout
from .logs import log_exception
from .settings import check_function

__all__ = ["EVENTS", "Callbacks", "Outcome", "adapt"]

EVENTS: Final = {
    "on_data_receive": 2,
    "on_connection_open": 1,
    "on_connection_close": 3,
    "on_error": 1,
    "on_server_destruct": 0,
    "on_ping_send": 2,
    "on_pong_receive": 2,
}
"""Names of the callbacks, and the most arguments that each one can get."""

CLOSE_PARAMETERS: Final = frozenset(
    {"code", "reason", "close_code", "close_reason", "status_code"}
)
"""Parameters with defaults that ``on_connection_close`` fills all the same."""

FLOOD_COUNT: Final = 20
"""Tracebacks that are logged within :data:`FLOOD_SECONDS`; more are counted only."""

FLOOD_SECONDS: Final = 60.0


class Outcome(enum.IntEnum):
    """What became of a call of the user's code; of several, the greatest counts."""

    RETURNED = 0
    LOST_PEER = 1
    """It raised because a peer was lost to which it sent: whichever client's."""
    FAILED = 2
    """It raised something else."""


def count_arguments(function: Callable[..., Any], most: int) -> int:
    """Tell how many of ``most`` arguments a function gets, the first ones.

    ``on_connection_close`` may take the client alone, or code and reason too: those
    that say so by their parameters get them. Others, which can't tell, such as
    ``set.discard`` or what a decorator returns, get what websock 1.0.4 gave.
    """
    sure = most if most <= 2 else 1
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return sure
    positional = 0
    for parameter in parameters:
        if (
            positional >= 1
            and most > 2
            and parameter.default is not parameter.empty
            and parameter.name not in CLOSE_PARAMETERS
        ):
            # ``lambda client, name=name: ...`` keeps something of its own there.
            break
        if parameter.kind is parameter.VAR_POSITIONAL:
            return max(positional, sure)
        if parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        ):
            positional += 1
    return min(positional, most)


def adapt(function: Callable[..., Any], most: int) -> Callable[..., Any]:
    """Make ``function`` callable with ``most`` arguments; it gets its share of them."""
    count = count_arguments(function, most)
    if count == most:
        return function
    return lambda *args: function(*args[:count])


class _Callback(NamedTuple):
    """A function of the user's."""

    function: Callable[..., Any]
    call: Callable[..., Any]
    """Calls it with the arguments that it takes."""


def _make_callback(event: str, function: Callable[..., Any]) -> _Callback:
    most = EVENTS[event]
    check_function(event, function, count_arguments(function, most))
    return _Callback(function, adapt(function, most))


class Callbacks:
    """The functions of one server.

    Each event has the function that was passed to the constructor or assigned
    since, and any number of others that were added; they run in this order.

    Args:
        logger: Where exceptions go.

    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        # Guards changes of the tables, and the counting of floods.
        self._lock = threading.Lock()
        self._assigned: dict[str, _Callback | None] = dict.fromkeys(EVENTS)
        self._added: dict[str, list[_Callback]] = {event: [] for event in EVENTS}
        # What is called; tuples that are replaced, so that readers need no lock.
        self._functions: dict[str, tuple[Callable[..., Any], ...]] = dict.fromkeys(
            EVENTS, ()
        )
        self.changed: Callable[[], object] | None = None
        """Called when there are other functions; for whoever remembers them."""
        self._flood_began = 0.0
        self._flood_count = 0

    def get(self, event: str) -> Callable[..., Any] | None:
        """Return the function that was passed or assigned."""
        assigned = self._assigned[event]
        return None if assigned is None else assigned.function

    def assign(self, event: str, function: Callable[..., Any] | None) -> None:
        """Set or replace the function of ``event``; :obj:`None` removes it.

        Raises:
            TypeError: If ``function`` isn't callable with these arguments, or is an
                ``async`` one.

        """
        callback = None if function is None else _make_callback(event, function)
        with self._lock:
            self._assigned[event] = callback
            self._refresh(event)

    def add(self, event: str, function: Callable[..., Any]) -> None:
        """Add a function that runs after those that are there.

        Raises:
            ValueError: If there is no such event.
            TypeError: If ``function`` isn't callable with these arguments, or is an
                ``async`` one.

        """
        _check_event(event)
        callback = _make_callback(event, function)
        with self._lock:
            self._added[event].append(callback)
            self._refresh(event)

    def remove(self, event: str, function: Callable[..., Any]) -> None:
        """Remove a function that was added, or assigned.

        Raises:
            ValueError: If there is no such event, or no such function.

        """
        _check_event(event)
        with self._lock:
            added = self._added[event]
            found = [callback for callback in added if callback.function == function]
            if found:
                added.remove(found[0])
            elif self.get(event) == function:
                self._assigned[event] = None
            else:
                raise ValueError(f"{function!r} isn't a callback of {event}")
            self._refresh(event)

    def _refresh(self, event: str) -> None:
        assert self._lock.locked()
        assigned = self._assigned[event]
        callbacks = [] if assigned is None else [assigned]
        callbacks += self._added[event]
        self._functions[event] = tuple(callback.call for callback in callbacks)
        if self.changed is not None:
            self.changed()

    def functions(self, event: str) -> tuple[Callable[..., Any], ...]:
        """Everything that ``event`` calls, in order."""
        return self._functions[event]

    def _each(self, event: str) -> Iterator[Callable[..., Any]]:
        """Everything that ``event`` calls now, less what is removed meanwhile."""
        for function in self._functions[event]:
            if function in self._functions[event]:
                yield function

    def run(self, event: str, client: object, *args: object) -> Outcome:
        """Call the functions of ``event``.

        Args:
            event: Name of the event.
            client: Whom exceptions are about; :obj:`None` for the server itself.
            args: What the functions get.

        Returns:
            What became of it. If one raised, the others ran all the same, and
            :meth:`report` was told.

        """
        outcome = Outcome.RETURNED
        for function in self._each(event):
            try:
                function(*args)
            except BaseException as error:
                outcome = max(outcome, self.handle(error, client, event))
        return outcome

    def handle(self, error: BaseException, client: object, event: str) -> Outcome:
        """Do with an exception of a callback what :meth:`run` does.

        Returns:
            What :meth:`report` does.

        Raises:
            KeyboardInterrupt: In the main thread, whoever it runs, it goes on.

        """
        # SystemExit of a callback ends neither its thread nor the server.
        if isinstance(error, KeyboardInterrupt) and is_main_thread():
            raise error
        return self.report(error, client, event)

    def report(self, error: BaseException, client: object, what: str) -> Outcome:
        """Log an exception of the user's code, and tell ``on_error``.

        Args:
            error: What was raised.
            client: Whom it is about; it becomes the attribute ``client``.
            what: Which callback or hook raised.

        Returns:
            :attr:`Outcome.LOST_PEER` if it's the fault of a peer, which was lost
            while the callback sent to it: nothing that speaks against the callback.

        """
        outcome = Outcome.FAILED
        if isinstance(error, ConnectionClosed | SendTimeout):
            outcome = Outcome.LOST_PEER
            # Not its sentence, which may have the peer's words in it.
            self._logger.info("%s: %s: %s", client, what, type(error).__name__)
        else:
            self._log_traceback(error, client, what)
        self.notify(error, client)
        return outcome

    def notify(self, error: BaseException, client: object) -> None:
        """Tell ``on_error``, whose own exceptions are logged and end there."""
        # An exception with slots can't carry the client, and some don't want to.
        with contextlib.suppress(Exception):
            error.client = client  # type: ignore[attr-defined]
        for function in self._each("on_error"):
            try:
                function(error)
            except BaseException as second:
                self._log_traceback(second, client, "on_error")

    def _log_traceback(self, error: BaseException, client: object, what: str) -> None:
        now = monotonic()
        with self._lock:
            if now - self._flood_began > FLOOD_SECONDS:
                suppressed = max(0, self._flood_count - FLOOD_COUNT)
                self._flood_began = now
                self._flood_count = 0
            else:
                suppressed = 0
            self._flood_count += 1
            count = self._flood_count
        if suppressed:
            self._logger.error("%d more exceptions weren't logged", suppressed)
        if count <= FLOOD_COUNT:
            log_exception(self._logger, error, "%s: exception in %s", client, what)
        elif count == FLOOD_COUNT + 1:
            self._logger.error(
                "more than %d exceptions in %g s: counted only",
                FLOOD_COUNT,
                FLOOD_SECONDS,
            )


def is_main_thread() -> bool:
    """Whether the calling thread is the one that gets Ctrl-C."""
    return threading.current_thread() is threading.main_thread()


def _check_event(event: str) -> None:
    if event not in EVENTS:
        raise ValueError(f"no event {event!r}; there are {', '.join(EVENTS)}")
