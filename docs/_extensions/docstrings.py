"""Docstrings as the reference needs them."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

VALUES = {"websock.SAME_HOST": "websock.origins"}
"""Values that are documented where they are made."""

ALIASES = {
    "websock.FrameType",
    "websock.WebSocketInvalidDataFrame",
    "websock.WebSocketInvalidHandshake",
}
"""Second names of classes; the pages say so."""

hidden: dict[str, list[str]] = {}
"""Docstrings that Napoleon must not see."""


def inherit(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Show what a value has after it in its module."""
    if name in ALIASES:
        lines.clear()
    if name in VALUES:
        analyzer = ModuleAnalyzer.for_module(VALUES[name])
        lines[:] = analyzer.find_attr_docs()["", name.rpartition(".")[2]]


def hide(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Keep Napoleon from taking a sentence with a colon for type and description."""
    if what in ("attribute", "data", "property") and lines and ": " in lines[0]:
        hidden[name] = lines[:]
        lines.clear()


def show(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Put back what was hidden."""
    if name in hidden:
        lines[:] = hidden.pop(name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    # Before and after Napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", inherit, priority=300)
    app.connect("autodoc-process-docstring", hide, priority=400)
    app.connect("autodoc-process-docstring", show, priority=600)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
