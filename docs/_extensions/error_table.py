"""The table of errors of the opening handshake, made from their classes."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from websock import HandshakeError, exceptions


def errors() -> list[type[HandshakeError]]:
    """Classes of errors, by status."""
    found = [
        value
        for value in vars(exceptions).values()
        if isinstance(value, type)
        and issubclass(value, HandshakeError)
        and value is not HandshakeError
    ]
    return sorted(found, key=lambda error: (error.status, error.__name__))


class ErrorTable(SphinxDirective):
    """One row for each class."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        lines = [
            ".. list-table::",
            "   :header-rows: 1",
            "   :widths: 15 35 50",
            "",
            "   * - Status",
            "     - Exception",
            "     - Header fields",
        ]
        for error in errors():
            fields = ", ".join(f"``{n}: {v}``" for n, v in error.default_headers)
            lines += [
                f"   * - {error.status}",
                f"     - :exc:`~websock.exceptions.{error.__name__}`",
                f"     - {fields or '–'}",
            ]
        self.env.note_dependency(__file__)
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, source="exceptions"), 0, parent)
        return parent.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("handshake-errors", ErrorTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
