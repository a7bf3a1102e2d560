"""Sphinx configuration: Markdown pages and the public API."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import monograph

project = "vlb"
author = "The vlb developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "cyclopts.ext.sphinx"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "figures"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
smartquotes = False  # --out is two hyphens
html_theme = "furo"
html_title = "vlb"
pygments_dark_style = "monokai"  # the theme's own underlines names of modules as if they were links
# Vendored by `make docs`, so that the pages need no network.
html_static_path = ["_static", "site.css"]
html_css_files = ["site.css"]
mathjax_path = "mathjax/tex-svg.js"


def verbatim(app, what, name, obj, options, lines):
    """Our docstrings are plain text with Unicode mathematics, not reStructuredText: show them as they are."""
    lines[:] = ["::", "", *("   " + line for line in lines), ""]


def setup(app):
    """Called by Sphinx."""
    monograph.write()
    app.connect("autodoc-process-docstring", verbatim)
