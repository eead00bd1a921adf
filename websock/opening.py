"""Opening: the answer to a request, be it the 101, a refusal, or a page.

Who answers is the client's thread for a WebSocket, and the main thread or one of
its pool for plain HTTP.

Layer: shells. May import: the core, logs, settings, callbacks,
keeper, connection, receiving, clients.
"""

from __future__ import annotations

import logging
from email.utils import formatdate
from time import monotonic
from typing import Any, Protocol

from .callbacks import Callbacks
from .clients import Client
from .connection import Connection
from .exceptions import ConnectionClosed, HandshakeError
from .extensions.base import ServerExtensionFactory
from .handshake import (
    Response,
    negotiate_subprotocol,
    offered_subprotocols,
    refuse,
)
from .headers import Headers
from .keeper import Keeper
from .logs import escape
from .receiving import Receiver
from .request import Request
from .settings import Settings

__all__ = ["Host", "Opening"]


class Host(Keeper, Protocol):
    """What the connections of a server need of it."""

    @property
    def facade(self) -> Any:
        """The server, as callbacks see it."""
        ...

    @property
    def settings(self) -> Settings:
        """Options of the server."""
        ...

    @property
    def callbacks(self) -> Callbacks:
        """Callbacks of the server."""
        ...

    @property
    def logger(self) -> logging.Logger:
        """Where events of the server go, and its frames at level DEBUG."""
        ...

    @property
    def access_logger(self) -> logging.Logger:
        """Where the line for each connection goes."""
        ...

    @property
    def extensions(self) -> tuple[ServerExtensionFactory, ...]:
        """What the server agrees to."""
        ...

    def client_opened(self, client: Client, connection: Connection, /) -> None:
        """Put an accepted client into the table, and watch over its connection."""
        ...

    def client_closed(self, client: Client, /) -> None:
        """Take a client, whose callbacks are over, out of the table."""
        ...


class Opening:
    """One request, and its answer.

    Args:
        host: The server.
        connection: Where the request came from.
        request: The request; :obj:`None` if it couldn't be read.
        accepted_at: When the connection was accepted, on the monotonic clock.

    """

    __slots__ = ("_accepted_at", "_host", "client", "connection", "receiver")

    def __init__(
        self,
        host: Host,
        connection: Connection,
        request: Request | None,
        accepted_at: float,
    ) -> None:
        self._host = host
        self._accepted_at = accepted_at
        self.connection = connection
        """Where the request came from."""
        self.receiver = Receiver(connection)
        """What comes after it, if it's accepted."""
        self.client = Client(
            connection, self.receiver, host.facade, request or Request("", "")
        )
        """What hooks and callbacks get; it has the request."""

    def perform(self) -> bool:
        """Accept or refuse a request for a WebSocket; return whether it's open."""
        try:
            return self._answer()
        except ConnectionClosed:
            self._host.retire(self.connection)
        except Exception as error:
            # The application may have put into the 101 what can't be sent.
            self.send_response(self._blame(error, "process_request"))
        return False

    def _answer(self) -> bool:
        try:
            response = self.answer_request() or self._accept()
            if response is None:
                return True
        except HandshakeError as error:
            self.refuse(error)
        else:
            self.send_response(response)
        return False

    def answer_request(self) -> Response | None:
        """Ask ``process_request``; :obj:`None` means that it has no answer.

        Raises:
            HandshakeError: If it raised one; that is an answer, too.

        """
        function = self._host.settings.process_request
        if function is None:
            return None
        try:
            response = function(self.client, self.client.request)
            if response is not None and not isinstance(response, Response):
                raise TypeError(
                    "process_request must return a Response or None,"
                    f" not {type(response).__name__}"
                )
            if response is not None and int(response.status) < 200:
                raise ValueError("process_request must return a final response")
            return response
        except HandshakeError:
            raise
        except BaseException as error:
            return self._blame(error, "process_request")

    def _blame(self, error: BaseException, hook: str) -> Response:
        """Tell of what a hook raised, and answer in its place."""
        self._host.callbacks.report(error, self.client, hook)
        return self.client.respond(500, "internal error\n")

    def _accept(self) -> Response | None:
        client = self.client
        try:
            subprotocol = self._choose_subprotocol(client.request)
        except HandshakeError:
            raise
        except BaseException as error:
            return self._blame(error, "select_subprotocol")
        self.connection.accept(
            client.request,
            subprotocol=subprotocol,
            extensions=self._host.extensions,
            headers=client.response_headers,
        )
        client.subprotocol = subprotocol
        # Before the 101 arrives: who has it gets what is broadcast from now on.
        self._host.client_opened(client, self.connection)
        self.connection.write_due()
        return None

    def _choose_subprotocol(self, request: Request) -> str | None:
        settings = self._host.settings
        # Also if nobody wants to know: they may be no tokens (4.2.1).
        offered = offered_subprotocols(request)
        if settings.select_subprotocol is None:
            return negotiate_subprotocol(request, settings.subprotocols or ())
        chosen = settings.select_subprotocol(self.client, offered)
        if chosen is not None and chosen not in offered:
            raise ValueError("select_subprotocol chose what the client didn't offer")
        return chosen

    def refuse(self, error: HandshakeError) -> None:
        """Answer the request with an error, tell ``on_error``, and end."""
        self._host.callbacks.notify(error, self.client)
        self.send_refusal(error)

    def send_refusal(self, error: HandshakeError) -> None:
        """Answer the request with an error, and end; never waits."""
        self._answer_with(error, int(error.status), str(error))

    def send_response(self, response: Response) -> None:
        """Answer the request with a response of plain HTTP, and end; never waits."""
        self._answer_with(response, response.status, "")

    def _answer_with(
        self, answer: HandshakeError | Response, status: int, text: str
    ) -> None:
        try:
            self._send_response(answer)
        except Exception as error:
            # It may have header fields or a body that can't be sent.
            status, text = 500, ""
            self._send_response(self._blame(error, "process_request"))
        self.log_access(status, text)

    def _send_response(self, answer: HandshakeError | Response) -> None:
        response = refuse(answer) if isinstance(answer, HandshakeError) else answer
        # RFC 9110 (6.6.1) wants it of whoever has a clock.
        headers = Headers(response.headers)
        headers.setdefault("Date", formatdate(usegmt=True))
        self.connection.reject(
            Response(response.status, headers, response.body, source=response.source),
            head=self.client.request.method == "HEAD",
        )

    def log_access(self, status: int, text: str) -> None:
        """Write the one line that a connection gets."""
        logger = self._host.access_logger
        if not logger.isEnabledFor(logging.INFO):
            return
        request = self.client.request
        what = f"{request.method} {request.path}" if request.method else "-"
        logger.info(
            "%s %s %d %.3f s %s",
            self.client,
            escape(what),
            status,
            monotonic() - self._accepted_at,
            escape(text),
        )
