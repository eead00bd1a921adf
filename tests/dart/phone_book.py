"""The example's server, running in a thread of the test."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping

from examples.flutter.server import NAMES, PhoneBook

from ..echo_server import DEADLINE

__all__ = ["port_of", "serve"]


@contextlib.contextmanager
def serve(entries: Mapping[str, str], port: int = 0) -> Iterator[PhoneBook]:
    """Serve a phone book with some entries in it; yields the book."""
    book = PhoneBook("127.0.0.1", port, NAMES)
    book.entries.update(entries)
    thread = threading.Thread(target=book.server.serve_forever)
    thread.start()
    try:
        assert book.server.wait_ready(DEADLINE)
        yield book
    finally:
        book.server.shutdown(DEADLINE)
        thread.join(DEADLINE)
    assert not thread.is_alive(), "serve_forever() did not return"


def port_of(book: PhoneBook) -> int:
    """The port at which a book is served."""
    address = book.server.address
    assert isinstance(address, tuple)
    return int(address[1])
