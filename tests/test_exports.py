"""The public names: one list in the package, the same list in the reference."""

from __future__ import annotations

import builtins
import inspect
import re
import subprocess
import sys
import threading
import types
from collections.abc import Iterator, Mapping

import pytest

import websock

from .tools import ROOT

REFERENCE = ROOT / "docs" / "reference"
DIRECTIVE = re.compile(
    r"^\s*(?:\.\.|```\{|:::\{)\s*"
    r"(?P<kind>(?:py:)?(?:currentmodule|module|auto\w+|autosummary))"
    r"(?:::|\})\s*(?P<name>[\w.]*)",
)


def documented(text: str) -> Iterator[str]:
    """Find full names of what a page documents by directives of autodoc."""
    module = ""
    for line in text.splitlines():
        if not (match := DIRECTIVE.match(line)):
            continue
        kind, name = match["kind"].removeprefix("py:"), match["name"]
        if kind in {"currentmodule", "module", "automodule"}:
            module = name
        elif kind != "autosummary":
            yield name if name.startswith("websock.") else f"{module}.{name}"


def test_reference_has_every_public_name_and_no_other() -> None:
    """What is public is documented; what is documented as public is exported."""
    names = {
        name.split(".")[1]
        for page in [*REFERENCE.rglob("*.rst"), *REFERENCE.rglob("*.md")]
        for name in documented(page.read_text())
        if name.startswith("websock.")
        # websock.Client.send belongs to Client; websock.protocol.Protocol to nobody.
        and not isinstance(getattr(websock, name.split(".")[1], None), types.ModuleType)
    }

    assert names == set(websock.__all__)


@pytest.mark.parametrize("owner", ["Client", "Clients"])
def test_reference_has_every_public_part_and_no_other(owner: str) -> None:
    """What callbacks get has no names that only the server may use."""
    page = (REFERENCE / "client.rst").read_text()
    parts = [name.split(".")[2:] for name in documented(page) if f".{owner}." in name]

    names = {name for name in dir(getattr(websock, owner)) if name[0] != "_"}
    # What every mapping has is in Python's documentation.
    names -= set(dir(Mapping)) - set(vars(getattr(websock, owner)))
    assert {part for (part,) in parts} == names


def test_reference_has_every_part_of_a_client() -> None:
    """Its page lists them one by one, in an order of its own."""
    page = (REFERENCE / "client.rst").read_text()
    listed = re.findall(r":: Client\.(\w+)$", page, re.MULTILINE)

    assert sorted(listed) == [
        name for name in dir(websock.Client) if not name.startswith("_")
    ]


def test_reference_has_every_part_of_a_server() -> None:
    """Callbacks are told of together, where its arguments are."""
    page = (REFERENCE / "server.rst").read_text()
    listed = re.findall(r":: (?:WebSocketServer\.)?(\w+)$", page, re.MULTILINE)
    with websock.WebSocketServer("127.0.0.1", 0) as server:
        parts = [name for name in dir(server) if name[0] != "_" and name[:3] != "on_"]

    assert sorted({*listed} - {"websock", "WebSocketServer"}) == parts


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (".. autoclass:: websock.Client\n   :members:", ["websock.Client"]),
        (".. currentmodule:: websock\n\n.. autofunction:: f", ["websock.f"]),
        (".. py:currentmodule:: websock\n.. autodata:: D", ["websock.D"]),
        ("```{autoclass} websock.Client\n```", ["websock.Client"]),
        (".. automodule:: websock\n.. autoexception:: E", ["websock.E"]),
        (".. toctree::\n\n   autoclass\n.. note:: autoclass", []),
    ],
)
def test_directives_are_seen(text: str, names: list[str]) -> None:
    """Each spelling of a directive is seen by the test above."""
    assert list(documented(text)) == names


def test_list_of_names_is_complete() -> None:
    """Nothing without an underscore is in the package and not in its list."""
    public = {
        name
        for name, value in vars(websock).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and value is not annotations
    }

    assert public <= set(websock.__all__)
    assert len(set(websock.__all__)) == len(websock.__all__)


@pytest.mark.parametrize("name", sorted(websock.__all__))
def test_public_name_is_documented(name: str) -> None:
    """A class or function has a docstring of its own, and so have its public parts."""
    value = getattr(websock, name)
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return

    assert value.__doc__
    assert [
        part
        for part, member in vars(value).items()
        if not part.startswith("_")
        and (inspect.isroutine(member) or isinstance(member, property))
        and not inspect.getdoc(member)
    ] == []


def test_star_import_shadows_nothing() -> None:
    """Programs import ``*`` next to that of threading, and go on to use builtins."""
    assert set(websock.__all__) & {*dir(builtins), *threading.__all__} == set()


@pytest.mark.parametrize(
    "program",
    [
        "from websock.WebSocketServer import WebSocketServer as old\n"
        "from websock import WebSocketServer as new",
        "from websock import WebSocketServer as new\n"
        "from websock.WebSocketServer import WebSocketServer as old",
        "import websock.WebSocketServer\n"
        "from websock.WebSocketServer import WebSocketServer as old\n"
        "new = websock.WebSocketServer",
        "from websock import *\n"
        "new = WebSocketServer\n"
        "from websock.WebSocketServer import WebSocketServer as old",
    ],
)
def test_both_import_paths_give_one_class(program: str) -> None:
    """The path that 1.0.4 documents has the class, and never hides it."""
    program += "\nassert isinstance(new, type), new\nassert old is new, (old, new)\n"

    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=ROOT)
