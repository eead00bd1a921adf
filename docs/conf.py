"""Settings of the documentation; ``make docs`` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]

project = "websock"
copyright = "websock contributors"
version = release = "2.0"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "error_table",
    "import_order",
    "option_table",
    "python_library",
]
exclude_patterns = ["_build", "**/README.md"]
root_doc = "index"
default_role = None
primary_domain = "py"
highlight_language = "none"

# Parts of the inside, which docstrings and signatures name; the reference leaves
# them out.
nitpick_ignore = [
    ("py:class", "DeflateExtension"),
    ("py:class", "websock.extensions.base.Extension"),
    ("py:class", "websock.extensions.base.ServerExtensionFactory"),
    ("py:class", "websock.extensions.permessage_deflate.DeflateExtension"),
    ("py:class", "websock.writer.SharedMessage"),
    ("py:func", "serialize_response"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "websock"
html_copy_source = False
html_static_path: list[str] = []
