"""The table of a server's options, made from the fields of :class:`websock.Settings`.

``.. options::`` writes it, ``:opt:`name``` links to a row.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from websock import Settings


def as_literals(text: str) -> str:
    """Mark code in a sentence that is plain text but for backticks."""
    text = re.sub(r"`([^`]+)`", r"``\1``", text)
    return re.sub(r"(?<![`\w])(None|[a-z_.]+\(\))(?![`\w])", r"``\1``", text)


def show_default(value: object, unit: str) -> str:
    """Write a default as people do."""
    if isinstance(value, int) and value >= 2**20 and unit == "bytes":
        return f"{value // 2**20} MiB (``2**{value.bit_length() - 1}`` bytes)"
    if isinstance(value, float):
        return f"``{value:g}`` {unit}"
    return f"``{value!r}`` {unit if value is not None else ''}".rstrip()


def rows() -> Iterator[str]:
    """Write the table in the source of a page, row by row."""
    for field in dataclasses.fields(Settings):
        told = field.metadata
        default = show_default(field.default, told["unit"])
        yield f"   * - .. option-entry:: {field.name}"
        yield ""
        yield f"       ``{field.name}``"
        yield f"     - {default}"
        unit = told["unit"] if field.default is None else ""
        yield f"     - {as_literals(told['doc'])}{unit and f' Unit: {unit}.'}"
        yield ""
        yield f"       *{as_literals(told['reason']).replace('``', '')}*"


class OptionTable(SphinxDirective):
    """One row for each option."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        lines = [
            ".. list-table::",
            "   :header-rows: 1",
            "   :widths: 20 18 62",
            "",
            "   * - Option",
            "     - Default",
            "     - What it means, *and why this default*",
            *rows(),
        ]
        self.env.note_dependency(__file__)
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, source="Settings"), 0, parent)
        return parent.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_crossref_type("option-entry", "opt", "option; %s")
    app.add_directive("options", OptionTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
