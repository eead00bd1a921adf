"""Plain HTTP next to the WebSockets: the files of a folder, and a health check.

Both are functions of a request that return a response, nothing more; a server
calls them for requests that don't ask for an upgrade. They answer GET and HEAD
alike, since what carries a response leaves the body out where there must be none.

Layer: application. May import: handshake, headers.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import string
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final
from urllib.parse import quote, unquote

from .handshake import Request, Response
from .headers import Headers, HeadersLike

__all__ = [
    "CONTENT_TYPES",
    "PIECE_SIZE",
    "SECURITY_HEADERS",
    "health",
    "static_files",
]

PIECE_SIZE: Final = 256 * 1024
"""Most of a file that is in memory at once for one request, in bytes.

Smaller ones are read by the function that answers, larger ones piece by piece while
they are sent.
"""

SECURITY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # 'self' covers WebSockets of the same host and port, too (CSP 3, 6.7.2.8).
        "Content-Security-Policy": (
            "default-src 'self'; img-src 'self' data:; object-src 'none'; "
            "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
        ),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        # For what is older than frame-ancestors.
        "X-Frame-Options": "SAMEORIGIN",
    }
)
"""What every response tells the browser: nothing from elsewhere, nothing inline."""

_TEXT_TYPES: Final = {
    "css": "text/css",
    "csv": "text/csv",
    "htm": "text/html",
    "html": "text/html",
    "js": "text/javascript",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "txt": "text/plain",
    "vtt": "text/vtt",
}

# A table of our own: that of the system differs from one machine to the next, and
# with nosniff a module or a style sheet of the wrong type isn't run.
CONTENT_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{suffix: f"{kind}; charset=utf-8" for suffix, kind in _TEXT_TYPES.items()},
        "avif": "image/avif",
        "bmp": "image/bmp",
        "gif": "image/gif",
        "gz": "application/gzip",
        "ico": "image/x-icon",
        "jpeg": "image/jpeg",
        "jpg": "image/jpeg",
        "json": "application/json",
        "jsonld": "application/ld+json",
        "m4a": "audio/mp4",
        "map": "application/json",
        "mp3": "audio/mpeg",
        "mp4": "video/mp4",
        "oga": "audio/ogg",
        "ogg": "audio/ogg",
        "ogv": "video/ogg",
        "opus": "audio/ogg",
        "otf": "font/otf",
        "pdf": "application/pdf",
        "png": "image/png",
        "svg": "image/svg+xml",
        "tar": "application/x-tar",
        "ttf": "font/ttf",
        "wasm": "application/wasm",
        "wav": "audio/wav",
        "webm": "video/webm",
        "webmanifest": "application/manifest+json",
        "webp": "image/webp",
        "woff": "font/woff",
        "woff2": "font/woff2",
        "xhtml": "application/xhtml+xml",
        "xml": "application/xml",
        "zip": "application/zip",
    }
)
"""Content type of each suffix, in lower case and without its dot."""

_UNKNOWN_TYPE: Final = "application/octet-stream"
_INDEX: Final = "index.html"

# What could separate, end or hide a part of a path on any system.
_FORBIDDEN: Final = re.compile(r"[/\\\x00-\x1f\x7f]")
# RFC 9110 (8.8.3). Quotes can't nest, so there is one way only to match.
_ENTITY_TAG: Final = re.compile(r'"[!#-~\x80-\xff]*"')

_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def static_files(
    folder: str | os.PathLike[str], *, headers: HeadersLike = ()
) -> Callable[[Request], Response]:
    """Make a function that answers requests with the files of a folder.

    A path that ends with a slash stands for the ``index.html`` of that folder.
    Files whose names start with a dot aren't served, nor what is in such folders
    except ``.well-known`` (RFC 8615); symbolic links are followed as long as they
    stay in the folder. Browsers keep files, and ask before they use them again
    (``ETag``, ``Last-Modified``), so that what is changed is seen at once.

    A large file that changes while it's sent ends the connection: half of the one and
    half of the other is no file. One that is replaced by renaming is sent to its end.

    The function may be called from any thread, by several at once. It reads from
    the disk, and from nothing else.

    Args:
        folder: The folder; what it is at the time of this call counts.
        headers: Header fields that replace those of :data:`SECURITY_HEADERS` or
            are added, for example a ``Content-Security-Policy`` that allows what
            the pages need.

    Returns:
        A function of a request that returns a response, an error too: 403 for
        what the server may not read, 404 for all that isn't there or isn't to be
        seen, 405 for methods other than GET and HEAD, 500 for a file that is longer
        than it says, and 503 when files can't be opened at the moment. One with a
        file of more than :data:`PIECE_SIZE` bytes has a source, to be closed by
        whoever sends it.

    Raises:
        ValueError: If ``folder`` isn't a folder, or ``headers`` aren't valid.

    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise ValueError(f"not a folder: {os.fspath(folder)!r}")
    common = Headers(SECURITY_HEADERS)
    common["Cache-Control"] = "no-cache"
    for name, value in Headers(headers).raw_items():
        common[name] = value

    def answer(request: Request) -> Response:
        try:
            response = _answer(root, request)
        except OSError as error:
            response = _failure(error)
        # What belongs to one answer goes before what all of them have.
        merged = Headers(common)
        for name, value in response.headers.raw_items():
            merged[name] = value
        response.headers = merged
        return response

    return answer


def health(request: Request) -> Response:
    """Tell that the server is alive, for load balancers and containers.

    It is alive if it answers at all; so the request doesn't matter. May be called
    from any thread.
    """
    return _text(HTTPStatus.OK, "ok", {"Cache-Control": "no-store"})


def _answer(root: Path, request: Request) -> Response:
    """Response for a request; an :exc:`OSError` if the file system objects."""
    if request.method not in ("GET", "HEAD"):
        return _error(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
    parts = _split(request.path)
    if parts is None:
        return _error(HTTPStatus.NOT_FOUND)
    *folders, name = parts
    try:
        path = root.joinpath(*folders, name or _INDEX).resolve(strict=True)
    except RuntimeError:  # a loop of symbolic links, before Python 3.13
        return _error(HTTPStatus.NOT_FOUND)
    if not path.is_relative_to(root):
        return _error(HTTPStatus.NOT_FOUND)
    if name and (path / _INDEX).is_file():
        return _redirect(name, request.query)
    # Not a device or a named pipe, which would wait for somebody to write to it.
    if not path.is_file():
        return _error(HTTPStatus.NOT_FOUND)
    return _file(path, name or _INDEX, request)


def _split(path: str) -> list[str] | None:
    """Cut a path into names, decoded once; :obj:`None` if one can't be served.

    Only the last name may be empty, which stands for a folder itself. As none
    has a separator in it or starts with a dot, none can lead out of the folder.
    """
    if not path.startswith("/"):
        return None
    parts = path[1:].split("/")
    try:
        names = [unquote(part, errors="strict") for part in parts]
    except UnicodeDecodeError:
        return None
    for i, name in enumerate(names):
        if (
            (not name and i < len(names) - 1)
            or (name.startswith(".") and (i, name) != (0, ".well-known"))
            or _FORBIDDEN.search(name)
        ):
            return None
    return names


def _redirect(name: str, query: str) -> Response:
    """Send the browser on to the address of the folder, with a slash at its end.

    A relative address can't lead to another host, and is right behind a proxy
    that adds a prefix.
    """
    location = f"./{quote(name, safe='')}/"
    if query:
        location += f"?{quote(query, safe=string.punctuation)}"
    return _error(HTTPStatus.PERMANENT_REDIRECT, headers={"Location": location})


class _FileSource:
    """The content of a file, of which one piece at a time is in memory.

    Args:
        file: The file, open, at its beginning.
        status: What the file system says of it.

    """

    __slots__ = ("_file", "_left", "_version", "size")

    def __init__(self, file: BinaryIO, status: os.stat_result) -> None:
        self.size = status.st_size
        """Size of the whole content, in bytes."""
        self._file = file
        self._left = self.size
        self._version = _version(status)

    def read(self) -> bytes:
        """Read the next piece; see :meth:`Source.read`."""
        piece = self._file.read(min(PIECE_SIZE, self._left))
        # Looked at afterwards, so that nothing newer is in the piece.
        changed = _version(os.fstat(self._file.fileno())) != self._version
        if changed or (self._left and not piece):
            raise OSError(errno.ESTALE, "the file changed while it was sent")
        self._left -= len(piece)
        return piece

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size


def _file(path: Path, name: str, request: Request) -> Response:
    """Response with a file, or without it if the browser has the same one."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        status = os.fstat(file.fileno())
        body, source = b"", None
        if status.st_size > PIECE_SIZE:
            source = _FileSource(file, status)
            # A weak one: of the date, as reading it all for each request takes long.
            tag = 'W/"{:x}-{:x}"'.format(*_version(status))
        else:
            body = file.read(PIECE_SIZE + 1)
            # Some files are longer than they say, or grow while they are read.
            if len(body) > PIECE_SIZE:
                return _error(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    "this file is longer than it says",
                )
            # A strong one (RFC 9110, 8.8.1): of the bytes, not of their date, so that
            # two changes within one tick differ and two machines agree.
            digest = hashlib.sha256(body, usedforsecurity=False).hexdigest()
            tag = f'"{digest[:32]}"'
        headers = {
            "ETag": tag,
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
        }
        if _is_known(request.headers, headers):
            return Response(HTTPStatus.NOT_MODIFIED, headers)
        suffix = name.rpartition(".")[2].lower()
        headers["Content-Type"] = CONTENT_TYPES.get(suffix, _UNKNOWN_TYPE)
        response = Response(HTTPStatus.OK, headers, body, source=source)
        if source is not None:
            stack.pop_all()
        return response


def _is_known(asked: Headers, current: Mapping[str, str]) -> bool:
    """Tell whether the browser has this content already (RFC 9110, 13.1)."""
    if "If-None-Match" in asked:
        tags = asked["If-None-Match"]
        # Compared weakly (13.1.2): W/ before a tag makes no difference.
        tag = current["ETag"].removeprefix("W/")
        return tags.strip() == "*" or tag in _ENTITY_TAG.findall(tags)
    # Browsers send the date that they got. Any other is older than the file or
    # from a clock that differs; both are a reason to send the file.
    return asked.get("If-Modified-Since") == current["Last-Modified"]


def _failure(error: OSError) -> Response:
    """Response for what the file system doesn't do."""
    if error.errno in _OUT_OF_RESOURCES:
        return _error(HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "5"})
    if isinstance(error, PermissionError):
        return _error(HTTPStatus.FORBIDDEN, "the server may not read this file")
    return _error(HTTPStatus.NOT_FOUND)


def _error(status: HTTPStatus, reason: str = "", headers: HeadersLike = ()) -> Response:
    sentence = f"{status} {status.phrase}{reason and ': '}{reason}"
    return _text(status, sentence, headers)


def _text(status: HTTPStatus, sentence: str, headers: HeadersLike) -> Response:
    response = Response(status, headers, f"{sentence}\n")
    response.headers["Content-Type"] = CONTENT_TYPES["txt"]
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
