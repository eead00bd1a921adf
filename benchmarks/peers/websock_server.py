"""Our server, as its README has it."""

from __future__ import annotations

import sys
import threading
import time
from importlib.metadata import PackageNotFoundError, version

from benchmarks.peers.command_line import BACKLOG, WAIT, parse, ready, rewrite
from websock import Client, WebSocketServer


def installed_version() -> str:
    """Return the version of the package, or what it is instead."""
    try:
        return version("websock")
    except PackageNotFoundError:
        return "tree"


def main() -> None:
    """Serve until killed."""
    options = parse()

    def echo(client: Client, data: str | bytes) -> None:
        client.send(data)

    def answer(client: Client, data: str | bytes) -> None:
        client.send(rewrite(data))

    def wait(client: Client, data: str | bytes) -> None:
        time.sleep(WAIT)
        client.send(data)

    def spread(client: Client, data: str | bytes) -> None:
        server.broadcast(data)

    works = {"echo": echo, "json": answer, "wait": wait, "broadcast": spread}
    server = WebSocketServer(
        "127.0.0.1",
        options.port,
        on_data_receive=works[options.work],
        compression="deflate" if options.compression == "deflate" else None,
        # All clients of a benchmark have one address.
        max_connections=20_000,
        max_connections_per_ip=20_000,
        backlog=BACKLOG,
    )

    def tell() -> None:
        server.wait_ready(10)
        notes = ["pure Python"]
        if "websock._link" in sys.modules:
            notes = ["with accelerator"]
        elif "websock._speedups" in sys.modules:
            notes = ["with C twin, without accelerator"]
        ready(server.address[1], "websock", installed_version(), notes)

    threading.Thread(target=tell, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
