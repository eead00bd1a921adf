"""The threaded server of the ``websockets`` package, as its documentation has it."""

from __future__ import annotations

import time
from importlib.metadata import version

from websockets.sync.server import ServerConnection, broadcast, serve

from benchmarks.peers.command_line import BACKLOG, WAIT, parse, ready, rewrite


def main() -> None:
    """Serve until killed."""
    options = parse()

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    def answer(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(rewrite(message))

    def wait(connection: ServerConnection) -> None:
        for message in connection:
            time.sleep(WAIT)
            connection.send(message)

    def spread(connection: ServerConnection) -> None:
        for message in connection:
            broadcast(server.connections, message)

    works = {"echo": echo, "json": answer, "wait": wait, "broadcast": spread}
    server = serve(
        works[options.work],
        "127.0.0.1",
        options.port,
        compression="deflate" if options.compression == "deflate" else None,
        backlog=BACKLOG,
    )
    port = server.socket.getsockname()[1]
    ready(port, "websockets sync", version("websockets"))
    server.serve_forever()


if __name__ == "__main__":
    main()
