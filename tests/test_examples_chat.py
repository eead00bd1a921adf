"""Tests of the chat example's room and bot, without sockets."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .tools import ROOT

FOLDER = ROOT / "examples" / "chat"


@pytest.fixture(scope="module")
def example() -> Iterator[tuple[Any, Any]]:
    """Modules ``room`` and ``bot``, as the script finds them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("room"), importlib.import_module("bot")
        for name in ("room", "bot"):
            sys.modules.pop(name, None)


class Person:
    """A member who writes down what it is told."""

    def __init__(self, room: Any) -> None:
        self.room = room
        self.heard: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.gone = False
        # Whether somebody held the lock of the room while this member was told.
        self.told_under_lock = False

    def send(self, data: str) -> None:
        """Be told something."""
        self.told_under_lock |= self.room._lock.locked()
        if self.gone:
            raise ConnectionResetError
        self.heard.append(json.loads(data))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Be shown out."""
        self.closed = (code, reason)

    def say(self, **message: object) -> list[dict[str, Any]]:
        """Say something; return what is heard meanwhile."""
        before = len(self.heard)
        self.room.hear(self, json.dumps(message))
        return self.heard[before:]


class World:
    """A room and the members that are in it."""

    def __init__(self, example: tuple[Any, Any], answer: Callable[[str], str]) -> None:
        self.members: list[Person] = []
        self.room = example[0].Room(self.broadcast, answer)

    def broadcast(self, text: str, members: Collection[Person]) -> None:
        """Do what the server does."""
        for member in members:
            if not member.gone:
                member.send(text)

    def come(self, name: str | None = None, **more: object) -> Person:
        """Let somebody in, with or without a name."""
        person = Person(self.room)
        self.members.append(person)
        if name is not None:
            assert person.say(type="name", name=name, **more)[0]["type"] == "welcome"
        return person

    def go(self, person: Person) -> None:
        """Let somebody leave."""
        self.members.remove(person)
        self.room.leave(person)


@pytest.fixture
def world(example: tuple[Any, Any]) -> Iterator[World]:
    """A room whose bot says "indeed"; nobody is told anything under its lock."""
    world = World(example, lambda text: "indeed")
    yield world
    assert not any(member.told_under_lock for member in world.members)


def error(code: str, text: str) -> list[dict[str, Any]]:
    """What somebody hears who did something wrong."""
    return [{"type": "error", "code": code, "text": text}]


def test_newcomer_is_welcomed_and_announced(world: World) -> None:
    """A newcomer gets its name and who is here; everybody hears of it."""
    bob = world.come("Bob")
    ada = world.come("  Ada   Lovelace ")

    joined = {"type": "joined", "name": "Ada Lovelace", "revision": 2}
    assert ada.heard == [
        {
            "type": "welcome",
            "name": "Ada Lovelace",
            "people": ["Bot", "Bob", "Ada Lovelace"],
            "revision": 2,
        },
        joined,
    ]
    assert bob.heard[-1] == joined


def test_who_leaves_is_announced_once(world: World) -> None:
    """Others hear of it, and the name is free again."""
    bob, ada = world.come("Bob"), world.come("Ada")

    world.go(ada)
    world.room.leave(ada)

    left = [message for message in bob.heard if message["type"] == "left"]
    assert left == [{"type": "left", "name": "Ada", "revision": 3}]
    assert world.room.people == ["Bot", "Bob"]
    world.come("Ada")


def test_stranger_comes_and_goes_unnoticed(world: World) -> None:
    """Without a name, one hears nothing, says nothing, and is not announced."""
    bob = world.come("Bob")
    before = list(bob.heard)

    stranger = world.come()
    bob.say(type="message", text="Who's there?")
    answer = stranger.say(type="message", text="Boo!")
    world.go(stranger)

    assert answer == stranger.heard == error("name", "Please choose a name first.")
    assert [m["text"] for m in bob.heard[len(before) :]] == ["Who's there?", "indeed"]


def test_public_message_reaches_everybody_and_the_bot_answers(world: World) -> None:
    """The one who wrote it, too; so the room is never silent."""
    ada, bob = world.come("Ada"), world.come("Bob")

    heard = ada.say(type="message", text=" Hello \n you! ")

    assert heard == [
        {"type": "message", "from": "Ada", "text": "Hello \n you!"},
        {"type": "message", "from": "Bot", "text": "indeed"},
    ]
    assert bob.heard[-2:] == heard


@pytest.mark.parametrize("to", ["Bob", "bob", "\uff22ob"])
def test_private_message_reaches_two(world: World, to: str) -> None:
    """The one it's for and the one who wrote it; names are found in any spelling."""
    ada, bob, eve = world.come("Ada"), world.come("Bob"), world.come("Eve")
    before = len(eve.heard)

    heard = ada.say(type="message", text="Psst", to=to)

    assert heard == [{"type": "message", "from": "Ada", "to": "Bob", "text": "Psst"}]
    assert bob.heard[-1:] == heard
    assert eve.heard[before:] == []


def test_private_message_to_oneself_comes_once(world: World) -> None:
    """A note to oneself isn't doubled."""
    ada = world.come("Ada")

    assert len(ada.say(type="message", text="Buy milk", to="Ada")) == 1


def test_bot_answers_private_messages_privately(world: World) -> None:
    """Nobody else hears either."""
    ada, eve = world.come("Ada"), world.come("Eve")
    before = len(eve.heard)

    heard = ada.say(type="message", text="Psst", to="bot")

    assert heard == [
        {"type": "message", "from": "Ada", "to": "Bot", "text": "Psst"},
        {"type": "message", "from": "Bot", "to": "Ada", "text": "indeed"},
    ]
    assert eve.heard[before:] == []


@pytest.mark.parametrize("to", ["Zoe", "", 1, ["Bob"], {}])
def test_message_to_nobody_is_an_error(world: World, to: object) -> None:
    """It doesn't go to everybody instead."""
    ada, bob = world.come("Ada"), world.come("Bob")
    before = len(bob.heard)

    heard = ada.say(type="message", text="Psst", to=to)

    assert heard == error("to", "Nobody of that name is here.")
    assert bob.heard[before:] == []


@pytest.mark.parametrize(
    "data",
    [
        "",
        "hello",
        "{",
        "[]",
        "null",
        '"name"',
        "{}",
        '{"type": "shout"}',
        '{"type": ["name"]}',
        "[" * 60000,
        "1" * 60000,
        '{"type": "message"}',
        '{"type": "message", "text": 1}',
        '{"type": "message", "text": " \\n\\u0007 "}',
        b'{"type": "message", "text": "bytes"}',
        b"\xff",
    ],
)
def test_nonsense_gets_an_error_and_ends_nothing(
    world: World, data: str | bytes
) -> None:
    """Whoever sent it is told, stays, and nobody else notices."""
    ada, bob = world.come("Ada"), world.come("Bob")
    before = len(bob.heard)

    world.room.hear(ada, data)

    assert ada.heard[-1]["type"] == "error"
    assert bob.heard[before:] == []
    assert len(ada.say(type="message", text="Still here")) == 2


@given(st.text() | st.binary() | st.recursive(st.none() | st.text(), st.lists))
def test_whatever_comes_is_answered(example: tuple[Any, Any], data: object) -> None:
    """No input raises an exception."""
    world = World(example, lambda text: "indeed")
    ada = world.come("Ada")
    before = len(ada.heard)

    world.room.hear(ada, data if isinstance(data, str | bytes) else json.dumps(data))

    assert len(ada.heard) > before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Please choose a name."),
        ("  \t ", "Please choose a name."),
        (None, "Please choose a name."),
        (["Ada"], "Please choose a name."),
        ("x" * 33, "A name has at most 32 characters."),
        ("A\x00da", "A name has no invisible characters."),
        ("A\x1b[31mda", "A name has no invisible characters."),
        ("A\u202eda", "A name has no invisible characters."),
        ("A\u200bda", "A name has no invisible characters."),
        ("A\u200dda", "A name has no invisible characters."),
        ("\u200c\u200d", "A name has no invisible characters."),
        ("\u0645\u200c\u200c\u0645", "A name has no invisible characters."),
        ("\ud800", "A name has no invisible characters."),
        ("\u3164", "A name has no invisible characters."),
        ("\u2800", "A name has no invisible characters."),
        ("\u115f\u1160", "A name has no invisible characters."),
        ("\uffa0", "A name has no invisible characters."),
        ("\u2065", "A name has no invisible characters."),
        ("A\u3164", "A name has no invisible characters."),
        ("\u0301", "A name needs a letter, a digit or a symbol."),
        ("\u0301 \u0301\u200d", "A name needs a letter, a digit or a symbol."),
        ("\u034f\ufe0f", "A name needs a letter, a digit or a symbol."),
        ("Bob", "Bob is taken. Please choose another."),
        ("BOB", "BOB is taken. Please choose another."),
        ("\uff22\uff4f\uff42", "\uff22\uff4f\uff42 is taken. Please choose another."),
        ("bot", "bot is taken. Please choose another."),
    ],
)
def test_bad_name_is_refused(world: World, name: object, text: str) -> None:
    """A name is short, can be seen, and belongs to one person; one may try again."""
    world.come("Bob")
    person = world.come()

    assert person.say(type="name", name=name) == error("name", text)
    assert person.say(type="name", name="x" * 32)[0]["type"] == "welcome"


@pytest.mark.parametrize(
    "name",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f469\U0001f3fd\u200d\U0001f680",
        "\u2764\ufe0f\u200d\U0001f525",
        "1\ufe0f\u20e3",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
        "\u0d2e\u0d4b\u0d39\u0d28\u0d4d\u200d",
        "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
        "\u09b0\u200d\u09cd\u09af\u09be\u09ac",
        "\u8fbb\U000e0100",
        "e\u0301",
    ],
    ids=ascii,
)
def test_name_may_be_written_in_any_script(world: World, name: str) -> None:
    """Families of emoji, Persian, Malayalam, Sinhala, Bengali, rare ideographs."""
    assert world.come(name).heard[0]["name"] == name


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Zo\xeb", "zoe\u0308"),
        ("Stra\xdfe", "STRASSE"),
        ("\u03aa\u0301", "\u0390"),
        ("Ada", "Ada\ufe0f"),
        ("Ada", "A\u034fda"),
        ("\u0645\u06cc\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\u2764", "\u2764\ufe0f"),
        ("\u2163", "iv"),
    ],
    ids=ascii,
)
def test_names_that_look_the_same_are_one(world: World, name: str, other: str) -> None:
    """However they are put together, and whatever invisible characters are in them."""
    world.come(name)

    for taken in (name, other):
        heard = world.come().say(type="name", name=taken)
        assert heard == error("name", f"{taken} is taken. Please choose another.")
    world.go(world.members[0])
    assert world.come(other).heard[0]["name"] == other


@given(st.text(max_size=32))
def test_name_that_is_taken_shows(example: tuple[Any, Any], name: str) -> None:
    """It is the same once folded, and neither empty nor longer than allowed."""
    room = example[0]
    try:
        name = room.read_name(name)
    except room.Mistake as mistake:
        assert str(mistake)
        return

    folded = room.fold(name)

    assert folded.strip()
    assert room.fold(folded) == folded


def test_name_is_chosen_once(world: World) -> None:
    """A second one is refused, the first one stays."""
    ada = world.come("Ada")

    heard = ada.say(type="name", name="Eve")

    assert heard == error("name", "You have a name already.")
    assert world.room.people == ["Bot", "Ada"]


def test_long_text_is_refused(world: World) -> None:
    """Texts have a limit in characters, whatever their bytes."""
    ada = world.come("Ada")

    assert len(ada.say(type="message", text="\U0001f9e6" * 2000)) == 2
    heard = ada.say(type="message", text="x" * 2001)

    assert heard == error("text", "A message has at most 2000 characters.")


def test_control_characters_are_taken_out(world: World) -> None:
    """A terminal that shows a text must not obey it; lines and tabs are fine."""
    ada = world.come("Ada")

    heard = ada.say(type="message", text="a\x1b[31mb\x00\tc\nd")

    assert heard[0]["text"] == "a[31mb\tc\nd"


def test_lone_surrogate_is_passed_on(world: World) -> None:
    """JSON may hold it, UTF-8 may not; what is sent stays plain ASCII."""
    ada, bob = world.come("Ada"), world.come("Bob")

    ada.say(type="message", text="a\ud83e")

    assert bob.heard[-2]["text"] == "a\ud83e"


def test_name_is_taken_over_with_its_key(world: World) -> None:
    """A page that lost its connection comes back before the server noticed."""
    bob = world.come("Bob")
    old = world.come("Ada", key="secret")
    before = len(bob.heard)

    new = world.come("Ada", key="secret")
    bob.say(type="message", text="Hi", to="Ada")
    world.go(old)

    assert old.closed == (4000, "your name was taken over by your other window")
    assert [message["type"] for message in new.heard] == ["welcome", "message"]
    assert [message["type"] for message in bob.heard[before:]] == ["message"]
    assert world.room.people == ["Bot", "Bob", "Ada"]


def test_who_was_taken_over_hears_nothing_any_more(world: World) -> None:
    """Between the takeover and the end of the connection, it's a stranger."""
    old = world.come("Ada", key="secret")
    new = world.come("Ada", key="secret")
    before = len(old.heard)

    new.say(type="message", text="Hello")
    old.say(type="message", text="Hello?")

    assert old.heard[before:] == error("name", "Please choose a name first.")


@pytest.mark.parametrize(
    ("first", "second"), [("a", "b"), ("a", ""), ("", ""), ("\ud800", "b")]
)
def test_name_is_not_taken_over_without_its_key(
    world: World, first: str, second: str
) -> None:
    """No key fits nothing, not even no key."""
    old = world.come("Ada", key=first)
    new = world.come()

    heard = new.say(type="name", name="Ada", key=second)

    assert heard == error("name", "Ada is taken. Please choose another.")
    assert old.closed is None


@pytest.mark.parametrize("key", [1, None, "x" * 65])
def test_key_has_a_limit(world: World, key: object) -> None:
    """What the room remembers of a person is bounded."""
    heard = world.come().say(type="name", name="Ada", key=key)

    assert heard == error("name", "A key is a text of at most 64 characters.")


def test_member_who_is_gone_harms_nobody(world: World) -> None:
    """Its own callback tells of its end; whoever writes to it goes on."""
    ada, bob = world.come("Ada"), world.come("Bob")
    bob.gone = True

    heard = ada.say(type="message", text="Psst", to="Bob")

    assert heard[0]["text"] == "Psst"


def test_bot_that_fails_harms_nobody(
    example: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The bot is there to be changed, and changes fail at first."""
    world = World(example, lambda text: text[10**9])
    ada = world.come("Ada")

    heard = ada.say(type="message", text="Hello")

    assert heard[1] == {
        "type": "message",
        "from": "Bot",
        "text": "I'm lost for words.",
    }
    assert "the bot failed" in caplog.text
    assert "IndexError" in caplog.text


def test_slow_bot_holds_up_nobody_else(example: tuple[Any, Any]) -> None:
    """While the bot thinks about one message, others talk on."""
    thinking, done = threading.Event(), threading.Event()

    def answer(text: str) -> str:
        if text == "hard":
            thinking.set()
            assert done.wait(10)
        return "indeed"

    world = World(example, answer)
    ada, bob = world.come("Ada"), world.come("Bob")
    thread = threading.Thread(
        target=ada.say, kwargs={"type": "message", "text": "hard"}
    )
    thread.start()
    assert thinking.wait(10)

    heard = bob.say(type="message", text="easy")
    done.set()
    thread.join(10)

    assert [message["text"] for message in heard] == ["easy", "indeed"]
    assert bob.heard[-1]["text"] == "indeed"


def test_lists_of_people_agree_in_the_end(example: tuple[Any, Any]) -> None:
    """Threads overtake each other; the greatest revision of a name decides."""
    world = World(example, lambda text: "indeed")
    watcher = world.come("Watcher")
    start = threading.Barrier(8)

    def come_and_go(number: int) -> None:
        start.wait(10)
        for _ in range(20):
            person = Person(world.room)
            person.say(type="name", name=f"Guest {number % 4}")
            if number % 2 or person.heard[0]["type"] == "error":
                world.room.leave(person)

    threads = [threading.Thread(target=come_and_go, args=[i]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    known: dict[str, tuple[int, bool]] = {"Bot": (0, True)}
    for message in watcher.heard:
        here = message["type"] == "joined"
        revision = message["revision"]
        if (
            message["type"] != "welcome"
            and revision > known.get(message["name"], (-1, True))[0]
        ):
            known[message["name"]] = (revision, here)
    present = {name for name, (_, here) in known.items() if here}
    assert present == set(world.room.people)


@given(st.text())
def test_bot_has_always_an_answer(example: tuple[Any, Any], text: str) -> None:
    """It is never nothing, never long, and never a template."""
    reply = example[1].answer(text)

    assert 0 < len(reply) <= example[0].MAX_TEXT
    assert "{" not in reply


@pytest.mark.parametrize(
    ("text", "word"),
    [("What time is it?", "clock"), ("help!", "Enter"), ("THANKS", "")],
)
def test_bot_understands_a_little(
    example: tuple[Any, Any], text: str, word: str
) -> None:
    """Some words have answers of their own."""
    reply = example[1].answer(text)

    assert word in reply
    assert reply not in example[1].OTHERWISE


def test_long_answer_is_cut(example: tuple[Any, Any]) -> None:
    """The bot keeps to the limit of everybody else."""
    world = World(example, lambda text: "x" * 5000)

    heard = world.come("Ada").say(type="message", text="Hello")

    assert len(heard[1]["text"]) == 2000


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\u2800\u200d", "\x07"])
def test_message_that_shows_nothing_is_none(world: World, text: str) -> None:
    """Nobody hears of it but who sent it."""
    ada, bob = world.come("Ada"), world.come("Bob")
    before = len(bob.heard)

    answer = ada.say(type="message", text=text)

    assert answer == error("text", "There is nothing in that message.")
    assert len(bob.heard) == before
