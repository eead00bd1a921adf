"""The room: who is in it, and who gets to read what.

There are no sockets here. A member is anything that can be told something, which
makes the rules easy to test; ``server.py`` puts real clients in.

Callbacks of different clients run at the same time, each in the thread of its
client. One lock guards the table of names. It is never held while something is
sent, so a member whose network is slow holds up nobody.

Who is connected and has no name hears nothing. What the page sends, as JSON texts::

    {"type": "name", "name": "Ada", "key": "..."}      first of all; key is optional
    {"type": "message", "text": "Hello!"}              to everybody
    {"type": "message", "text": "Psst", "to": "Bob"}   to one person

What it gets::

    {"type": "welcome", "name": ..., "people": [...], "revision": ...}
    {"type": "joined", "name": ..., "revision": ...}
    {"type": "left", "name": ..., "revision": ...}
    {"type": "message", "from": ..., "text": ...}      with "to" if it is private
    {"type": "error", "code": ..., "text": ...}

Two threads that send at the same time may be overtaken by each other. Whoever
keeps a list of people lets the greatest revision of a name decide.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import re
import threading
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from bot import answer as bot_answer

__all__ = ["BOT", "MAX_KEY", "MAX_NAME", "MAX_TEXT", "TAKEN_OVER", "Member", "Room"]

BOT: Final = "Bot"
"""Name of the bot; nobody else can have it."""
MAX_NAME: Final = 32
"""Longest name, in characters."""
MAX_TEXT: Final = 2000
"""Longest text of a message, in characters."""
MAX_KEY: Final = 64
"""Longest key, in characters."""
TAKEN_OVER: Final = 4000
"""Close code for a member whose name is taken over by its own next connection."""

# Characters that don't show, or change how others show: controls, format
# characters such as those that turn the direction, surrogates, line separators.
UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# Blank, although their categories don't tell: fillers of Hangul, the empty pattern of
# Braille, and code points that Unicode keeps for invisible characters to come.
BLANK: Final = re.compile(
    "[\u115f\u1160\u2065\u2800\u3164\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"
)

# Joiners make families of emoji, and Persian or Indic letters take their right shape.
# What stands before them is a symbol, a modifier, a mark, or a letter without case.
JOINED: Final = re.compile("(.)[\u200c\u200d]", re.DOTALL)
BEFORE_JOINERS: Final = frozenset({"So", "Sk", "Mn", "Mc", "Lo"})

# May be in a name, but make it no other: joiners, and marks that only choose among the
# shapes of what stands before them.
SHAPING: Final = re.compile(
    "[\u034f\u17b4\u17b5\u180b-\u180f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)

logger = logging.getLogger("chat")


class Member(Protocol):
    """Somebody who is connected, such as a :class:`websock.Client`."""

    def send(self, data: str, /) -> object:
        """Tell the member something; an :exc:`OSError` means that it is gone."""

    def close(self, code: int = ..., reason: str = ...) -> object:
        """Show the member out."""


class Mistake(Exception):
    """Something that a member did wrong, with a sentence for it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Person:
    """A member who has a name."""

    name: str
    key: str


class Room:
    """A room in which everybody has a name, and a bot has an answer.

    Args:
        broadcast: Sends a text to the members that are given, and never waits for
            one of them.
        answer: What the bot says to a text.

    """

    def __init__(
        self,
        broadcast: Callable[[str, Collection[Member]], object],
        answer: Callable[[str], str] = bot_answer,
    ) -> None:
        self._broadcast = broadcast
        self._answer = answer
        # Guards the three below; nothing is sent while it is held.
        self._lock = threading.Lock()
        self._people: dict[Member, Person] = {}
        self._by_name: dict[str, Member | None] = {fold(BOT): None}
        self._revision = 0

    @property
    def people(self) -> list[str]:
        """Names of all who are here, the bot first."""
        with self._lock:
            return self._names()

    def leave(self, member: Member) -> None:
        """Forget a member, and tell the others."""
        with self._lock:
            person = self._people.pop(member, None)
            if person is None:
                return
            del self._by_name[fold(person.name)]
            self._revision += 1
            revision = self._revision
        self._tell_all(type="left", name=person.name, revision=revision)

    def hear(self, member: Member, data: str | bytes) -> None:
        """Do what a member says; whatever it is, it ends nothing."""
        try:
            message = parse(data)
            if message.get("type") == "name":
                self._name(member, message)
            elif message.get("type") == "message":
                self._message(member, message)
            else:
                raise Mistake("message", "There is no message of that type.")
        except Mistake as mistake:
            tell(member, type="error", code=mistake.code, text=str(mistake))

    def _name(self, member: Member, message: dict[str, object]) -> None:
        name = read_name(message.get("name"))
        key = read_key(message.get("key", ""))
        former = None
        with self._lock:
            if member in self._people:
                raise Mistake("name", "You have a name already.")
            if fold(name) in self._by_name:
                former = self._by_name[fold(name)]
                if former is None or not same_key(self._people[former].key, key):
                    raise Mistake("name", f"{name} is taken. Please choose another.")
                # The same page, which lost its connection before we noticed.
                del self._people[former]
            else:
                self._revision += 1
            self._people[member] = Person(name, key)
            self._by_name[fold(name)] = member
            revision = self._revision
            names = self._names()
        tell(member, type="welcome", name=name, people=names, revision=revision)
        if former is None:
            self._tell_all(type="joined", name=name, revision=revision)
        else:
            former.close(TAKEN_OVER, "your name was taken over by your other window")

    def _message(self, member: Member, message: dict[str, object]) -> None:
        text = read_text(message.get("text"))
        to = message.get("to")
        with self._lock:
            person = self._people.get(member)
            if person is None:
                raise Mistake("name", "Please choose a name first.")
            name = person.name
            if to is None:
                other = None
            else:
                if not isinstance(to, str) or fold(to) not in self._by_name:
                    raise Mistake("to", "Nobody of that name is here.")
                other = self._by_name[fold(to)]
                to = BOT if other is None else self._people[other].name
        if to is None:
            self._tell_all(type="message", **{"from": name}, text=text)
            self._tell_all(type="message", **{"from": BOT}, text=self._reply(text))
            return
        tell(member, type="message", **{"from": name}, to=to, text=text)
        if other is None:
            reply = self._reply(text)
            tell(member, type="message", **{"from": BOT}, to=name, text=reply)
        elif other is not member:
            tell(other, type="message", **{"from": name}, to=to, text=text)

    def _reply(self, text: str) -> str:
        try:
            return self._answer(text)[:MAX_TEXT]
        except Exception:
            # The bot is made to be changed; a slip in it must not throw out
            # the person who spoke to it.
            logger.exception("the bot failed")
            return "I'm lost for words."

    def _names(self) -> list[str]:
        """Names of all who are here; needs the lock."""
        assert self._lock.locked()
        return [BOT, *(person.name for person in self._people.values())]

    def _tell_all(self, **message: object) -> None:
        with self._lock:
            members = list(self._people)
        self._broadcast(json.dumps(message), members)


def tell(member: Member, **message: object) -> None:
    """Send a message to one member, unless it is gone."""
    # Its own callback is on the way, and does what is to be done.
    with contextlib.suppress(OSError):
        member.send(json.dumps(message))


def parse(data: str | bytes) -> dict[str, object]:
    """Object that the JSON text ``data`` stands for."""
    if isinstance(data, bytes):
        raise Mistake("message", "Please send text.")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        raise Mistake("message", "That isn't JSON.") from None
    if not isinstance(message, dict):
        raise Mistake("message", "That isn't a JSON object.")
    return message


def read_name(value: object) -> str:
    """Name that a person asks for, with single spaces."""
    name = " ".join(value.split()) if isinstance(value, str) else ""
    if not name:
        raise Mistake("name", "Please choose a name.")
    if len(name) > MAX_NAME:
        raise Mistake("name", f"A name has at most {MAX_NAME} characters.")
    shown = JOINED.sub(take_joiner, name)
    if any(is_unseen(character) for character in shown):
        raise Mistake("name", "A name has no invisible characters.")
    if all(unicodedata.category(character)[0] in "MZ" for character in shown):
        raise Mistake("name", "A name needs a letter, a digit or a symbol.")
    return name


def is_unseen(character: str) -> bool:
    """Whether a character doesn't show, or changes how others do."""
    return unicodedata.category(character) in UNSEEN or bool(BLANK.match(character))


def take_joiner(pair: re.Match[str]) -> str:
    """Character before a joiner, without the joiner if it has a use there."""
    fits = unicodedata.category(pair[1]) in BEFORE_JOINERS
    return pair[1] if fits else pair[0]


def read_key(value: object) -> str:
    """Key that lets a page take its own name over; empty if it has none."""
    if not isinstance(value, str) or len(value) > MAX_KEY:
        raise Mistake("name", f"A key is a text of at most {MAX_KEY} characters.")
    return value


def read_text(value: object) -> str:
    """Text of a message, without control characters but tab and line feed."""
    text = value.strip() if isinstance(value, str) else ""
    if len(text) > MAX_TEXT:
        raise Mistake("text", f"A message has at most {MAX_TEXT} characters.")
    text = "".join(c for c in text if c in "\t\n" or unicodedata.category(c) != "Cc")
    if all(character.isspace() or is_unseen(character) for character in text):
        raise Mistake("text", "There is nothing in that message.")
    return text


def fold(name: str) -> str:
    """What two names have in common that look or sound the same.

    Letters of different scripts that look alike stay different.
    """
    folded = unicodedata.normalize("NFKC", SHAPING.sub("", name)).casefold()
    # Letters and marks that casefold() took apart, or left apart, come together.
    return unicodedata.normalize("NFKC", folded)


def same_key(one: str, other: str) -> bool:
    """Whether two keys are the same one; no key is nobody's key."""
    # Surrogates can't be encoded otherwise, and JSON may hold them.
    keys = [key.encode(errors="surrogatepass") for key in (one, other)]
    return bool(one) and hmac.compare_digest(*keys)
