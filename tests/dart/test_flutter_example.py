"""The Flutter example: its code, its own tests, and its programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ..echo_server import DEADLINE
from ..tools import ROOT
from .conftest import EXAMPLE, SILENCE, TESTER, App
from .phone_book import port_of, serve

pytestmark = [pytest.mark.dart, pytest.mark.timeout(600)]

ALL_TESTS = """
import 'package:flutter_test/flutter_test.dart';

{imports}

void main() {{
{groups}
}}
"""


def example_tests() -> list[str]:
    """Names of the example's test files, without their ending."""
    return sorted(path.stem for path in EXAMPLE.glob("test/*_test.dart"))


@pytest.fixture(scope="module")
def command_line(app: App) -> str:
    """The command line client, compiled."""
    return app.build("/w/bin/phone_book.dart")


@pytest.fixture(scope="module")
def all_tests(app: App) -> str:
    """All tests of the example in one program, which saves half a minute."""
    names = example_tests()
    source = ALL_TESTS.format(
        imports="\n".join(f"import '{name}.dart' as {name};" for name in names),
        groups="\n".join(f"  group('{name}:', {name}.main);" for name in names),
    )
    # In this folder the analysis doesn't meet it.
    build = app.folder / "build"
    (build / "all_tests.dart").write_text(source)
    for path in EXAMPLE.glob("test/*.dart"):
        (build / path.name).write_bytes(path.read_bytes())
    return app.build_test("/w/build/all_tests.dart")


def passed(output: str) -> list[str]:
    """Names of the tests that started, unless one failed or was skipped."""
    assert "All tests passed!" in output, output
    found = re.findall(r"^\d+:\d+ \+\d+: (.+)$", output, re.MULTILINE)
    return [name for name in found if name != "All tests passed!"]


def test_code_is_formatted(app: App) -> None:
    """``dart format`` finds nothing to change."""
    code, output = app.run(
        *("dart", "format", "--output=none", "--set-exit-if-changed"),
        *("/w/lib", "/w/bin", "/w/test"),
    )

    assert code == 0, output


def test_analysis_finds_nothing(app: App) -> None:
    """``dart analyze`` has no error, no warning and no hint, by strict rules."""
    code, output = app.run("dart", "analyze", "--fatal-infos", "/w")

    assert code == 0, output
    assert "No issues found!" in output


def test_tests_without_a_server_pass(app: App, all_tests: str) -> None:
    """The example's unit and widget tests pass; those for a live server skip."""
    code, output = app.run("env", *TESTER, all_tests)

    assert code == 0, output
    assert re.search(r"\+[4-9]\d ~4: All tests passed!", output), output


def test_widgets_work_with_the_live_server(app: App, all_tests: str) -> None:
    """The app talks to the server beside it, and comes back after its restart."""
    with contextlib.ExitStack() as stack:
        with serve({"Before": "1"}) as book:
            port = port_of(book)
            server = f"PHONE_BOOK_SERVER=ws://127.0.0.1:{port}"
            program = stack.enter_context(
                app.start("env", server, "PHONE_BOOK_RESTART=1", *TESTER, all_tests)
            )
            restart = program.wait_for("PHONE_BOOK_RESTART", SILENCE)
            assert restart, program.output
        with serve({"After": "2"}, port):
            code = program.wait()

    assert code == 0, program.output
    names = passed(program.output)
    assert sum("live_test" in name for name in names) == 4, program.output


def test_an_emulator_is_let_in(app: App) -> None:
    """10.0.2.2 is what an Android emulator calls this machine's loopback."""
    with (
        serve({}) as book,
        socket.create_connection(("127.0.0.1", port_of(book)), DEADLINE) as peer,
    ):
        peer.sendall(
            b"GET / HTTP/1.1\r\nhost: 10.0.2.2:8467\r\nupgrade: websocket\r\n"
            b"connection: Upgrade\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )

        assert peer.recv(12) == b"HTTP/1.1 101"


def run(app: App, program: str, *arguments: str) -> tuple[int, str]:
    """Run a compiled program for plain Dart."""
    code, output = app.run("dart", program, *arguments)
    return code, output


def test_command_line_writes_and_lists(app: App, command_line: str) -> None:
    """The command line client adds a line, prints the book, removes the line."""
    with serve({"Ada": "+44 1"}) as book:
        url = f"ws://127.0.0.1:{port_of(book)}"
        added = run(app, command_line, url, "add", "Zoë 中村 👩‍🚀", "+1 (2)")
        entries = dict(book.entries)
        listed = run(app, command_line, url, "list")
        removed = run(app, command_line, url, "remove", "Ada")
        refused = run(app, command_line, url, "remove", "Ada")

    assert added == (0, "Zoë 中村 👩‍🚀: +1 (2)")
    assert entries == {"Ada": "+44 1", "Zoë 中村 👩‍🚀": "+1 (2)"}
    assert listed == (0, "Ada: +44 1\nZoë 中村 👩‍🚀: +1 (2)")
    assert removed == (0, "removed Ada")
    assert refused == (1, "refused: That name is not in the book.")


def test_a_list_of_strings_goes_both_ways(app: App, command_line: str) -> None:
    """The guide of the old example sends ["1","2","3"]; the same list comes back."""
    with serve({}) as book:
        url = f"ws://127.0.0.1:{port_of(book)}"
        code, output = run(app, command_line, url, "say", '["1","2","3"]')

    assert code == 0, output
    assert json.loads(output) == ["1", "2", "3"]


def test_the_text_of_the_old_example_is_answered(app: App, command_line: str) -> None:
    """The old client sends ``Echo Server`` and expects ``Echo Client``."""
    with serve({}) as book:
        url = f"ws://127.0.0.1:{port_of(book)}"
        code, output = run(app, command_line, url, "say", "Echo Server")

    assert (code, output) == (0, "Echo Client")


def test_the_client_of_the_guide_runs(app: App) -> None:
    """The Dart program in README.md does what is said there."""
    guide = (EXAMPLE / "README.md").read_text()
    (source,) = re.findall(r"^```dart\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert "ws://127.0.0.1:8467" in source
    with serve({"Ada": "1"}) as book:
        source = source.replace(":8467", f":{port_of(book)}")
        (app.folder / "build" / "guide.dart").write_text(source)
        with app.start("dart", "/w/build/guide.dart") as program:
            answered = program.wait_for('["1", "2", "3"]', SILENCE)
            book.server.close_server(1001, "ade")
            code = program.wait()

    assert answered, program.output
    assert program.lines == [
        '["book", ["Ada", "1"]]',
        "Echo Client",
        '["1", "2", "3"]',
        "closed: 1001 ade",
    ]
    assert code == 0


def test_command_line_explains_what_is_wrong(app: App, command_line: str) -> None:
    """Nobody listening is exit code 1 with a sentence, wrong usage is 2."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    refused = run(app, command_line, f"ws://127.0.0.1:{port}", "list")
    usage = run(app, command_line, "list")

    assert refused[0] == 1
    assert refused[1].startswith("no connection: ")
    assert usage[0] == 2
    assert usage[1].startswith("Usage: ")


def test_dart_sends_header_names_in_lower_case(app: App, command_line: str) -> None:
    """So a server that knows only ``Sec-WebSocket-Key`` is no server for Dart."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SILENCE)
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        with app.start("dart", command_line, url, "list") as program:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(DEADLINE)
                request = peer.recv(65536)
            code = program.wait()

    assert b"\r\nsec-websocket-key: " in request
    assert b"Sec-WebSocket-Key" not in request
    assert code == 1


def test_server_is_a_program(tmp_path: Path) -> None:
    """``python server.py`` says that a client came, and ends after SIGTERM with 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, EXAMPLE / "server.py", "--port", str(port)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert str(port) in process.stderr.readline()
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as peer:
            peer.sendall(
                b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert peer.recv(12) == b"HTTP/1.1 101"
            assert process.stdout is not None
            assert process.stdout.readline() == "Connected\n"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == 0
    assert output == "Disconnected\n"
    assert not list(tmp_path.iterdir())
