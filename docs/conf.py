"""Sphinx configuration of the documentation site; `make docs` builds it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]

project = "zapcore"
author = "the zapcore authors"
release = version = _PROJECT["version"]
language = "en-GB"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docs._extensions.zapcore_sphinx",
]
exclude_patterns = ["results", "_extensions"]
suppress_warnings = ["ref.python"]  # a plain name in a signature that two classes have

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# Docstrings are in the NumPy manner; components list their ports under "Members".
napoleon_google_docstring = False
napoleon_custom_sections = [("Members", "params_style")]
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
default_role = "code"
add_module_names = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"zapcore {release}"
html_static_path = ["_static"]
html_css_files = ["zapcore.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {"sidebar_hide_name": False}
pygments_style = "friendly"
pygments_dark_style = "monokai"
