"""A chat with its page, on one port: ``python server.py``, then open the address."""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path

from room import Room

from websock import WebSocketServer

PAGE = Path(__file__).parent / "page"


def make_server(host: str, port: int) -> WebSocketServer:
    """Server of the page and of the room behind it."""
    server = WebSocketServer(
        host,
        port,
        http=PAGE,
        # Room for the longest text in any spelling that JSON has for it.
        max_size=64 * 1024,
    )
    room = Room(lambda text, members: server.broadcast(text, to=members))
    server.on_data_receive = room.hear
    server.on_connection_close = room.leave
    return server


def announce(server: WebSocketServer) -> None:
    """Print the address as soon as there is one."""
    server.wait_ready(timeout=60)
    host, port = server.address[:2]
    host = f"[{host}]" if ":" in host else host
    print(f"Chat on http://{host}:{port}/", flush=True)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("PORT", "8467"))
    options = parser.parse_args()
    server = make_server(options.host, options.port)
    threading.Thread(target=announce, args=[server], daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("Goodbye!")
    except OSError as error:
        raise SystemExit(
            f"Can't listen on {options.host}:{options.port}: {error.strerror}; "
            "try another port: make chat PORT=8468"
        ) from None


if __name__ == "__main__":
    main()
