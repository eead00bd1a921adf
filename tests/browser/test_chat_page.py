"""The chat's page, in Chromium and in Firefox, against its running server.

Every test looks at the console and the content security policy at its end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from ..tools import ROOT
from .conftest import ChatServer
from .drivers import Browser, Chromium, ChromiumPage, Page

pytestmark = pytest.mark.browser

PICTURE: Final = ROOT / "docs" / "images" / "chat.png"

Open = Callable[..., Page]


@pytest.fixture
def enter(browser: Browser, chat: ChatServer) -> Iterator[Open]:
    """Function that opens a window and, with a name, enters the room."""
    pages: list[Page] = []

    def enter(name: str | None = None, width: int = 1200, height: int = 800) -> Page:
        page = browser.new_page(width, height)
        pages.append(page)
        page.open(chat.url)
        if name is not None:
            page.wait("document.activeElement.id === 'name'")
            page.type(name)
            page.press("Enter")
            page.wait(visible("#room"))
        return page

    yield enter
    for page in pages:
        assert page.problems == []
        assert page.violations() == []


def visible(selector: str) -> str:
    """Whether an element is there to be seen."""
    return f"document.querySelector({json.dumps(selector)}).checkVisibility()"


def texts(selector: str) -> str:
    """Texts of all elements that a selector finds."""
    return (
        f"[...document.querySelectorAll({json.dumps(selector)})]"
        ".map((element) => element.textContent)"
    )


def has(selector: str, text: str) -> str:
    """Whether one of the elements has exactly this text."""
    return f"{texts(selector)}.includes({json.dumps(text)})"


def say(page: Page, text: str) -> None:
    """Write a message, as if the text field had the focus."""
    page.wait("document.activeElement.id === 'text'")
    page.type(text)
    page.press("Enter")
    page.wait("document.getElementById('text').value === ''")


def test_two_people_talk_and_the_bot_answers(enter: Open) -> None:
    """One's own messages are on the right, all others on the left."""
    ada = enter("Ada")
    bob = enter("Bob")

    ada.wait(has(".notice", "Bob joined."))
    say(ada, "Hello Bob")
    bob.wait(has(".message:not(.mine) .text", "Hello Bob"))
    bob.wait(has(".author", "Bot"))
    say(bob, "Hello Ada")
    ada.wait(has(".message:not(.mine) .text", "Hello Ada"))

    assert ada.evaluate(texts(".mine .text")) == ["Hello Bob"]
    assert ada.evaluate(texts(".notice")) == ["You joined as Ada.", "Bob joined."]
    left, right = ada.evaluate(
        """["Hello Bob", "Hello Ada"].map((text) => {
            const all = [...document.querySelectorAll(".text")];
            const box = all.find((e) => e.textContent === text).getBoundingClientRect();
            const log = document.getElementById("log").getBoundingClientRect();
            return log.right - box.right > box.left - log.left;
        }).reverse()"""
    )
    assert left
    assert not right


def test_list_shows_who_is_here(enter: Open, browser: Browser) -> None:
    """Oneself first, then the bot, then the others by name; who leaves is gone."""
    ada = enter("Ada")
    enter("Zoe")
    bob = enter("Bob")

    ada.wait(f"{texts('.who')}.join() === 'Ada,Bot,Bob,Zoe'")
    bob.open("about:blank")

    ada.wait(f"{texts('.who')}.join() === 'Ada,Bot,Zoe'")
    ada.wait(has(".notice", "Zoe joined. Bob left."))
    bob.open("about:blank")


def test_name_must_be_free(enter: Open) -> None:
    """The door says why it stays shut, and another name opens it."""
    enter("Ada")
    other = enter()

    other.press("Enter")
    other.wait(has("#door-error", "Please choose a name."))
    other.type("ada")
    other.press("Enter")
    other.wait(has("#door-error", "ada is taken. Please choose another."))
    assert other.evaluate("document.activeElement.id") == "name"
    other.type("Eve")
    other.press("Enter")

    other.wait(visible("#room"))
    other.wait(has(".notice", "You joined as Eve."))


def test_private_message_by_picking_a_name(enter: Open) -> None:
    """It's marked on both sides, and the third one never sees it."""
    ada, bob, eve = enter("Ada"), enter("Bob"), enter("Eve")
    ada.wait(has(".who", "Eve"))

    ada.click("#people-list li:nth-child(3)")
    ada.wait(has("#recipient-name", "Bob"))
    say(ada, "Psst")
    bob.wait(has(".is-private .text", "Psst"))
    ada.wait(has(".is-private.mine .private-text", "only for Bob"))
    ada.click("#recipient-clear")
    ada.wait("document.getElementById('recipient').hidden")
    say(ada, "Hello all")
    eve.wait(has(".text", "Hello all"))

    assert bob.evaluate(texts(".is-private .private-text")) == ["only for you"]
    assert "Psst" not in eve.evaluate(texts(".text"))


def test_private_message_by_writing_a_name(enter: Open) -> None:
    """``@name`` goes to the longest name that fits, and never to everybody."""
    ann, mary, eve = enter("Mary"), enter("Mary Ann"), enter("Eve")
    ann.wait(has(".who", "Eve"))

    say(ann, "@mary ann: Psst")
    mary.wait(has(".is-private .text", "Psst"))
    ann.press("Escape")
    ann.wait("document.getElementById('recipient').hidden")
    ann.type("@Evee Psst")
    ann.press("Enter")
    ann.wait(has("#hint", "Nobody called @Evee is here."))
    assert ann.evaluate("document.getElementById('text').value") == "@Evee Psst"
    for _ in "@Evee Psst":
        ann.press("Backspace")
    say(ann, "Hello all")
    eve.wait(has(".text", "Hello all"))

    assert [t for t in eve.evaluate(texts(".text")) if "Psst" in t] == []


def test_who_left_gets_no_private_message(enter: Open) -> None:
    """The text stays where it is, and doesn't go to everybody instead."""
    ada, bob = enter("Ada"), enter("Bob")
    ada.wait(has(".who", "Bob"))
    say(ada, "@Bob hi")
    bob.open("about:blank")
    ada.wait(has(".notice", "Bob left."))

    ada.type("secret")
    ada.press("Enter")

    ada.wait(has("#hint", "Bob isn't here any more."))
    assert ada.evaluate("document.getElementById('text').value") == "secret"


MARKUP: Final = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'"
    "</script><b>bold</b> &amp; javascript:alert(1)"
)


def test_markup_is_text(enter: Open) -> None:
    """What people write is shown as they wrote it, in names, notices and messages."""
    ada = enter("Ada")
    name = "<img src=x onerror=alert(1)>"
    eve = enter(name)

    ada.wait(has(".notice", f"{name} joined."))
    say(eve, MARKUP)
    ada.wait(has(".text", MARKUP))
    say(eve, f"@Ada {MARKUP}")
    ada.wait(has(".is-private .text", MARKUP))

    for page in (ada, eve):
        assert (
            page.evaluate("document.querySelectorAll('#log img, #log b').length") == 0
        )
        assert page.evaluate("document.querySelectorAll('script').length") == 1
        assert page.evaluate("document.title") == "websock chat"
    assert name in ada.evaluate(texts(".who"))
    assert name in ada.evaluate(texts(".author"))


def test_policy_refuses_inline_script(browser: Browser, chat: ChatServer) -> None:
    """Should markup get in some day, the policy of the server still stops it."""
    page = browser.new_page()
    page.open(chat.url)

    page.evaluate(
        """(() => {
            const script = document.createElement("script");
            script.textContent = "globalThis.owned = true";
            document.body.append(script);
        })()"""
    )

    page.wait("globalThis.violations.length > 0")
    assert page.evaluate("globalThis.owned === undefined")


def test_page_comes_back_after_a_restart(enter: Open, chat: ChatServer) -> None:
    """It says what happens, takes its name again, and keeps what was not sent."""
    ada, bob = enter("Ada"), enter("Bob")
    say(ada, "@Bob before")
    bob.wait(has(".text", "before"))

    assert chat.stop() == 0
    for page in (ada, bob):
        page.wait("document.getElementById('status').dataset.state === 'reconnecting'")
        page.wait(has(".notice", "The connection is lost. Trying to get it back…"))
    ada.type("after")
    ada.press("Enter")
    ada.wait(f"{texts('#hint')}[0].startsWith('Not connected.')")
    chat.start()
    for page in (ada, bob):
        page.wait(has(".notice", "Connected again."))
        page.wait(f"{texts('.who')}.length === 3")
        # The browser tells the console of each connection that is refused.
        page.problems = [p for p in page.problems if "/ws" not in p]
    ada.press("Enter")

    bob.wait(has(".is-private .text", "after"))
    assert bob.evaluate(texts("#status")) == ["Online"]
    assert ada.evaluate(texts("#hint")) == [""]
    assert ada.evaluate(texts(".notice")).count("Connected again.") == 1


def test_reload_keeps_the_name(enter: Open, chat: ChatServer) -> None:
    """The window remembers who sits in front of it."""
    ada = enter("Ada")

    ada.open(chat.url)

    ada.wait(has(".notice", "You joined as Ada."))


def test_everything_works_by_keyboard(enter: Open) -> None:
    """Fields and buttons are reached in the order in which one reads them."""
    ada, bob = enter("Ada"), enter("Bob")
    ada.wait(has(".who", "Bob"))

    ada.type("one")
    ada.press("Shift+Enter")
    ada.type("two")
    ada.press("Enter")
    bob.wait(has(".text", "one\ntwo"))
    order = []
    for key in ("Tab", "Tab", "ArrowDown"):
        ada.press(key)
        order.append(ada.evaluate("document.activeElement.textContent.trim()"))
    ada.press("Enter")
    ada.wait(has("#recipient-name", "Bob"))
    say(ada, "Psst")
    bob.wait(has(".is-private .text", "Psst"))
    ada.press("Backspace")
    ada.wait("document.getElementById('recipient').hidden")
    ada.press("Shift+Tab")
    log = ada.evaluate("document.activeElement.id")

    assert [" ".join(text.split()) for text in order] == [
        "Send",
        "Bot always here",
        "B Bob",
    ]
    assert log == "log"


FOCUSED: Final = "document.activeElement.dataset.name"


def test_list_of_people_is_one_stop_of_the_tab_key(enter: Open) -> None:
    """Arrows, Home, End and first letters lead through it, as through any list box."""
    ada = enter("Ada")
    for name in ("Bob", "Bill", "Zoe"):
        enter(name)
    ada.wait(has("#people-count", "5"))

    ada.press("Tab")
    ada.press("Tab")
    visited = [ada.evaluate(FOCUSED)]
    for key in ("ArrowDown", "End", "ArrowDown", "ArrowUp", "Home", "B", "b", "b", "x"):
        ada.press(key)
        visited.append(ada.evaluate(FOCUSED))
    ada.press("Tab")
    beyond = ada.evaluate("document.activeElement.closest('#people-list') === null")
    ada.press("Shift+Tab")
    visited.append(ada.evaluate(FOCUSED))
    ada.press("Space")

    ada.wait(has("#recipient-name", "Bob"))
    assert visited == [
        *("Bot", "Bill", "Zoe", "Zoe", "Bob", "Ada"),
        *("Bot", "Bill", "Bob", "Bob", "Bob"),
    ]
    assert beyond
    assert ada.evaluate("document.activeElement.id") == "text"
    assert ada.evaluate(
        """[...document.querySelectorAll("#people-list > *")].map((row) =>
            ["role", "aria-selected", "aria-disabled"].map(
                (name) => row.getAttribute(name)).join())"""
    ) == [
        "option,false,true",
        "option,false,false",
        "option,false,false",
        "option,true,false",
        "option,false,false",
    ]


def test_focus_stays_in_the_list_while_people_come_and_go(
    enter: Open, chat: ChatServer
) -> None:
    """Rows stay where they are; when the focused one goes, the bot's gets the focus."""
    ada = enter("Ada")
    chat.come("Bob")
    ada.wait(has(".who", "Bob"))
    ada.press("Tab")
    ada.press("Tab")
    ada.press("End")
    ada.evaluate(
        "document.addEventListener('focusout', () => globalThis.blurred = true)"
    )

    chat.come("Adam")
    chat.come("Carl")
    ada.wait(f"{texts('.who')}.join() === 'Ada,Bot,Adam,Bob,Carl'")

    assert ada.evaluate(FOCUSED) == "Bob"
    assert ada.evaluate("globalThis.blurred === undefined")
    chat.disperse()
    ada.wait("document.activeElement.dataset.name === 'Bot'")


def test_crowd_leaves_room_for_messages(enter: Open, chat: ChatServer) -> None:
    """200 people who come and go are one line, which no screen reader reads out."""
    ada = enter("Ada")
    say(ada, "Hello?")
    ada.wait("document.querySelectorAll('.message').length === 2")

    for number in range(200):
        chat.come(f"Guest {number}")
    ada.wait(has("#people-count", "202"))
    crowded = ada.evaluate(texts("#log > *"))
    stops = []
    for _ in range(3):
        ada.press("Tab")
        stops.append(ada.evaluate("document.activeElement.closest('#people') !== null"))
    chat.disperse()
    ada.wait(has("#people-count", "2"))
    deserted = ada.evaluate(texts("#log > .notice"))

    assert len(crowded) == 4
    assert crowded[3].startswith("Guest ")
    assert crowded[3].endswith(", and 197 others joined.")
    assert stops == [False, True, False]
    assert deserted[1].endswith(", and 197 others left.")
    assert ada.evaluate(
        "[...document.querySelectorAll('.notice')].map((line) => line.ariaLive)"
    ) == [None, "off"]


def test_messages_stay_longer_than_notices(enter: Open, chat: ChatServer) -> None:
    """Whoever comes and says hello pushes out a notice, not what others said."""
    ada = enter("Ada")

    for number in range(60):
        guest = chat.come(f"Guest {number}")
        guest.send(json.dumps({"type": "message", "text": f"Hello {number}"}))
        ada.wait(f"document.querySelectorAll('.message').length === {2 * number + 2}")

    assert ada.evaluate(texts(".message:not([data-from='Bot']) .text")) == [
        f"Hello {number}" for number in range(60)
    ]
    assert ada.evaluate(texts(".notice")) == [
        f"Guest {number} joined." for number in range(10, 60)
    ]


def test_fields_and_regions_have_names(enter: Open) -> None:
    """A screen reader tells what each is, and reads new messages out."""
    ada = enter("Ada")

    unnamed = ada.evaluate(
        """[...document.querySelectorAll("button, input, textarea")].filter((element) =>
            !(element.labels?.[0]?.textContent.trim() || element.textContent.trim())
        ).map((element) => element.outerHTML)"""
    )
    roles = ada.evaluate(
        """["log", "status", "hint", "door-error"].map(
            (id) => document.getElementById(id).getAttribute("role"))"""
    )

    assert unnamed == []
    assert roles == ["log", "status", "alert", "alert"]
    assert ada.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize(("width", "height"), [(320, 568), (390, 844), (844, 390)])
def test_phone_needs_no_sideways_scrolling(
    enter: Open, width: int, height: int
) -> None:
    """Long words break, the fields don't make the phone zoom, fingers find buttons."""
    ada = enter("A" * 32, width, height)
    say(ada, "w" * 120)
    say(ada, "@Bot " + "w" * 120)
    ada.wait("document.querySelectorAll('.message.is-private').length === 2")

    sizes = ada.evaluate(
        """({
            page: document.documentElement.scrollWidth - innerWidth,
            log: document.getElementById("log").scrollWidth
                - document.getElementById("log").clientWidth,
            bottom: innerHeight
                - document.getElementById("send").getBoundingClientRect().bottom,
            font: Math.min(...["name", "text"].map((id) =>
                parseFloat(getComputedStyle(document.getElementById(id)).fontSize))),
            finger: Math.min(...["send", "text"].map((id) =>
                document.getElementById(id).getBoundingClientRect().height)),
        })"""
    )

    assert sizes["page"] <= 0
    assert sizes["log"] <= 0
    assert sizes["bottom"] >= 0
    assert sizes["font"] >= 16
    assert sizes["finger"] >= 44


def test_list_of_people_is_a_sheet_on_a_phone(enter: Open) -> None:
    """A button shows it, Escape or a choice hides it again."""
    ada = enter("Ada", 390, 844)
    enter("Bob")
    ada.wait(has("#people-count", "3"))
    hidden = f"!{visible('#people')}"
    ada.wait(hidden)

    ada.click("#people-button")
    ada.wait(visible("#people"))
    ada.press("Escape")
    ada.wait(hidden)
    assert ada.evaluate("document.activeElement.id") == "people-button"
    ada.press("Enter")
    ada.wait(visible("#people"))
    ada.click("#people-list li:nth-child(3)")

    ada.wait(hidden)
    ada.wait(has("#recipient-name", "Bob"))
    assert ada.evaluate("document.activeElement.id") == "text"


def test_log_follows_only_readers_at_its_end(enter: Open) -> None:
    """Who reads older messages isn't moved; a button leads back to the newest."""
    ada, bob = enter("Ada", 600, 400), enter("Bob")
    at_end = (
        "document.getElementById('log').scrollTop > 0 && "
        "document.getElementById('log').scrollHeight"
        " - document.getElementById('log').scrollTop"
        " - document.getElementById('log').clientHeight < 2"
    )
    for number in range(6):
        say(bob, f"Message {number}")
    ada.wait(has(".text", "Message 5"))
    ada.wait(at_end)

    ada.evaluate("document.getElementById('log').scrollTop = 0")
    ada.wait("document.getElementById('log').scrollTop === 0")
    say(bob, "One more")
    ada.wait(has(".text", "One more"))
    ada.wait(visible("#latest"))
    assert ada.evaluate("document.getElementById('log').scrollTop") == 0
    ada.click("#latest")
    ada.wait(at_end)
    ada.wait("document.getElementById('latest').hidden")
    for _ in range(3):
        ada.press("Shift+Enter")

    ada.wait(at_end)


def test_other_window_takes_over(enter: Open, chat: ChatServer) -> None:
    """A copy of a window has its key, and comes in; the other one gives up."""
    ada = enter("Ada")
    copy = enter()
    key = ada.evaluate("sessionStorage.getItem('key')")

    copy.evaluate(f"sessionStorage.setItem('key', {json.dumps(key)})")
    copy.evaluate("sessionStorage.setItem('name', 'Ada')")
    copy.open(chat.url)

    copy.wait(has(".notice", "You joined as Ada."))
    ada.wait(has("#door-error", "You are in the room with your other window now."))


def test_secure_page_has_a_secure_socket(chromium: Chromium) -> None:
    """Behind a proxy with TLS, and below a path, the page asks for ``wss``."""
    page = chromium.new_page()
    assert isinstance(page, ChromiumPage)
    asked: list[str] = []
    folder = ROOT / "examples" / "chat" / "page"
    base = "https://chat.example/room/"
    page.page.route(
        f"{base}**",
        lambda route: route.fulfill(
            path=folder / (route.request.url.removeprefix(base) or "index.html")
        ),
    )
    page.page.route_web_socket("**/*", lambda socket: asked.append(socket.url))

    page.open(base)
    page.type("Ada")
    page.press("Enter")
    page.wait("document.getElementById('enter').disabled")

    page.evaluate("new Promise((resolve) => setTimeout(resolve))")
    assert asked == ["wss://chat.example/room/ws"]
    chromium.close_pages()


def test_picture_for_the_readme(
    chromium: Chromium, chat: ChatServer, tmp_path: Path
) -> None:
    """The picture shows what the page looks like now.

    ``WEBSOCK_SCREENSHOT=1`` writes it into the documentation; otherwise, the tree
    stays as it is.
    """
    asked = os.environ.get("WEBSOCK_SCREENSHOT") == "1"
    picture = PICTURE if asked else tmp_path / PICTURE.name
    context = chromium.browser.new_context(
        viewport={"width": 1120, "height": 840}, device_scale_factor=2, locale="en-GB"
    )
    people: dict[str, Page] = {}
    for name in ("Grace", "Linus", "Ada"):
        page = people[name] = ChromiumPage(context.new_page())
        page.open(chat.url)
        page.type(name)
        page.press("Enter")
        page.wait(visible("#room"))
    ada, grace, linus = people["Ada"], people["Grace"], people["Linus"]

    say(grace, "Hello Ada! Is this really one thread per person?")
    ada.wait("document.querySelectorAll('.message').length === 2")
    say(linus, "It is. Plain, blocking Python; no async anywhere.")
    ada.wait("document.querySelectorAll('.message').length === 4")
    say(ada, "And whoever is slow holds up nobody else 🧦")
    ada.wait("document.querySelectorAll('.message').length === 6")
    say(grace, "@Ada Lunch at one?")
    ada.wait(has(".is-private .text", "Lunch at one?"))
    ada.screenshot(picture)
    context.close()

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert PICTURE.exists()
