"""The server of the phone book: everybody who is connected sees one book.

Messages are JSON lists in text. The server sends ``["book", [NAME, NUMBER], ...]``
first, then ``["added", NAME, NUMBER]`` and ``["removed", NAME]`` when something
changes, and ``["refused", REASON]`` to the one whose request it does not carry
out. It understands ``["add", NAME, NUMBER]`` and ``["remove", NAME]``, sends any
other list back as it is, and answers any other text with ``Echo Client``.

Start it with ``python server.py``; ``README.md`` tells about the client.
"""

from __future__ import annotations

import argparse
import json
import logging
import threading
from typing import TypeAlias

from websock import Client, WebSocketServer

NAMES = ("localhost", "127.0.0.1", "::1", "10.0.2.2")
"""What this machine is called by programs on it and by an emulator on it."""

MAX_ENTRIES = 500
MAX_LENGTH = 50
"""Longest name and number, in characters."""

Message: TypeAlias = list[object]


class PhoneBook:
    """A phone book and the callbacks that serve it.

    Callbacks of different clients run at the same time, in a thread each. The lock
    makes every client get the book first, and hear of all changes since, in the same
    order. While it is held nothing waits for a client: ``broadcast()`` never does.
    """

    def __init__(self, host: str, port: int, hosts: tuple[str, ...] | None) -> None:
        self.entries: dict[str, str] = {}
        self._readers: set[Client] = set()  # Those who got the book.
        self._lock = threading.Lock()  # Guards both, and the order of the news.
        self.server = WebSocketServer(
            host,
            port,
            on_connection_open=self.on_connection_open,
            on_data_receive=self.on_data_receive,
            on_connection_close=self.on_connection_close,
            hosts=hosts,
            max_size=4096,
        )

    def on_connection_open(self, client: Client) -> None:
        """Give the whole book to a client that comes, or comes back."""
        print("Connected", flush=True)
        with self._lock:
            book = ["book", *self.entries.items()]
            self.server.broadcast(json.dumps(book), to=[client])
            self._readers.add(client)

    def on_data_receive(self, client: Client, data: str | bytes) -> None:
        """Do what the client asks for."""
        try:
            message = json.loads(data) if isinstance(data, str) else None
        except (ValueError, RecursionError):
            message = None
        match message:
            case ["add", str(name), str(number)]:
                self.add(client, name.strip(), number.strip())
            case ["remove", str(name)]:
                self.remove(client, name)
            case list():
                print("List", message, flush=True)
                send(client, message)
            case _:
                print("Text", repr(data), flush=True)
                client.send("Echo Client")

    def on_connection_close(self, client: Client) -> None:
        """Forget a client that went."""
        print("Disconnected", flush=True)
        with self._lock:
            self._readers.discard(client)

    def add(self, client: Client, name: str, number: str) -> None:
        """Write a line into the book, unless it is no good."""
        if not (0 < len(name) <= MAX_LENGTH and 0 < len(number) <= MAX_LENGTH):
            reason = f"A name and a number have 1 to {MAX_LENGTH} characters."
            send(client, ["refused", reason])
            return
        with self._lock:
            is_full = name not in self.entries and len(self.entries) == MAX_ENTRIES
            if not is_full:
                self.entries[name] = number
                self._tell_all(["added", name, number])
        if is_full:
            send(client, ["refused", "The book is full."])

    def remove(self, client: Client, name: str) -> None:
        """Take a line out of the book, if it is there."""
        with self._lock:
            is_known = self.entries.pop(name, None) is not None
            if is_known:
                self._tell_all(["removed", name])
        if not is_known:
            send(client, ["refused", "That name is not in the book."])

    def _tell_all(self, message: Message) -> None:
        """Send news to all who got the book; needs the lock."""
        assert self._lock.locked()
        self.server.broadcast(json.dumps(message), to=self._readers)


def send(client: Client, message: Message) -> None:
    """Send a list as JSON."""
    client.send(json.dumps(message))


def main() -> None:
    """Serve a phone book until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve a phone book.")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0 lets real phones in (default: %(default)s)",
    )
    parser.add_argument("--port", type=int, default=8467)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    local = options.host in ("127.0.0.1", "localhost", "::1")
    book = PhoneBook(options.host, options.port, NAMES if local else None)
    book.server.serve_forever()


if __name__ == "__main__":
    main()
