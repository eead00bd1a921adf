"""Two real browsers behind one small interface.

Chromium is driven by Playwright, Firefox over WebDriver BiDi, which it speaks by
itself. Both run without a screen, and neither asks anything of the network.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import selectors
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Playwright
    from playwright.sync_api import Page as PlaywrightPage

__all__ = ["Browser", "Chromium", "Firefox", "Page", "read_line"]

TIMEOUT: Final = 20.0
"""Longest wait for anything in a page, in seconds."""

CHROMIUM_FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

FIREFOX_PREFERENCES: Final = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.security.https_first": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "network.http.speculative-parallel-limit": 0,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.server": "",
}

WATCH_POLICY: Final = """
    globalThis.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
        violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
    });
"""

WAIT: Final = """
    new Promise((resolve) => {
        const deadline = performance.now() + %(timeout)d;
        const check = () => {
            let value = null;
            try { value = %(condition)s; } catch { /* not there yet */ }
            if (!value && performance.now() < deadline) return;
            observer.disconnect();
            clearInterval(timer);
            resolve(Boolean(value));
        };
        const observer = new MutationObserver(check);
        observer.observe(document, {
            subtree: true, childList: true, attributes: true, characterData: true,
        });
        // For what changes without the document: sizes, positions, the focus.
        const timer = setInterval(check, 50);
        check();
    })
"""

# Names of keys in Playwright, and their code points in WebDriver.
KEYS: Final = {
    "Backspace": "\ue003",
    "Tab": "\ue004",
    "Enter": "\ue006",
    "Shift": "\ue008",
    "Escape": "\ue00c",
    "ArrowUp": "\ue013",
    "ArrowDown": "\ue015",
    "Home": "\ue011",
    "End": "\ue010",
    "Space": " ",
}


def read_line(stream: IO[str], pattern: str, timeout: float = TIMEOUT) -> str:
    """Read lines until one matches, and return the first group of it."""
    deadline = time.monotonic() + timeout
    lines = []
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            line = stream.readline()
            lines.append(line)
            if match := re.search(pattern, line):
                return match[1]
            if not line:
                break
    raise AssertionError(f"no line matched {pattern!r} in {lines}")


class Page(ABC):
    """One window of a browser, apart from all others."""

    problems: list[str]
    """Errors and warnings of the console."""

    @abstractmethod
    def open(self, url: str) -> None:
        """Load a page, and wait until it's there."""

    @abstractmethod
    def evaluate(self, expression: str) -> Any:
        """Value of an expression in JavaScript; promises are waited for."""

    @abstractmethod
    def press(self, key: str) -> None:
        """Press a key, such as ``Enter`` or ``Shift+Tab``."""

    @abstractmethod
    def type(self, text: str) -> None:
        """Type a text into what has the focus."""

    @abstractmethod
    def click(self, selector: str) -> None:
        """Click into the middle of an element."""

    @abstractmethod
    def screenshot(self, path: Path) -> None:
        """Write a picture of the window."""

    def wait(self, condition: str, timeout: float = TIMEOUT) -> None:
        """Wait until an expression is true."""
        script = WAIT % {"condition": condition, "timeout": timeout * 1000}
        if not self.evaluate(script):
            body = self.evaluate("document.body.innerText")
            raise AssertionError(f"never true: {condition}, in:\n{body}")

    def violations(self) -> list[str]:
        """What the content security policy has refused."""
        violations: list[str] = self.evaluate("globalThis.violations")
        return violations


class Browser(ABC):
    """A running browser."""

    @abstractmethod
    def new_page(self, width: int = 1200, height: int = 800) -> Page:
        """Open a window that shares nothing with the others."""

    @abstractmethod
    def close_pages(self) -> None:
        """Close all windows."""


class ChromiumPage(Page):
    """Window of :class:`Chromium`."""

    def __init__(self, page: PlaywrightPage) -> None:
        self.page = page
        self.problems = []
        page.add_init_script(WATCH_POLICY)
        page.on(
            "console",
            lambda message: (
                self.problems.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, url: str) -> None:
        """Load a page, and wait until it's there."""
        self.page.goto(url)

    def evaluate(self, expression: str) -> Any:
        """Value of an expression in JavaScript; promises are waited for."""
        return self.page.evaluate(expression)

    def press(self, key: str) -> None:
        """Press a key, such as ``Enter`` or ``Shift+Tab``."""
        self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.page.keyboard.type(text)

    def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        self.page.click(selector)

    def screenshot(self, path: Path) -> None:
        """Write a picture of the window."""
        self.page.screenshot(path=path)


class Chromium(Browser):
    """Chromium, by Playwright."""

    def __init__(self, playwright: Playwright, path: str) -> None:
        self.browser = playwright.chromium.launch(
            executable_path=path, args=CHROMIUM_FLAGS
        )
        self._contexts: list[BrowserContext] = []

    def new_page(self, width: int = 1200, height: int = 800) -> Page:
        """Open a window that shares nothing with the others."""
        context = self.browser.new_context(
            viewport={"width": width, "height": height}, locale="en-GB"
        )
        context.set_default_timeout(TIMEOUT * 1000)
        self._contexts.append(context)
        return ChromiumPage(context.new_page())

    def close_pages(self) -> None:
        """Close all windows."""
        while self._contexts:
            self._contexts.pop().close()


class FirefoxPage(Page):
    """Window of :class:`Firefox`."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self.firefox = firefox
        self.context = context
        self.problems = []

    def command(self, method: str, **params: object) -> Any:
        """Do something in this window."""
        return self.firefox.command(method, context=self.context, **params)

    def open(self, url: str) -> None:
        """Load a page, and wait until it's there."""
        self.command("browsingContext.navigate", url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Value of an expression in JavaScript; promises are waited for."""
        answer = self.firefox.command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self.context},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        value = answer["result"].get("value")
        return None if value is None else json.loads(value)

    def _act(self, kind: str, actions: list[dict[str, object]]) -> None:
        self.command("browsingContext.activate")
        source: dict[str, object] = {"type": kind, "id": kind, "actions": actions}
        self.command("input.performActions", actions=[source])

    def press(self, key: str) -> None:
        """Press a key, such as ``Enter`` or ``Shift+Tab``."""
        codes = [KEYS.get(name, name) for name in key.split("+")]
        actions: list[dict[str, object]] = [
            {"type": "keyDown", "value": code} for code in codes
        ]
        actions += [{"type": "keyUp", "value": code} for code in reversed(codes)]
        self._act("key", actions)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        self._act(
            "key",
            [
                {"type": kind, "value": character}
                for character in text
                for kind in ("keyDown", "keyUp")
            ],
        )

    def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        x, y = self.evaluate(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                element.scrollIntoView({{block: "nearest"}});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        self._act(
            "pointer",
            [
                {"type": "pointerMove", "x": round(x), "y": round(y)},
                {"type": "pointerDown", "button": 0},
                {"type": "pointerUp", "button": 0},
            ],
        )

    def screenshot(self, path: Path) -> None:
        """Write a picture of the window."""
        answer = self.command("browsingContext.captureScreenshot")
        path.write_bytes(base64.b64decode(answer["data"]))


class Firefox(Browser):
    """Firefox, over WebDriver BiDi."""

    def __init__(self, path: str, profile: Path) -> None:
        self._stack = contextlib.ExitStack()
        (profile / "user.js").write_text(
            "".join(
                f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
                for name, value in FIREFOX_PREFERENCES.items()
            )
        )
        self.process = subprocess.Popen(
            [
                *(path, "--headless", "--no-remote", "--profile", str(profile)),
                *("--remote-debugging-port", "0"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert self.process.stderr is not None
            address = read_line(self.process.stderr, r"listening on (ws://\S+)", 60)
            self._ids = itertools.count(1)
            self._pages: dict[str, FirefoxPage] = {}
            self._socket: ClientConnection = self._stack.enter_context(
                connect(f"{address}/session", max_size=None, compression=None)
            )
            self.command("session.new", capabilities={})
            self.command("session.subscribe", events=["log.entryAdded"])
            self.command(
                "script.addPreloadScript",
                functionDeclaration=f"() => {{{WATCH_POLICY}}}",
            )
        except BaseException:
            self.stop()
            raise

    def command(self, method: str, **params: object) -> Any:
        """Send a command, and wait for its result."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=TIMEOUT + 10))
            if answer["type"] == "event":
                self._note(answer["params"])
            elif answer["id"] == number:
                assert answer["type"] == "success", answer
                return answer["result"]

    def _note(self, entry: dict[str, Any]) -> None:
        page = self._pages.get(entry["source"].get("context", ""))
        if page is not None and entry["level"] in ("error", "warn"):
            page.problems.append(entry["text"])

    def new_page(self, width: int = 1200, height: int = 800) -> Page:
        """Open a window that shares nothing with the others."""
        user = self.command("browser.createUserContext")["userContext"]
        context = self.command(
            "browsingContext.create", type="window", userContext=user
        )["context"]
        page = self._pages[context] = FirefoxPage(self, context)
        size = {"width": width, "height": height}
        page.command("browsingContext.setViewport", viewport=size)
        return page

    def close_pages(self) -> None:
        """Close all windows."""
        while self._pages:
            self._pages.popitem()[1].command("browsingContext.close")

    def stop(self) -> None:
        """End the browser."""
        self._stack.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        assert self.process.stderr is not None
        self.process.stderr.close()
