"""Command line and ready line, the same for all server programs.

``program --port=N --work=echo|json|broadcast|wait --compression=none|deflate`` listens
on the loopback interface, prints one line of JSON when it does, and serves until it is
killed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence

__all__ = ["BACKLOG", "WAIT", "parse", "ready", "rewrite"]

WAIT = 0.005
"""How long a callback waits in ``--work=wait``, in seconds."""

BACKLOG = 1024
"""How many connections may wait to be accepted."""


def parse() -> argparse.Namespace:
    """Read the command line: ``port``, ``work``, and ``compression``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    works = ["echo", "json", "broadcast", "wait"]
    parser.add_argument("--work", choices=works, default="echo")
    parser.add_argument("--compression", choices=["none", "deflate"], default="none")
    return parser.parse_args()


def rewrite(data: str | bytes) -> str:
    """Return what ``--work=json`` answers: the document, parsed and written anew."""
    return json.dumps(json.loads(data))


def ready(port: int, name: str, version: str, notes: Sequence[str] = ()) -> None:
    """Say that connections are accepted on ``port``."""
    line = {
        "ready": True,
        "port": port,
        "name": name,
        "version": version,
        "notes": [f"Python {platform.python_version()}", *notes],
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
