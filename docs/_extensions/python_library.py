"""Links to what is documented elsewhere, without asking the network.

A name that no page here documents is imported. If the standard library has it, the
link is made by the rule that its pages follow; if not, the warning stays.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

LIBRARY = "https://docs.python.org/3/library/"

ALIASES = {
    "HandshakeError": "websock.HandshakeError",
    "FrameType.BINARY": "websock.Opcode.BINARY",
    "FrameType.TEXT": "websock.Opcode.TEXT",
    "websock.closing.Close": "websock.Close",
    "websock.origins.SameHost": "websock.SAME_HOST",
    "websock.settings.Options": "websock.Settings",
}
"""Names that docstrings and signatures use, and what the reference calls them."""


def page_of_builtin(name: str) -> str:
    """Page that documents a name of :mod:`builtins`."""
    value = getattr(builtins, name)
    if value is None or isinstance(value, bool):
        return "constants"
    if isinstance(value, type) and issubclass(value, BaseException):
        return "exceptions"
    is_data = value in (str, bytes, bytearray, memoryview, dict, list, tuple, set)
    return (
        "stdtypes" if is_data or value in (int, float, bool, frozenset) else "functions"
    )


def find(target: str) -> str | None:
    """Address of the entry for a full name; :obj:`None` if there is no such name."""
    if hasattr(builtins, target):
        return f"{LIBRARY}{page_of_builtin(target)}.html#{target}"
    parts = target.split(".")
    for size in range(len(parts), 0, -1):
        module = ".".join(parts[:size])
        if parts[0] not in sys.stdlib_module_names:
            return None
        try:
            value: Any = importlib.import_module(module)
        except ImportError:
            continue
        try:
            for part in parts[size:]:
                value = getattr(value, part)
        except AttributeError:
            return None
        anchor = f"module-{module}" if size == len(parts) else target
        return f"{LIBRARY}{module}.html#{anchor}"
    return None


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Link what the reference or the standard library has under another name."""
    if node.get("refdomain") != "py":
        return None
    alias = ALIASES.get(node["reftarget"])
    if alias is not None:
        domain = env.domains.python_domain
        return domain.resolve_xref(
            env, node["refdoc"], app.builder, "obj", alias, node, content
        )
    address = find(node["reftarget"])
    if address is None:
        return None
    return nodes.reference("", "", content, refuri=address, internal=False)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("missing-reference", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
