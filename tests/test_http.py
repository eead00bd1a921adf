"""Tests of :mod:`websock.http`."""

from __future__ import annotations

import errno
import mimetypes
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from websock.handshake import Request, Response
from websock.headers import Headers
from websock.http import (
    CONTENT_TYPES,
    PIECE_SIZE,
    SECURITY_HEADERS,
    health,
    static_files,
)

PUBLIC = {
    "index.html": b"<!doctype html><title>Hello</title>",
    "chat.js": b"export {};",
    "sub/index.html": b"sub",
    "sub/deep/data.json": b"{}",
    "empty/leaf.txt": b"leaf",
    "a b.txt": b"space",
    "Gr\u00fc\u00dfe.txt": b"umlaut",
    "100%.txt": b"percent",
    "javascript:x/index.html": b"colon",
    ".well-known/security.txt": b"Contact: ...",
}
HIDDEN = {".env": b"SECRET", ".git/config": b"SECRET", "sub/.secret": b"SECRET"}
OUTSIDE = {"secret.txt": b"SECRET", "index.html": b"SECRET", "root-2/a.txt": b"SECRET"}


def fill(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to serve; everything around it and hidden in it is secret."""
    outside = tmp_path_factory.mktemp("outside")
    root = outside / "root"
    fill(outside, OUTSIDE)
    fill(root, {**PUBLIC, **HIDDEN})
    (root / "out.txt").symlink_to("../secret.txt")
    (root / "out").symlink_to("..")
    (root / "in.txt").symlink_to("sub/deep/data.json")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nothing")
    os.mkfifo(root / "pipe")
    return root


def get(folder: Path, target: str, method: str = "GET", **headers: str) -> Response:
    """Answer to a request."""
    fields = Headers({name.replace("_", "-"): v for name, v in headers.items()})
    return static_files(folder)(Request(method, target, fields))


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """Let no file be opened."""

    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        yield


@pytest.mark.parametrize("name", PUBLIC)
def test_every_file_is_served(root: Path, name: str) -> None:
    """A file is served under its name, encoded as RFC 3986 wants it."""
    response = get(root, "/" + quote(name))

    assert response.status == HTTPStatus.OK
    assert response.body == PUBLIC[name]


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/", b"<!doctype html><title>Hello</title>"),
        ("/?x=1", b"<!doctype html><title>Hello</title>"),
        ("/sub/", b"sub"),
        ("/chat.js?version=/../2", b"export {};"),
        ("/%63hat%2Ejs", b"export {};"),
        ("/in.txt", b"{}"),
        ("http://example.com/chat.js", b"export {};"),
        ("http://example.com", b"<!doctype html><title>Hello</title>"),
    ],
)
def test_target_leads_to_its_file(root: Path, target: str, body: bytes) -> None:
    """Folders have an index, queries and hosts don't matter, links may stay inside."""
    response = get(root, target)

    assert (response.status, response.body) == (HTTPStatus.OK, body)


@pytest.mark.parametrize(
    "target",
    [
        "/nothing",
        "/Chat.js",
        "/chat.js/",
        "/chat.js/index.html",
        "/empty",
        "/empty/",
        "/loop",
        "/dangling",
        "/pipe",
        "/" + "a" * 256,
        "/" + "a/" * 4000,
        "/100%25%252e.txt",
        "/%ff.txt",
        "/%zz",
        "*",
        "chat.js",
        "//",
        "//chat.js",
        "/sub//index.html",
        "/chat.js%00.txt",
        "/chat%0d%0a.js",
        # Ways out.
        "/..",
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/sub/../chat.js",
        "/%2e%2e/secret.txt",
        "/.%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/%252e%252e/secret.txt",
        "/..;/secret.txt",
        "/../root-2/a.txt",
        "/out.txt",
        "/out/secret.txt",
        "/out/",
        "/out",
        "//etc/passwd",
        "/%2fetc/passwd",
        "///etc/passwd",
        "/C:/secret.txt",
        # Nothing that hides.
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/sub/.secret",
        "/sub/.well-known/security.txt",
        "/.",
        "/./chat.js",
    ],
)
def test_what_is_not_to_be_seen_is_not_found(root: Path, target: str) -> None:
    """There is one answer to what isn't there, is hidden, or is outside."""
    response = get(root, target)

    assert response.status == HTTPStatus.NOT_FOUND
    assert response.body == b"404 Not Found\n"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


SEGMENTS = st.sampled_from(
    [
        *("", ".", "..", "...", "~", "root", "root-2", "out", "sub", "secret.txt"),
        *("%2e", "%2E%2e", "%2f", "%5c", "\\", "%00", "%c0%ae", "%252e", ";", ":"),
        *(".env", ".git", "config", "index.html", "etc", "passwd", "//", "/", "?"),
    ]
)


@example("/../secret.txt")
@example("//out/../secret.txt")
@given(
    st.lists(SEGMENTS | st.text(st.characters(codec="latin-1"), max_size=4)).map(
        "/".join
    )
    | st.text(max_size=30)
)
def test_nothing_outside_is_ever_served(root: Path, path: str) -> None:
    """Whatever the path, the answer is a public file, a redirect inside, or 404."""
    response = get(root, "/" + path)

    if response.status == HTTPStatus.OK:
        assert response.body in PUBLIC.values()
    elif response.status == HTTPStatus.PERMANENT_REDIRECT:
        url = urlsplit(urljoin("http://host/" + path, response.headers["Location"]))
        assert (url.scheme, url.netloc) == ("http", "host")
    else:
        assert response.status == HTTPStatus.NOT_FOUND
    assert b"SECRET" not in response.body


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/sub", "./sub/"),
        ("/s%75b", "./sub/"),
        ("/sub?a=1&b=/?#", "./sub/?a=1&b=/?#"),
        ("/sub?\u00e9\r\n", "./sub/?%C3%A9%0D%0A"),
        ("/javascript:x", "./javascript%3Ax/"),
    ],
)
def test_folder_without_slash_is_redirected(
    root: Path, target: str, location: str
) -> None:
    """Relative links of its index lead to its files only with a slash at the end."""
    response = get(root, target)

    assert response.status == HTTPStatus.PERMANENT_REDIRECT
    assert response.headers["Location"] == location


@pytest.mark.parametrize("target", ["//sub", "//evil.example/sub", "/\\evil.example"])
def test_redirect_leads_to_no_other_host(root: Path, target: str) -> None:
    """A path that starts with two slashes would be the address of a host."""
    response = get(root, target)

    assert response.status == HTTPStatus.NOT_FOUND
    assert "Location" not in response.headers


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.min.JS", "text/javascript; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.json", "application/json"),
        ("a.wasm", "application/wasm"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.tar.gz", "application/gzip"),
        ("a.unknown", "application/octet-stream"),
        ("README", "application/octet-stream"),
    ],
)
def test_content_type_is_the_same_on_every_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    """Types come from a table of our own, whatever the system's says."""
    monkeypatch.setattr(mimetypes, "guess_type", lambda *args: ("text/wrong", None))
    (tmp_path / name).write_bytes(b"x")

    assert get(tmp_path, f"/{name}").headers["Content-Type"] == expected


def test_every_text_has_a_charset() -> None:
    """What a browser shows as text is never left to its guess."""
    for kind in CONTENT_TYPES.values():
        assert kind.startswith("text/") == kind.endswith("; charset=utf-8")
        assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+(; charset=utf-8)?", kind)


@pytest.mark.parametrize(
    ("target", "extra"),
    [("/", {}), ("/nothing", {}), ("/sub", {}), ("/", {"If_None_Match": "*"})],
)
def test_every_response_has_security_headers(
    root: Path, target: str, extra: dict[str, str]
) -> None:
    """Errors and redirects, too, and each one once."""
    headers = get(root, target, **extra).headers

    for name, value in SECURITY_HEADERS.items():
        assert headers.get_all(name) == [value]
    assert headers.get_all("Cache-Control") == ["no-cache"]


def test_headers_can_be_replaced_and_added(root: Path) -> None:
    """A page that needs more than the strict policy says so."""
    extra = {"content-security-policy": "default-src *", "X-New": "1", "etag": '"no"'}
    answer = static_files(root, headers=extra)

    headers = answer(Request("GET", "/")).headers

    assert headers.get_all("Content-Security-Policy") == ["default-src *"]
    assert headers["X-New"] == "1"
    assert headers["Referrer-Policy"] == SECURITY_HEADERS["Referrer-Policy"]
    assert headers.get_all("ETag") != ['"no"']


def test_head_is_answered_like_get(root: Path) -> None:
    """The answer is the same; whoever sends it leaves the body out."""
    assert get(root, "/", "HEAD").headers == get(root, "/").headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_other_methods_are_not_allowed(root: Path, method: str) -> None:
    """405 names the methods that are (RFC 9110, 15.5.6)."""
    response = get(root, "/", method)

    assert response.status == HTTPStatus.METHOD_NOT_ALLOWED
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("form", "known"),
    [
        ("{}", True),
        ("W/{}", True),
        ('"a", {}', True),
        ('"a,b" ,W/{},"c"', True),
        (" * ", True),
        ('"a"', False),
        ("", False),
        ('"{}', False),
        ('"*"', False),
    ],
)
def test_known_content_is_not_sent_again(root: Path, form: str, known: bool) -> None:
    """If-None-Match has tags, weak or not, or a star (RFC 9110, 13.1.2)."""
    tag = get(root, "/chat.js").headers["ETag"]
    response = get(root, "/chat.js", If_None_Match=form.format(tag))

    assert (response.status == HTTPStatus.NOT_MODIFIED) is known
    if known:
        assert response.body == b""
        assert response.headers["ETag"] == tag
        assert "Content-Type" not in response.headers


def test_entity_tags_in_two_fields_are_one_list(root: Path) -> None:
    """Two fields of one name are one list (RFC 9110, 5.3)."""
    tag = get(root, "/chat.js").headers["ETag"]
    fields = Headers([("If-None-Match", '"a"'), ("If-None-Match", tag)])

    response = static_files(root)(Request("GET", "/chat.js", fields))

    assert response.status == HTTPStatus.NOT_MODIFIED


def test_entity_tag_is_of_the_content(tmp_path: Path) -> None:
    """The tag changes with the bytes, even if size and date stay."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"one")
    os.utime(path, (0, 0))
    first = get(tmp_path, "/a.txt").headers
    path.write_bytes(b"two")
    os.utime(path, (0, 0))
    second = get(tmp_path, "/a.txt").headers
    path.write_bytes(b"one")
    third = get(tmp_path, "/a.txt").headers

    assert first["ETag"] == third["ETag"] != second["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', first["ETag"])
    assert first["Last-Modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_date_counts_if_there_are_no_tags(root: Path) -> None:
    """If-Modified-Since is for browsers that know no tags (RFC 9110, 13.1.3)."""
    date = get(root, "/chat.js").headers["Last-Modified"]

    same = get(root, "/chat.js", If_Modified_Since=date)
    other = get(root, "/chat.js", If_Modified_Since="Thu, 01 Jan 1970 00:00:00 GMT")
    both = get(root, "/chat.js", If_Modified_Since=date, If_None_Match='"a"')

    assert same.status == HTTPStatus.NOT_MODIFIED
    assert other.status == both.status == HTTPStatus.OK


def read_source(response: Response) -> list[bytes]:
    """Pieces of a response that has a source, which is closed at the end."""
    source = response.source
    assert source is not None
    pieces = list(iter(source.read, b""))
    assert source.read() == b""
    source.close()
    source.close()
    return pieces


def open_files(folder: Path) -> int:
    """How many files of the folder this process has open."""
    links = Path("/proc/self/fd").iterdir()
    return sum(os.path.realpath(link).startswith(f"{folder}/") for link in links)


def test_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    """No more than one piece of it is in memory; a small one has no source."""
    content = os.urandom(2 * PIECE_SIZE + 1)
    fill(tmp_path, {"small": content[:PIECE_SIZE], "large": content})

    small, large = get(tmp_path, "/small"), get(tmp_path, "/large")

    assert (small.body, small.source) == (content[:PIECE_SIZE], None)
    assert large.body == b""
    assert large.source is not None
    assert large.source.size == len(content)
    assert open_files(tmp_path) == 1
    pieces = read_source(large)
    assert [len(piece) for piece in pieces] == [PIECE_SIZE, PIECE_SIZE, 1]
    assert b"".join(pieces) == content
    assert open_files(tmp_path) == 0


def test_entity_tag_of_a_large_file_is_weak(tmp_path: Path) -> None:
    """It's of date and size, as reading it all takes long (RFC 9110, 8.8.1)."""
    fill(tmp_path, {"a": bytes(PIECE_SIZE + 1), "b": b"x" * (PIECE_SIZE + 1)})
    for name in "ab":
        os.utime(tmp_path / name, ns=(0, 2**60))
    one, other = get(tmp_path, "/a"), get(tmp_path, "/b")
    read_source(one)
    read_source(other)
    tag = one.headers["ETag"]

    assert re.fullmatch(r'W/"1000000000000000-[0-9a-f]+"', tag)
    assert other.headers["ETag"] == tag
    for form in ("{}", '"x", {}', "*"):
        response = get(tmp_path, "/a", If_None_Match=form.format(tag))
        assert response.status == HTTPStatus.NOT_MODIFIED
        assert response.source is None
    os.utime(tmp_path / "a", ns=(0, 2**60 + 1))
    changed = get(tmp_path, "/a", If_None_Match=tag)
    assert changed.status == HTTPStatus.OK
    read_source(changed)
    assert open_files(tmp_path) == 0


@pytest.mark.parametrize("change", ["shrinks", "is emptied", "grows", "is written to"])
def test_large_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    """The rest isn't what was promised, even if it's as long."""
    path = tmp_path / "a"
    path.write_bytes(bytes(3 * PIECE_SIZE))
    os.utime(path, ns=(0, 0))
    source = get(tmp_path, "/a").source
    assert source is not None
    assert len(source.read()) == PIECE_SIZE

    with path.open("r+b") as file:
        if change == "shrinks":
            file.truncate(2 * PIECE_SIZE)
        elif change == "is emptied":
            file.truncate(0)
            # Not even the date tells.
            os.utime(path, ns=(0, 0))
        elif change == "grows":
            file.truncate(4 * PIECE_SIZE)
        else:
            file.write(b"new")

    with pytest.raises(OSError, match="changed while it was sent"):
        source.read()
    source.close()


def test_large_file_that_the_system_has_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end before the end is a fault, whatever size the system goes on telling."""
    (tmp_path / "a").write_bytes(bytes(PIECE_SIZE + 1))
    source = get(tmp_path, "/a").source
    assert source is not None
    status = os.stat(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"")
    monkeypatch.setattr(os, "fstat", lambda number: status)

    with pytest.raises(OSError, match="changed while it was sent"):
        source.read()

    source.close()


def test_large_file_that_is_replaced_is_read_to_its_end(tmp_path: Path) -> None:
    """Renaming is how to change a file that is served."""
    content = os.urandom(PIECE_SIZE + 1)
    fill(tmp_path, {"a": content, "b": b"new"})
    response = get(tmp_path, "/a")

    (tmp_path / "b").rename(tmp_path / "a")

    assert b"".join(read_source(response)) == content
    assert get(tmp_path, "/a").body == b"new"


def test_file_that_is_longer_than_it_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its length can't be told before it's read, as some of the system's can't."""
    fill(tmp_path, {"grows": bytes(PIECE_SIZE + 1)})
    before = os.stat_result([0o100644, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    monkeypatch.setattr(os, "fstat", lambda number: before)

    response = get(tmp_path, "/grows")

    assert response.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert b"longer than it says" in response.body


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.EACCES, HTTPStatus.FORBIDDEN),
        (errno.EPERM, HTTPStatus.FORBIDDEN),
        (errno.EMFILE, HTTPStatus.SERVICE_UNAVAILABLE),
        (errno.ENFILE, HTTPStatus.SERVICE_UNAVAILABLE),
        (errno.ENOENT, HTTPStatus.NOT_FOUND),
        (errno.EIO, HTTPStatus.NOT_FOUND),
    ],
)
def test_file_system_that_refuses_gets_an_answer(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: HTTPStatus
) -> None:
    """No exception gets out: without descriptors, try later; without rights, 403."""
    with failing(monkeypatch, number):
        response = get(root, "/")

    assert response.status == status
    assert ("Retry-After" in response.headers) == (status == 503)
    assert str(root).encode() not in response.body


def test_loop_of_links_is_not_found_on_every_version(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Python 3.13, Path.resolve() has another exception for it."""

    def resolve(path: Path, strict: bool = False) -> Path:
        raise RuntimeError("Symlink loop")

    answer = static_files(root)
    monkeypatch.setattr(Path, "resolve", resolve)

    assert answer(Request("GET", "/loop")).status == HTTPStatus.NOT_FOUND


def test_socket_in_the_folder_is_not_opened(tmp_path: Path) -> None:
    """Only plain files are opened: others could block, or do something."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))

        assert get(tmp_path, "/socket").status == HTTPStatus.NOT_FOUND


def test_folder_must_be_one(tmp_path: Path) -> None:
    """A mistake is told when the server is made, not by the first request."""
    (tmp_path / "file").write_bytes(b"")

    for path in ("file", "nothing"):
        with pytest.raises(ValueError, match=f"not a folder: .*{path}"):
            static_files(tmp_path / path)


def test_working_directory_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder means what it meant when the function was made."""
    fill(tmp_path, {"page/index.html": b"here"})
    monkeypatch.chdir(tmp_path)
    answer = static_files("page")
    monkeypatch.chdir("/")

    assert answer(Request("GET", "/")).body == b"here"


def test_root_may_be_a_link(tmp_path: Path) -> None:
    """Deployments switch versions by a link to the folder."""
    fill(tmp_path, {"v1/index.html": b"one"})
    (tmp_path / "current").symlink_to("v1")

    assert get(tmp_path / "current", "/").body == b"one"


def test_health_is_never_stored() -> None:
    """A cache that answers for a dead server would hide it."""
    response = health(Request("GET", "/healthz"))

    assert (response.status, response.body) == (HTTPStatus.OK, b"ok\n")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
