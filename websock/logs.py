"""Logs: what peers and exceptions say, in lines that nobody else can write.

Layer: shells. May import: nothing.
"""

from __future__ import annotations

import logging
import traceback

__all__ = ["escape", "log_exception", "shorten"]


def escape(text: str) -> str:
    """Make one printable line of ``text``, so that nobody forges another one."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def log_exception(
    logger: logging.Logger, error: BaseException, message: str, *args: object
) -> None:
    """Log an exception with its traceback, at level ERROR.

    Its text may have a peer's words in it. So control characters are escaped, and
    every line of the traceback is indented: none passes for a line of the log.
    Handlers get the exception itself, too, as ``exc_info``.
    """
    if not logger.isEnabledFor(logging.ERROR):
        return
    path, line, function, _ = logger.findCaller(stacklevel=2)
    info = (type(error), error, error.__traceback__)
    record = logger.makeRecord(
        logger.name, logging.ERROR, path, line, message, args, info, function
    )
    # Where it's set already, formatters take it instead of making their own.
    record.exc_text = "\n".join(
        f"  {escape(line)}"
        for part in traceback.format_exception(error)
        for line in _lines(part.strip("\n"))
    )
    logger.handle(record)


def _lines(part: str) -> list[str]:
    """Lines of a traceback's part; only the places in the code have several."""
    # Those within groups of exceptions have a margin.
    is_place = part.lstrip(" |").startswith('File "')
    return part.split("\n") if is_place else [part]


def shorten(text: str) -> str:
    """Make ``text`` fit into a line of a log."""
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
