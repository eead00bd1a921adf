"""simple-websocket, a thread per client.

It takes the socket of a WSGI server's thread, as Werkzeug's and Gunicorn's have one
for each request. What they add (routing, WSGI, logs) is left out: here is the least
that such a server does before it calls the application.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version

from simple_websocket import ConnectionClosed, Server

from benchmarks.peers.command_line import BACKLOG, WAIT, parse, ready, rewrite

everybody: set[Server] = set()


def environ_of(client: socket.socket) -> dict[str, object]:
    """Read a request; return what WSGI makes of it."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        data = client.recv(4096)
        if not data:
            raise ConnectionError("the client left")
        request += data
    line, *fields = request.decode("latin-1").split("\r\n")[:-2]
    environ: dict[str, object] = {"werkzeug.socket": client}
    environ["REQUEST_METHOD"], environ["PATH_INFO"], _ = line.split()
    for field in fields:
        name, _, value = field.partition(":")
        environ["HTTP_" + name.upper().replace("-", "_")] = value.strip()
    return environ


def messages(client: Server) -> Iterator[str | bytes]:
    """Receive until the client leaves."""
    while True:
        try:
            yield client.receive()
        except ConnectionClosed:
            return


def echo(client: Server) -> None:
    """Answer each message with itself."""
    for message in messages(client):
        client.send(message)


def answer(client: Server) -> None:
    """Parse and write JSON."""
    for message in messages(client):
        client.send(rewrite(message))


def wait(client: Server) -> None:
    """Answer after a while."""
    for message in messages(client):
        time.sleep(WAIT)
        client.send(message)


def spread(client: Server) -> None:
    """Send each message to everybody."""
    for message in messages(client):
        for receiver in tuple(everybody):
            receiver.send(message)


def main() -> None:
    """Serve until killed."""
    options = parse()
    works = {"echo": echo, "json": answer, "wait": wait, "broadcast": spread}
    work = works[options.work]

    def serve(stream: socket.socket) -> None:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Server.accept(environ_of(stream))
        everybody.add(client)
        try:
            work(client)
        except ConnectionClosed:
            pass  # between two messages
        finally:
            everybody.discard(client)

    listener = socket.create_server(("127.0.0.1", options.port), backlog=BACKLOG)
    port = listener.getsockname()[1]
    ready(port, "simple-websocket", version("simple-websocket"))
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=serve, args=(stream,), daemon=True).start()


if __name__ == "__main__":
    main()
