"""aiohttp on uvloop, with the receive loop that its documentation shows."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version

import uvloop
from aiohttp import WSMessage, WSMsgType, web

from benchmarks.peers.command_line import BACKLOG, WAIT, parse, ready, rewrite


async def send(to: web.WebSocketResponse, message: WSMessage) -> None:
    """Send a message as what it came."""
    if message.type is WSMsgType.TEXT:
        await to.send_str(message.data)
    else:
        await to.send_bytes(message.data)


async def main() -> None:
    """Serve until killed."""
    options = parse()
    everybody: set[web.WebSocketResponse] = set()

    async def echo(client: web.WebSocketResponse) -> None:
        async for message in client:
            await send(client, message)

    async def answer(client: web.WebSocketResponse) -> None:
        async for message in client:
            await client.send_str(rewrite(message.data))

    async def wait(client: web.WebSocketResponse) -> None:
        async for message in client:
            await asyncio.to_thread(time.sleep, WAIT)
            await send(client, message)

    async def spread(client: web.WebSocketResponse) -> None:
        async for message in client:
            for receiver in tuple(everybody):
                await send(receiver, message)

    works = {"echo": echo, "json": answer, "wait": wait, "broadcast": spread}
    work = works[options.work]

    async def handle(request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse(compress=options.compression == "deflate")
        await client.prepare(request)
        everybody.add(client)
        try:
            await work(client)
        finally:
            everybody.discard(client)
        return client

    application = web.Application()
    application.add_routes([web.get("/", handle)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port, backlog=BACKLOG).start()
    notes = [f"uvloop {version('uvloop')}"]
    ready(runner.addresses[0][1], "aiohttp", version("aiohttp"), notes)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
