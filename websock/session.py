"""Session: the thread of one client, from the opening handshake to the goodbye.

Layer: shells. May import: the core, callbacks, opening.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .callbacks import Outcome
from .closing import Close, CloseCode
from .exceptions import RemoteProtocolError
from .lifecycle import State
from .opening import Host, Opening

__all__ = ["Session"]


class Session:
    """One WebSocket: runs the callbacks of its client, one after the other.

    Args:
        host: The server.
        opening: The request for it.

    """

    __slots__ = ("_client", "_connection", "_host", "_opening", "_receiver")

    def __init__(self, host: Host, opening: Opening) -> None:
        self._host = host
        self._opening = opening
        self._client = opening.client
        self._connection = opening.connection
        self._receiver = opening.receiver

    def run(self) -> None:
        """Be the client's thread: handshake, callbacks, end."""
        if not self._opening.perform():
            return
        client = self._client
        try:
            self._receiver.start()
            callbacks = self._host.callbacks
            if self._guard(callbacks.run("on_connection_open", client, client)):
                self._read_all()
        finally:
            self._end()

    def _read_all(self) -> None:
        client = self._client
        while True:
            try:
                self._receiver.run(self._deliver, self._choose, client)
                return
            except BaseException as error:
                # Of a callback that was called the short way.
                handle = self._host.callbacks.handle
                if not self._guard(handle(error, client, "on_data_receive")):
                    return

    def _choose(self) -> Callable[[Any, Any], object] | None:
        """Return what to call with each message, if there is no more to do."""
        if self._connection.inbox.is_wanted or self._connection.logs_frames():
            return None
        functions = self._host.callbacks.functions("on_data_receive")
        return functions[0] if len(functions) == 1 else None

    def _deliver(self, message: str | bytes) -> bool:
        """Give a message to who wants it; return whether to go on."""
        callbacks = self._host.callbacks
        inbox = self._connection.inbox
        if inbox.is_wanted and inbox.put(
            message, keep=not callbacks.functions("on_data_receive")
        ):
            return True
        client = self._client
        return self._guard(callbacks.run("on_data_receive", client, client, message))

    def _guard(self, outcome: Outcome) -> bool:
        """Go on, or end because of what a callback raised."""
        if outcome is Outcome.LOST_PEER:
            if self._connection.state is not State.CLOSED:
                # Somebody else's, or the end is near anyway.
                return True
            # It would raise for each message that has still arrived. Among those
            # may be the Close frame that tells why the peer left.
            self._receiver.run(lambda message: True)
            return False
        if (
            outcome is Outcome.FAILED
            and self._host.settings.callback_errors != "continue"
        ):
            self._connection.close(CloseCode.INTERNAL_ERROR)
            return False
        return True

    def _end(self) -> None:
        host = self._host
        client = self._client
        connection = self._connection
        last = self._receiver.last
        # From now on, the closing handshake must end in time, callback or not.
        host.expect_end(connection)
        fault = ""
        if isinstance(last, RemoteProtocolError):
            fault = f" ({last})"
            connection.fail(last)
            host.callbacks.notify(last, client)
        ended = last if isinstance(last, Close) else connection.close_wanted
        if ended is None:
            ended = Close(CloseCode.ABNORMAL_CLOSURE)
        client.close_code = int(ended.code)
        client.close_reason = ended.reason
        connection.inbox.close()
        try:
            host.callbacks.run(
                "on_connection_close",
                client,
                client,
                client.close_code,
                client.close_reason,
            )
        finally:
            host.client_closed(client)
            self._opening.log_access(101, f"closed with {client.close_code}{fault}")
            connection.say_goodbye()
