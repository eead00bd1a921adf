"""The asyncio server of the ``websockets`` package, on uvloop."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.peers.command_line import BACKLOG, WAIT, parse, ready, rewrite


async def main() -> None:
    """Serve until killed."""
    options = parse()

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def answer(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(rewrite(message))

    async def wait(connection: ServerConnection) -> None:
        async for message in connection:
            await asyncio.to_thread(time.sleep, WAIT)
            await connection.send(message)

    async def spread(connection: ServerConnection) -> None:
        async for message in connection:
            broadcast(server.connections, message)

    works = {"echo": echo, "json": answer, "wait": wait, "broadcast": spread}
    server = await serve(
        works[options.work],
        "127.0.0.1",
        options.port,
        compression="deflate" if options.compression == "deflate" else None,
        backlog=BACKLOG,
    )
    (listener,) = server.sockets
    notes = [f"uvloop {version('uvloop')}"]
    port = listener.getsockname()[1]
    ready(port, "websockets asyncio", version("websockets"), notes)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
