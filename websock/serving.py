"""One run of a server, from the first listening socket to the last closed client.

:class:`Serving` is the main thread: it owns the loop, decides who is let in,
flushes and ends connections for their threads, and brings everything to an end
by a deadline. A server that starts again gets a new one.

Layer: shells. May import: the core and every shell but server.
"""

from __future__ import annotations

import functools
import logging
import socket
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Final

from .callbacks import Callbacks, Outcome
from .clients import Client, ClientTable
from .closing import CloseCode
from .connection import Connection
from .exceptions import (
    HandshakeError,
    TooManyConnections,
    UpgradeRequired,
)
from .extensions.base import ServerExtensionFactory
from .handshake import Response, check_upgrade, wants_upgrade
from .intake import Intake
from .keepalive import Keepalive
from .link import Corks
from .listeners import close_listeners, is_loopback_only
from .logs import log_exception
from .loop import Loop, Timer
from .opening import Opening
from .origins import LOOPBACK_HOSTS, check_host, check_origin
from .pool import Pool
from .protocol import Protocol
from .quota import Quota
from .request import Request
from .session import Session
from .settings import Settings
from .transport import Transport, show_address

__all__ = ["SHUTDOWN_TIMEOUT", "Serving", "StopRequest"]

SHUTDOWN_TIMEOUT: Final = 5.0
"""Time for an orderly end, in seconds; container engines kill after 10."""

QUIET_TICKS: Final = 25
"""Ticks that find nobody who holds back, after which there are no more."""

LAST_WORDS: Final = 1.0
"""Time from a Close frame sent in place of a slow callback to the cut, in seconds."""

TOLERANCE: Final = 0.25
"""Time after the deadline of a stop in which the threads that were cut off end, in
seconds; a machine that is busy with other things may need a part of it."""

TICK: Final = 0.004
"""How often the main thread looks for messages that a callback sent and that still
wait for its end, in seconds; it does so only under load."""

LINGER: Final = 0.25
"""Time from the last word of a conversation to the cut, when the server stops, in
seconds: who has no more to say needn't end its side."""

LONG: Final = 0.5
"""What a callback takes if it takes long, in seconds; the main thread reads then what
its client sends."""

LEAST_PROGRESS: Final = 65536
"""What a peer must take of a page within ``close_timeout``, in bytes."""

Answer = Callable[[Request], Response | None]
"""Answers a plain HTTP request, or leaves it to the next one."""


@dataclass(frozen=True)
class StopRequest:
    """How a server ends."""

    deadline: float | None
    """Point of the monotonic clock at which connections are cut; :obj:`None`
    leaves that to ``close_timeout``."""
    code: int = CloseCode.GOING_AWAY
    """Close code for the clients."""
    reason: str = ""
    """Close reason for the clients."""


class Serving:
    """The main thread of a server.

    Methods belong to the thread that calls :meth:`serve`, unless they say that any
    thread may call them.

    Args:
        facade: The server, as callbacks see it.
        settings: Its options.
        callbacks: Its callbacks.
        clients: Its table of clients.
        logger: Where events of the server go.
        access_logger: Where the line for each connection goes.
        extensions: What it agrees to.
        quick_answer: Answers plain HTTP requests on the main thread.
        slow_answer: Answers those for which that had none, on a thread of the
            pool; :obj:`None` if there is nothing to ask.
        hand_over: Gets one session at a time instead of a thread, until one of them
            is opened; then nobody else is let in. :obj:`None` starts a thread for
            each.

    """

    def __init__(
        self,
        *,
        facade: Any,
        settings: Settings,
        callbacks: Callbacks,
        clients: ClientTable,
        logger: logging.Logger,
        access_logger: logging.Logger,
        extensions: tuple[ServerExtensionFactory, ...],
        quick_answer: Answer,
        slow_answer: Answer | None,
        hand_over: Callable[[Session], None] | None = None,
    ) -> None:
        self.facade = facade
        self.settings = settings
        self.callbacks = callbacks
        self.access_logger = access_logger
        self.extensions = extensions
        self._clients = clients
        self.logger = logger
        self._quick_answer = quick_answer
        self._slow_answer = slow_answer
        self._hand_over = hand_over
        self._loop = Loop(logger)
        self._pool = Pool(logger)
        # For callbacks about clients that have no thread, or of what the main thread
        # does; of its own, so that slow ones don't delay pages.
        self._notices = Pool(logger, max_threads=1)
        self._lost_notices = 0
        self._is_looking = False
        self._intake = Intake(self._loop, settings, logger, self._arrive, self._reject)
        self._keepalive = Keepalive(
            self._loop, logger, settings.ping_interval, settings.ping_timeout
        )
        self._corks = None if Corks is None else Corks(self._start_ticking)
        # Connections that hold something back without the accelerator: as a set that
        # any thread may add to. Whether ticks go on; how many have found none.
        self._held: dict[Connection, None] = {}
        self._is_ticking = False
        self._quiet_ticks = 0
        callbacks.changed = None if self._corks is None else self._corks.renew
        self._listeners: list[socket.socket] = []
        self._has_listened = False
        self._hosts = settings.hosts
        # Who calls, and waits for the end; whose loop it is may be another thread.
        self._owner = threading.get_ident()
        self._ident: int | None = None
        # Everything that has left the intake and isn't released; what of it is
        # counted against the limits; deadlines of closing handshakes.
        self._connections: dict[Connection, Client] = {}
        self._websockets = Quota(
            "clients", settings.max_connections, settings.max_connections_per_ip
        )
        self._pages = Quota(
            "pages to send",
            settings.max_http_connections,
            settings.max_http_connections_per_ip,
        )
        self._ends: dict[Connection, Timer] = {}
        self._retired: set[Connection] = set()
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._first: Connection | None = None
        self.has_served = False
        """Whether somebody who was handed over was let in."""
        # Set once by any thread, read by the loop.
        self._stop_request: StopRequest | None = None
        self.finished = threading.Event()
        """Set when everything is over."""

    # Any thread.

    @property
    def wakeup_fd(self) -> int:
        """Descriptor that wakes the loop when it's written to."""
        return self._loop.wakeup_fd

    def stop(self, request: StopRequest) -> None:
        """End the run, by the earliest deadline; signal handlers call it, too."""
        former = self._stop_request
        if former is None:
            self._stop_request = request
        elif request.deadline is not None and (
            former.deadline is None or request.deadline < former.deadline
        ):
            self._stop_request = replace(former, deadline=request.deadline)
        self._loop.wake()

    def stop_listening(self) -> None:
        """Let nobody new in."""
        self._loop.call_soon(self._stop_listening)

    def is_own_thread(self) -> bool:
        """Whether the calling thread must not wait for the end of the run."""
        thread = threading.current_thread()
        return (
            thread.ident in (self._ident, self._owner)
            or (isinstance(thread, ClientThread) and thread.serving is self)
            or self._pool.is_own_thread()
            or self._notices.is_own_thread()
        )

    def flush_later(self, connection: Connection) -> None:
        """Flush the outbox of ``connection`` whenever its socket can be written."""
        self._loop.call_soon(functools.partial(self._watch_outbox, connection))

    def write_later(self, connection: Connection) -> None:
        """Write what ``connection`` holds back, with the next tick."""
        self._held[connection] = None
        self._start_ticking()

    def expect_end(self, connection: Connection) -> None:
        """End ``connection`` after ``close_timeout``, if it hasn't ended by then."""
        if self.settings.close_timeout is not None:
            self._loop.call_soon(functools.partial(self._expect_end, connection))

    def retire(self, connection: Connection) -> None:
        """Finish the closing handshake of ``connection``, and close its descriptor."""
        self._loop.call_soon(functools.partial(self._retire, connection))
        if self.finished.is_set():
            # It comes from a callback that outlived its server, and its loop.
            connection.release()

    def client_opened(self, client: Client, connection: Connection) -> None:
        """Put a client whose opening handshake is done into the table."""
        self._clients.add(client)
        if self._hand_over is not None:
            self.has_served = True
            self.stop_listening()
        self._loop.call_soon(functools.partial(self._watch_over, connection))

    def ping_sent(self, connection: Connection, payload: bytes) -> None:
        """Call ``on_ping_send``; not on the main thread, which must not wait."""
        if self.callbacks.functions("on_ping_send"):
            notify = functools.partial(
                self._notify, "on_ping_send", connection, payload
            )
            if threading.get_ident() == self._ident:
                self._notify_later(notify)
            else:
                notify()

    def pong_received(self, connection: Connection, payload: bytes) -> None:
        """Call ``on_pong_receive`` in the client's thread."""
        self._notify("on_pong_receive", connection, payload)

    def _notify(self, event: str, connection: Connection, payload: bytes) -> None:
        client = self._connections.get(connection)
        if (
            client is not None
            and self.callbacks.run(event, client, client, payload) is Outcome.FAILED
            and self.settings.callback_errors == "close"
        ):
            connection.close(CloseCode.INTERNAL_ERROR)

    def let_next_in(self) -> None:
        """Hand over another session: that of the last one was refused."""
        self._loop.call_soon(self._let_next_in)

    def client_closed(self, client: Client) -> None:
        """Take a client whose callbacks are over out of the table."""
        self._clients.discard(client)

    # The run.

    def listen(self, listeners: Sequence[socket.socket]) -> None:
        """Own ``listeners``, and accept from them once :meth:`serve` runs."""
        self._listeners = list(listeners)
        if self._hosts is None and is_loopback_only(self._listeners):
            self._hosts = LOOPBACK_HOSTS
        self._intake.listen(self._listeners)
        self._has_listened = True
        for listener in self._listeners:
            self.logger.info("listening on %s", show_socket(listener))

    def serve(self) -> None:
        """Run until :meth:`stop`."""
        self._ident = threading.get_ident()
        while self._stop_request is None:
            self._loop.run_once()

    def finish(self) -> None:
        """End everything: listeners, clients, threads, descriptors."""
        request = self._stop_request or StopRequest(monotonic())
        self._stop_request = request
        self._ident = threading.get_ident()
        self._stop_listening()
        for connection in list(self._connections):
            connection.close(request.code, request.reason)
            self._release_if_over(connection)
        began = monotonic()
        self._run_until(
            lambda deadline: deadline - min(LAST_WORDS, (deadline - began) / 2)
        )
        for connection in list(self._connections):
            # In place of callbacks that haven't returned; others spoke for themselves.
            if connection.protocol.can_send():
                connection.enforce_end()
        self._run_until(lambda deadline: deadline)
        self._cut_all()
        # Whoever waited for a peer finds the connection cut now, and ends. What is
        # still there afterwards is a callback that doesn't return: its thread is a
        # daemon. Pages and calls of on_error that wait have the same time.
        grace = max(monotonic(), self._stop_request.deadline or 0.0) + TOLERANCE
        self._run_until(lambda _: grace)
        if self._connections:
            self.logger.warning(
                "%d connections whose callbacks haven't returned",
                len(self._connections),
            )
        for client in self._connections.values():
            self._clients.discard(client)
        self._pool.close(grace)
        self._notices.close(grace)
        if not self._connections:
            for thread in list(self._threads):
                thread.join(max(0.0, grace - monotonic()))
        self.finished.set()
        # Whoever retired before that relied on the loop.
        self._loop.run_calls()
        for connection in list(self._retired):
            self._release(connection)
        self._loop.close()
        if self._has_listened:
            self.logger.info("stopped")

    def _run_until(self, moment: Callable[[float], float]) -> None:
        """Turn the loop while there are connections, until ``moment(deadline)``.

        The deadline may change meanwhile; without one, that is until they are gone.
        """
        while self._connections:
            assert self._stop_request is not None
            deadline = self._stop_request.deadline
            if deadline is None:
                self._loop.run_once()
                continue
            if monotonic() >= moment(deadline):
                break
            timer = self._loop.call_at(moment(deadline), _nothing)
            self._loop.run_once()
            timer.cancel()

    def _cut_all(self) -> None:
        for connection in list(self._connections):
            # The first call may still send a Close frame, the second one cuts.
            if connection.enforce_end() or connection.enforce_end():
                self._release_if_retired(connection)

    # What callbacks hold back while they run.

    def _start_ticking(self) -> None:
        if not self._is_ticking:
            self._is_ticking = True
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        # First, whatever fails below: who holds back relies on it.
        timer = self._loop.call_at(monotonic() + TICK, self._tick)
        stale = None if self._corks is None else self._corks.tick()
        held = list(self._held)
        for connection in held:
            del self._held[connection]
            if connection.holds_back:
                connection.write_due()
        for connection in stale or ():
            connection.write_due()
        self._quiet_ticks = 0 if held else self._quiet_ticks + 1
        if stale is None and self._quiet_ticks >= QUIET_TICKS:
            timer.cancel()
            self._is_ticking = False
            # Whoever came in between found it ticking.
            if self._held or (self._corks is not None and self._corks.corking):
                self._start_ticking()

    def _stop_listening(self) -> None:
        if self._listeners:
            self._intake.stop()
            close_listeners(self._listeners, self.settings.unix)
            self._listeners = []

    # Who is let in.

    def _new_opening(
        self,
        transport: Transport,
        protocol: Protocol,
        request: Request | None,
        accepted_at: float,
    ) -> Opening:
        connection = Connection(
            transport,
            protocol,
            self,
            write_limit=self.settings.write_limit,
            send_timeout=self.settings.send_timeout,
            logger=self.logger,
            max_size=self.settings.max_size,
            corks=self._corks,
        )
        opening = Opening(self, connection, request, accepted_at)
        self._connections[connection] = opening.client
        return opening

    def _reject(
        self,
        transport: Transport,
        protocol: Protocol,
        error: HandshakeError,
        accepted_at: float,
    ) -> None:
        opening = self._new_opening(transport, protocol, None, accepted_at)
        self._refuse(opening, error)

    def _refuse(self, opening: Opening, error: HandshakeError) -> None:
        """Answer with an error from the main thread; ``on_error`` runs elsewhere."""
        opening.send_refusal(error)
        if self.callbacks.functions("on_error"):
            self._notify_later(
                functools.partial(self.callbacks.notify, error, opening.client)
            )

    def _notify_later(self, job: Callable[[], None]) -> None:
        """Call back on another thread; who is too slow for that is told so."""
        if not self._notices.submit(job):
            if not self._lost_notices:
                self.logger.warning(
                    "on_error or on_ping_send is too slow: calls of it are left out"
                )
            self._lost_notices += 1
        elif self._lost_notices:
            self.logger.warning("calls that were left out: %d", self._lost_notices)
            self._lost_notices = 0

    def _arrive(
        self,
        transport: Transport,
        protocol: Protocol,
        request: Request,
        accepted_at: float,
    ) -> None:
        opening = self._new_opening(transport, protocol, request, accepted_at)
        try:
            plain = not wants_upgrade(request)
            if plain and (response := self._quick_answer(request)) is not None:
                # Short, and not to be refused, whichever name the prober knows.
                opening.send_response(response)
                return
            check_host(request, self._hosts)
            if plain:
                self._answer_plain(opening, request)
                return
            check_upgrade(request)
            check_origin(request, self.settings.origins)
            self._websockets.check(opening.client.host)
            self._start(opening)
        except HandshakeError as error:
            self._refuse(opening, error)
        except Exception:
            self._release(opening.connection)
            raise

    def _start(self, opening: Opening) -> None:
        """Give a WebSocket its thread."""
        session = Session(self, opening)
        if self._hand_over is not None:
            if self._first is not None:
                raise TooManyConnections("this server takes one client only")
            self._first = opening.connection
            self._websockets.add(opening.connection, opening.client.host)
            self._intake.hold()
            self._hand_over(session)
            return
        thread = ClientThread(self, session, opening.client.name)
        try:
            thread.start()
        except RuntimeError:
            self.logger.error("no thread to be had for %s", opening.client)
            raise TooManyConnections("this server has no thread to spare") from None
        self._threads.add(thread)
        self._websockets.add(opening.connection, opening.client.host)

    def _let_next_in(self) -> None:
        self._first = None
        self._intake.go_on()

    # Plain HTTP.

    def _answer_plain(self, opening: Opening, request: Request) -> None:
        if self.settings.process_request is None and self._slow_answer is None:
            raise UpgradeRequired("this server speaks WebSocket only")
        host = opening.client.host
        self._pages.check(host)
        if not self._pool.submit(functools.partial(self._answer_slowly, opening)):
            raise TooManyConnections("this server is busy")
        self._pages.add(opening.connection, host)

    def _answer_slowly(self, opening: Opening) -> None:
        try:
            self._find_answer(opening)
        except BaseException as error:
            # Whatever a subclass raises: nobody is left hanging.
            log_exception(self.logger, error, "internal error")
            opening.connection.abort()
            self.retire(opening.connection)

    def _find_answer(self, opening: Opening) -> None:
        try:
            response = opening.answer_request()
            if response is None and self._slow_answer is not None:
                response = self._slow_answer(opening.client.request)
            if response is None:
                raise UpgradeRequired("this server speaks WebSocket only here")
        except HandshakeError as error:
            opening.refuse(error)
        except Exception as error:
            log_exception(self.logger, error, "internal error")
            opening.send_response(opening.client.respond(500, "internal error\n"))
        else:
            opening.send_response(response)

    # What the main thread does for connections.

    def _watch_over(self, connection: Connection) -> None:
        self._keepalive.start(connection)
        if not self._is_looking:
            self._is_looking = True
            self._look_later()

    def _look_later(self) -> None:
        self._loop.call_at(monotonic() + LONG, self._look)

    def _look(self) -> None:
        """Read what comes of clients whose callbacks take long."""
        self._is_looking = bool(self._clients)
        if self._is_looking:
            self._look_later()
        self._clients.read_ahead(monotonic() - LONG)

    def _watch_outbox(self, connection: Connection) -> None:
        if connection in self._connections:
            self._loop.register_write(
                connection.fileno(), functools.partial(self._flush, connection)
            )

    def _flush(self, connection: Connection) -> None:
        if connection.flush():
            self._loop.unregister_write(connection.fileno())
            self._release_if_over(connection)

    def _expect_end(self, connection: Connection) -> None:
        assert self.settings.close_timeout is not None
        if connection in self._connections:
            self._keepalive.stop(connection)
            self._set_end(connection, self.settings.close_timeout)

    def _set_end(self, connection: Connection, seconds: float) -> None:
        """End ``connection`` after ``seconds``, unless that is to happen earlier."""
        deadline = monotonic() + seconds
        timer = self._ends.get(connection)
        if timer is not None:
            if timer.deadline <= deadline:
                return
            timer.cancel()
        self._ends[connection] = self._loop.call_at(
            deadline, functools.partial(self._enforce_end, connection)
        )

    def _enforce_end(self, connection: Connection) -> None:
        del self._ends[connection]
        if (
            not connection.protocol.was_accepted
            and not connection.has_parted()
            and connection.take_flushed() >= LEAST_PROGRESS
        ):
            # A download may take its time, as long as it goes on.
            assert self.settings.close_timeout is not None
            self._set_end(connection, self.settings.close_timeout)
        elif connection.enforce_end():
            self._release_if_retired(connection)
        else:
            self._set_end(connection, LAST_WORDS)

    def _retire(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._keepalive.stop(connection)
        self._retired.add(connection)
        connection.finish()
        self._loop.register_edge(
            connection.fileno(), functools.partial(self._drain, connection)
        )
        self._drain(connection)

    def _drain(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        if connection.drain():
            self._loop.call_soon(functools.partial(self._drain, connection))
        self._release_if_over(connection)

    def _release_if_over(self, connection: Connection) -> None:
        if connection not in self._retired:
            return
        if connection.is_over():
            self._release(connection)
        elif self._stop_request is not None and connection.has_parted():
            self._set_end(connection, LINGER)

    def _release_if_retired(self, connection: Connection) -> None:
        if connection in self._retired:
            self._release(connection)

    def _release(self, connection: Connection) -> None:
        """Close the descriptor, which belongs to this thread again."""
        self._connections.pop(connection, None)
        self._retired.discard(connection)
        self._keepalive.stop(connection)
        timer = self._ends.pop(connection, None)
        if timer is not None:
            timer.cancel()
        self._loop.unregister(connection.fileno())
        self._websockets.discard(connection)
        self._pages.discard(connection)
        connection.release()


class ClientThread(threading.Thread):
    """The thread of one client."""

    def __init__(self, serving: Serving, session: Session, name: str) -> None:
        super().__init__(target=session.run, name=name, daemon=True)
        self.serving = serving
        """The run of the server that started it."""


def _nothing() -> None:
    """Wake the loop at a deadline; it does the rest."""


def show_socket(listener: socket.socket) -> str:
    """Address of a listening socket as people write it."""
    return show_address(listener.getsockname())
