"""The bot of the room: the one who always answers, so that nobody talks alone.

Change :func:`answer` to make it yours. It is called in the thread of the person
who wrote, so it may take its time (ask a database, or a model): nobody else waits.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

__all__ = ["answer"]

RULES: Final[Sequence[tuple[str, Sequence[str]]]] = (
    (
        r"\b(hello|hi|hey|hallo|hola|salut|ciao)\b",
        ("Hello! Good to see you.", "Hi there! What's new?", "Hey! Welcome."),
    ),
    (
        r"\b(who|what) are you\b|\byour name\b|\ba (ro)?bot\b",
        (
            "I'm the bot of this room: one Python function in bot.py.",
            "Just a few rules in bot.py. Do change them!",
        ),
    ),
    (
        r"\bhelp\b|\bhow do i\b",
        (
            "Write and press Enter. For a private message, pick a name in the "
            "list, or write @name before your text.",
        ),
    ),
    (r"\b(time|clock)\b", ("My clock says {time}.",)),
    (
        r"\bjoke\b",
        (
            "A WebSocket walks into a bar, and stays.",
            "I'd tell you a joke about UDP, but you might not get it.",
            "There are two hard things: naming, caching, and off-by-one errors.",
        ),
    ),
    (
        r"\b(async|await|threads?|websockets?|python)\b",
        (
            "Every one of you has a thread here, so my author could write me "
            "in plain, blocking Python.",
            "No async in this room: just functions that are called.",
        ),
    ),
    (r"\b(thanks|thank you|danke|merci|gracias)\b", ("You're welcome!", "Any time.")),
    (
        r"\b(bye|goodbye|ciao|see you)\b",
        ("Goodbye! I'll keep the lights on.", "See you soon!"),
    ),
    (
        r"\?\s*$",
        (
            "Good question. What would you say?",
            "I wish I knew. Anybody else?",
            "Perhaps. Tell me why you ask.",
        ),
    ),
)

OTHERWISE: Final = (
    "Tell me more.",
    "I see. And then?",
    "Interesting! How did that come about?",
    "Mm-hm. I'm listening.",
    "Well said.",
)


def answer(text: str) -> str:
    """Something to say to ``text``; never nothing."""
    for pattern, fitting in RULES:
        if re.search(pattern, text, re.IGNORECASE):
            replies = fitting
            break
    else:
        replies = OTHERWISE
    reply = random.choice(replies)
    return reply.format(time=datetime.now().strftime("%H:%M"))
