"""Logs: a line is a line, whoever's words are in it."""

from __future__ import annotations

import io
import logging

import pytest

from websock.logs import escape, log_exception

FORGED = "no such command\r\n2026-01-01 INFO \x1b[2Jforged\u2028\x85\n\nforged, too"


def raised(error: BaseException) -> BaseException:
    """The exception, with a traceback and a cause."""
    try:
        try:
            raise KeyError(FORGED)
        except KeyError as cause:
            raise error from cause
    except BaseException as result:
        return result


@pytest.fixture
def stream() -> io.StringIO:
    """What a handler writes."""
    return io.StringIO()


@pytest.fixture
def logger(stream: io.StringIO) -> logging.Logger:
    """A logger of the test alone."""
    logger = logging.Logger("test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(funcName)s %(message)s"))
    logger.addHandler(handler)
    return logger


def noted(error: BaseException) -> BaseException:
    """The exception, with a note."""
    error.add_note(FORGED)
    return error


@pytest.mark.parametrize(
    "error",
    [
        ValueError(FORGED),
        noted(ValueError("x")),
        ExceptionGroup(FORGED, [ValueError(FORGED)]),
        SyntaxError(FORGED),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, FORGED),
        SystemExit(FORGED),
    ],
)
def test_text_of_an_exception_forges_no_line(
    logger: logging.Logger, stream: io.StringIO, error: BaseException
) -> None:
    """One line is the log's, the others are indented and printable."""
    log_exception(logger, raised(error), "%s: exception in %s", "1.2.3.4:5", "hook")

    first, *rest = stream.getvalue().removesuffix("\n").split("\n")
    assert first == (
        "ERROR test_text_of_an_exception_forges_no_line 1.2.3.4:5: exception in hook"
    )
    assert all(line.startswith("  ") and line.isprintable() for line in rest)
    text = "\n".join(rest)
    assert "Traceback (most recent call last)" in text
    assert f'File "{__file__}"' in text
    assert r"no such command\r" in text
    if not hasattr(error, "__notes__"):
        # Of a note, Python makes lines itself.
        assert r"command\r\n2026-01-01 INFO \x1b[2Jforged\u2028\x85\n\nforged" in text
    assert " raise error from cause\n" in text
    assert r"INFO \x1b[2Jforged\u2028\x85" in text


def test_handlers_get_the_exception_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those that report errors elsewhere make more of it than text."""
    error = raised(ValueError("x"))
    log_exception(logging.getLogger("websock.test"), error, "oops")

    (record,) = caplog.records
    assert record.exc_info == (ValueError, error, error.__traceback__)
    assert (record.getMessage(), record.levelname) == ("oops", "ERROR")
    assert record.filename == "test_logs.py"


def test_what_nobody_wants_is_not_formatted(
    logger: logging.Logger, stream: io.StringIO
) -> None:
    """A logger may be silent."""
    logger.setLevel(logging.CRITICAL)
    log_exception(logger, ValueError("x"), "oops")
    assert stream.getvalue() == ""


def test_what_a_peer_said_stays_on_its_line() -> None:
    """Control characters are shown as text; letters stay letters."""
    assert escape("a\r\nb\x1b[2Jc\u2028é") == "a\\r\\nb\\x1b[2Jc\\u2028é"
