"""picows on uvloop, with the listener that its README shows.

It hands over bytes, and checks no UTF-8; nor does it do permessage-deflate.
"""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from benchmarks.peers.command_line import BACKLOG, WAIT, parse, ready, rewrite

everybody: set[WSTransport] = set()
tasks: set[asyncio.Task[None]] = set()


class Echo(WSListener):
    """Answers each message with itself."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Handle a frame; pings are answered for us."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            self.on_message(transport, frame)

    def on_message(self, transport: WSTransport, frame: WSFrame) -> None:
        """Handle a message; none of the clients sends fragments."""
        transport.send(frame.msg_type, frame.get_payload_as_memoryview())


class Answer(Echo):
    """Parses and writes JSON."""

    def on_message(self, transport: WSTransport, frame: WSFrame) -> None:
        """Parse, write, send."""
        text = rewrite(frame.get_payload_as_bytes())
        transport.send(frame.msg_type, text.encode())


class Wait(Echo):
    """Waits in a thread before it answers."""

    def on_message(self, transport: WSTransport, frame: WSFrame) -> None:
        """Have a task wait; the frame is gone when this returns."""
        payload = frame.get_payload_as_bytes()
        task = asyncio.create_task(self.later(transport, frame.msg_type, payload))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def later(
        self, transport: WSTransport, message_type: WSMsgType, payload: bytes
    ) -> None:
        """Wait, then answer."""
        await asyncio.to_thread(time.sleep, WAIT)
        transport.send(message_type, payload)


class Spread(Echo):
    """Sends each message to everybody."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Remember who is there."""
        everybody.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Forget who has gone."""
        everybody.discard(transport)

    def on_message(self, transport: WSTransport, frame: WSFrame) -> None:
        """Send to one after the other."""
        payload = frame.get_payload_as_bytes()
        for receiver in everybody:
            receiver.send(frame.msg_type, payload)


async def main() -> None:
    """Serve until killed."""
    options = parse()
    works = {"echo": Echo, "json": Answer, "wait": Wait, "broadcast": Spread}
    work = works[options.work]
    server = await ws_create_server(
        lambda request: work(), "127.0.0.1", options.port, backlog=BACKLOG
    )
    (listener,) = server.sockets
    notes = [f"uvloop {version('uvloop')}"]
    ready(listener.getsockname()[1], "picows", version("picows"), notes)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
