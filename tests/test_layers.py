"""The storeys of the package: who may import whom, and what nobody may.

The order of the modules is written down here, and is the order in which to read
them. A module imports only earlier ones; the reasons are in the explanation part of
the documentation.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import websock

PACKAGE: Final = Path(websock.__file__).parent

STOREYS: Final = {
    "core": [
        "closing",
        "exceptions",
        "lifecycle",
        "_masking",
        "frames",
        "extensions.base",
        "extensions.permessage_deflate",
        "extensions",
        "messages",
        "headers",
        "request",
        "handshake",
        "origins",
        "reader",
        "writer",
        "protocol",
    ],
    "shells": [
        "logs",
        "settings",
        "callbacks",
        "signals",
        "loop",
        "pool",
        "quota",
        "transport",
        "link",
        "inbox",
        "outbox",
        "keeper",
        "pings",
        "turns",
        "connection",
        "keepalive",
        "receiving",
        "clients",
        "opening",
        "session",
        "listeners",
        "early_stop",
        "intake",
        "serving",
        "server",
    ],
    "application": [
        "http",
        "WebSocketServer",
    ],
}
"""Modules of each storey, lowest first."""

# The door of the package: it only passes names on.
DOOR: Final = "__init__"
# The modules in C, and who alone may import them.
ACCELERATORS: Final = {"_speedups": "_masking", "_link": "link"}

ORDER: Final = [module for storey in STOREYS.values() for module in storey]
FORBIDDEN_IN_CORE: Final = {
    *("_socket", "socket", "socketserver", "ssl", "_ssl"),
    *("select", "selectors", "signal", "subprocess", "multiprocessing"),
    *("_thread", "threading", "concurrent", "queue", "asyncio"),
    *("time", "sched", "datetime"),
}
DRAWERS: Final = {"common", "helpers", "misc", "util", "utilities", "utils"}
MOST_LINES: Final = 700
FILLERS: Final = {
    *("and", "but", "every", "names", "nothing", "of", "other", "public", "the"),
}


def modules() -> dict[str, Path]:
    """Modules of the package: dotted names, without that of the package itself."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


MODULES: Final = modules()


def resolve(dotted: str) -> str:
    """Turn the path of an import into the module of ours that it names."""
    while dotted and dotted not in {*MODULES, *ORDER, *ACCELERATORS}:
        dotted = dotted.rpartition(".")[0]
    return dotted or DOOR


def imports(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Name what a module imports, wherever in it: in functions and for types, too.

    Yields:
        Absolute names; those of this package start with a full stop.

    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    head, _, rest = alias.name.partition(".")
                    yield f".{resolve(rest)}" if head == "websock" else alias.name
            case ast.ImportFrom(level=0, module=str(name), names=names):
                head, _, rest = name.partition(".")
                if head != "websock":
                    yield name
                    continue
                for alias in names:
                    yield f".{resolve(f'{rest}.{alias.name}'.lstrip('.'))}"
            case ast.ImportFrom(level=level, module=name, names=names):
                parts = [part for part in module.split(".") if part]
                up = level - 1 if is_package else level
                base = parts[: len(parts) - up]
                for alias in names:
                    full = [*base, *(name.split(".") if name else []), alias.name]
                    yield f".{resolve('.'.join(full))}"
            case ast.Call(func=ast.Name(id="__import__" | "import_module" as how)):
                yield how
            case ast.Call(func=ast.Attribute(attr="import_module" as how)):
                yield how


def imports_of(module: str) -> set[str]:
    """Name what a module of the package imports."""
    path = MODULES[module]
    name = "" if module == DOOR else module
    is_package = path.name == "__init__.py"
    return set(imports(path.read_text(), name, is_package=is_package))


def ours(names: set[str]) -> set[str]:
    """Of what is imported, the modules of this package."""
    return {name[1:] for name in names if name.startswith(".")}


def storey_of(module: str) -> str:
    """Name the storey in which a module stands."""
    return next(storey for storey, names in STOREYS.items() if module in names)


def test_every_module_has_a_place() -> None:
    """A new module is entered in the order above, and an old one leaves it."""
    assert set(MODULES) - {DOOR} == set(ORDER)


@pytest.mark.parametrize("module", sorted(set(MODULES) & set(ORDER)))
def test_module_imports_only_earlier_ones(module: str) -> None:
    """Imports point downwards; so there is no cycle, in types neither."""
    earlier = set(ORDER[: ORDER.index(module)])
    earlier.update(
        name for name, importer in ACCELERATORS.items() if importer == module
    )

    later = ours(imports_of(module)) - earlier

    # A package passes on the names of what is in it.
    assert {name for name in later if not name.startswith(f"{module}.")} == set()


@pytest.mark.parametrize("module", sorted(set(MODULES) & set(STOREYS["core"])))
def test_core_has_no_sockets_threads_or_clocks(module: str) -> None:
    """Bytes in, events and bytes out: nothing in the core can wait."""
    foreign = {name.partition(".")[0] for name in imports_of(module)}

    assert foreign & FORBIDDEN_IN_CORE == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_hides_behind_a_call(module: str) -> None:
    """What is imported by a computed name escapes every check of this module."""
    assert imports_of(module) & {"__import__", "import_module"} == set()


@pytest.mark.parametrize("module", sorted(set(MODULES) & set(ORDER)))
def test_head_says_where_the_module_stands(module: str) -> None:
    """The last paragraph of the head has the storey, and what may be imported."""
    docstring = ast.get_docstring(ast.parse(MODULES[module].read_text()))
    assert docstring is not None
    head = re.fullmatch(
        r"Layer: (\w+)\. May import: (.+)\.",
        " ".join(docstring.split("\n\n")[-1].split()),
    )
    assert head is not None, "no line 'Layer: <storey>. May import: <modules>.'"
    storey, allowed = head.groups()

    words = (
        set(re.findall(r"[\w.]+", re.sub(r"\bshell\b", "shells", allowed))) - FILLERS
    )
    named = set(words)
    for name in words & set(STOREYS):
        named.update(STOREYS[name])
    # "extensions" stands for the modules in it, too.
    named.update(name for name in ORDER if name.partition(".")[0] in words)

    assert storey == storey_of(module)
    assert ours(imports_of(module)) <= named
    known = {*ORDER, *STOREYS, *ACCELERATORS, "h11"}
    assert words <= known, "names what there is not"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_has_one_idea(module: str) -> None:
    """A drawer has no idea, and a file that long has several."""
    assert module.rpartition(".")[2] not in DRAWERS
    assert len(MODULES[module].read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    ("source", "module", "is_package", "expected"),
    [
        ("import websock.frames", "server", False, {".frames"}),
        ("from websock.frames import Frame", "server", False, {".frames"}),
        (
            "from websock import frames, Client",
            "server",
            False,
            {".frames", ".__init__"},
        ),
        ("from .frames import Frame", "server", False, {".frames"}),
        ("from . import frames", "server", False, {".frames"}),
        ("from . import Client", "server", False, {".__init__"}),
        ("from ..frames import Frame", "extensions.base", False, {".frames"}),
        ("from .base import Extension", "extensions", True, {".extensions.base"}),
        ("from .server import x", "", True, {".server"}),
        ("def f():\n    import ssl", "frames", False, {"ssl"}),
        ("if TYPE_CHECKING:\n    from .server import x", "frames", False, {".server"}),
        ("import os.path as p", "frames", False, {"os.path"}),
        ("importlib.import_module('ssl')", "frames", False, {"import_module"}),
        ("__import__('ssl')", "frames", False, {"__import__"}),
    ],
)
def test_imports_are_seen(
    source: str, module: str, is_package: bool, expected: set[str]
) -> None:
    """Each spelling of an import, in each place, is seen by the tests above."""
    assert set(imports(source, module, is_package=is_package)) == expected
