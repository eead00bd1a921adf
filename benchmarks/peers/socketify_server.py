"""socketify (uWebSockets in C++), with the behavior that its documentation shows."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version
from typing import Any

from socketify import App, CompressOptions, OpCode

from benchmarks.peers.command_line import WAIT, parse, ready, rewrite

LARGE = 64 * 1024 * 1024
"""Limit of a message and of what waits to be sent, in bytes: more than is needed."""

TOPIC = "everybody"


def main() -> None:
    """Serve until killed."""
    options = parse()
    deflate = options.compression == "deflate"
    app = App()

    def opened(ws: Any) -> None:
        ws.subscribe(TOPIC)

    def echo(ws: Any, message: str | bytes, opcode: OpCode) -> None:
        ws.send(message, opcode, deflate)

    def answer(ws: Any, message: str | bytes, opcode: OpCode) -> None:
        ws.send(rewrite(message), opcode, deflate)

    async def wait(ws: Any, message: str | bytes, opcode: OpCode) -> None:
        await asyncio.to_thread(time.sleep, WAIT)
        ws.send(message, opcode, deflate)

    def spread(ws: Any, message: str | bytes, opcode: OpCode) -> None:
        ws.publish(TOPIC, message, opcode, deflate)

    works = {"echo": echo, "json": answer, "wait": wait, "broadcast": spread}
    app.ws(
        "/*",
        {
            "compression": CompressOptions.SHARED_COMPRESSOR
            if deflate
            else CompressOptions.DISABLED,
            "max_payload_length": LARGE,
            "max_backpressure": LARGE,
            "open": opened if options.work == "broadcast" else None,
            "message": works[options.work],
        },
    )
    app.listen(
        {"host": "127.0.0.1", "port": options.port},
        lambda config: ready(config.port, "socketify", version("socketify")),
    )
    app.run()


if __name__ == "__main__":
    main()
