"""Echo server for the Autobahn test suite.

Prints its address, serves until SIGTERM, and ends with status 0. Text comes back as
text, bytes as bytes.

Layer: test tool. May import: websock.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading

from websock import Client, WebSocketServer


def echo(client: Client, data: str | bytes) -> None:
    """Send the message back, with the opcode that it came with."""
    client.send(data)


def main() -> None:
    """Serve until a signal, or the end of standard input, says stop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001, help="0 takes a free one")
    parser.add_argument("--log-level", default="WARNING")
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="stop at the end of standard input, so when the parent process dies",
    )
    options = parser.parse_args()
    logging.basicConfig(level=options.log_level.upper())
    server = WebSocketServer(
        options.host,
        options.port,
        on_data_receive=echo,
        # Cases 9.1.6 and 9.2.6 send 16 MiB; 9.3.1 and 9.4.1 send 4 MiB in 65,537
        # fragments, of which the last is empty. The safe defaults refuse both.
        max_size=2**25,
        max_fragments=2**17,
        compression="deflate",
    )
    # serve_forever() keeps this thread; another tells the address, once it's known.
    threading.Thread(
        target=attend, args=(server, options.until_eof), daemon=True
    ).start()
    server.serve_forever()


def attend(server: WebSocketServer, until_eof: bool) -> None:
    """Print the address once it's known; then stop the server with the parent."""
    server.wait_ready(10)
    host, port = server.address[:2]
    print(f"ws://{host}:{port}", flush=True)
    if until_eof:
        sys.stdin.read()
        server.close_server()


if __name__ == "__main__":
    main()
