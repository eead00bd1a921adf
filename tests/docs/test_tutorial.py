"""The tutorial, step by step, as its readers follow it."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from ..tools import require_tool
from .program import (
    DEADLINE,
    TUTORIAL,
    Run,
    ask,
    close_of,
    free_port,
    tries,
)


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


@pytest.mark.browser
def test_page_of_the_chat(run: Run, tmp_path: Path) -> None:
    """The last page in a browser: names, notices, close codes, and back again."""
    from playwright.sync_api import Page, sync_playwright

    chromium = require_tool("chromium", "chromium-browser", apt="chromium")
    program = folder_after(5, tmp_path) / "chat.py"
    port = free_port()
    program.write_text(program.read_text().replace("8467", str(port)))
    server = run(program, inherit=False)
    server.find("listening on")

    def say(page: Page, text: str) -> None:
        page.fill("#text", text)
        page.press("#text", "Enter")

    def wait_for(page: Page, text: str) -> None:
        page.locator("#log li", has_text=text).last.wait_for(timeout=1000 * DEADLINE)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        ann, bob = browser.new_page(), browser.new_page()
        problems: list[str] = []
        for page in (ann, bob):
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(f"http://127.0.0.1:{port}/")
            wait_for(page, "Your name, please?")
        say(ann, "Ann")
        wait_for(bob, "Ann is here.")
        say(bob, "Ann")
        wait_for(bob, "Closed with 4000 somebody has this name")
        wait_for(bob, "Your name, please?")
        say(bob, "<b>Bob</b>")
        wait_for(ann, "<b>Bob</b> is here.")
        say(ann, "Hello")
        wait_for(bob, "Ann: Hello")
        bob.close()
        wait_for(ann, "<b>Bob</b> has left.")

        server.stop()
        wait_for(ann, "Closed with 1001")
        server = run(program, inherit=False)
        server.find("listening on")
        say_again = ann.locator("#log li", has_text="Your name, please?").nth(1)
        say_again.wait_for(timeout=1000 * DEADLINE)
        browser.close()
    assert problems == []
