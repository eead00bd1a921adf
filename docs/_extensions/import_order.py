"""The storeys of the package and the order of its modules, as the test of both says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

LAYERS = Path(__file__).parents[2] / "tests" / "test_layers.py"
WIDTH = 66
DIAGRAM_OF = {
    "application": "pages and servers",
    "shells": "sockets, threads, clocks",
    "core": "bytes and events",
}


def storeys() -> dict[str, list[str]]:
    """Modules of each storey, lowest first."""
    for node in ast.parse(LAYERS.read_text()).body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id == "STOREYS"
            and node.value is not None
        ):
            found: dict[str, list[str]] = ast.literal_eval(node.value)
            return found
    raise LookupError(f"no STOREYS in {LAYERS}")


def wrapped(modules: list[str]) -> list[str]:
    """Names in lines of a limited width."""
    lines = [""]
    for name in modules:
        if len(lines[-1]) + len(name) + 1 > WIDTH - 4:
            lines.append("")
        lines[-1] += f"{name} "
    return lines


def diagram() -> str:
    """Draw the storeys, the highest on top."""
    drawn = []
    for storey, modules in reversed(storeys().items()):
        head = f" {storey}: {DIAGRAM_OF[storey]} "
        drawn.append(f"┌─{head:─<{WIDTH - 3}}┐")
        drawn += [f"│ {line:<{WIDTH - 3}}│" for line in wrapped(modules)]
        drawn.append(f"└{'─' * (WIDTH - 2)}┘")
        drawn.append(f"{'│ imports':^{WIDTH}}".rstrip())
        drawn.append(f"{'▼        ':^{WIDTH}}".rstrip())
    return "\n".join(drawn[:-2])


class ImportOrder(SphinxDirective):
    """The diagram."""

    def run(self) -> list[nodes.Node]:
        """Make it."""
        self.env.note_dependency(str(LAYERS))
        text = diagram()
        return [nodes.literal_block(text, text, language="none")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("import-order", ImportOrder)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
