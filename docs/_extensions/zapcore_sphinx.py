"""Two directives for the site: tables generated from code, and the modules of a package.

`generated NAME` puts in a text of `reference_text.GENERATED`; `api PACKAGE` documents every module
of a package that has an `__all__`.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from docs._extensions import reference_text

_BULLET = re.compile(r" *[*-] ")
_SECTION = re.compile(r"^(Parameters|Members|Returns|Raises|Yields|Notes)$")


class Generated(SphinxDirective):
    """Put in a text that is written from the code."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # the text follows the code, not this page
        text = reference_text.GENERATED[self.arguments[0]]()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Api(SphinxDirective):
    """Document the modules of a package."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        parts = [
            f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```"
            for module in reference_text.modules(self.arguments[0])
        ]
        return self.parse_text_to_nodes("\n\n".join(parts), allow_section_headings=True)


def plain_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn a docstring into reStructuredText that means the same.

    Docstrings here are plain text with code between single backticks, and with diagrams and
    examples indented. Stars, bars and trailing underscores have no meaning in them.
    """
    result: list[str] = []
    in_section = False
    literal = False
    for index, line in enumerate(lines):
        after = lines[index + 1] if index + 1 < len(lines) else ""
        if _SECTION.match(line) and set(after) == {"-"}:
            in_section = True
        indented = line.startswith("    ")
        if indented and not in_section and not literal and result and not result[-1].strip():
            result += ["::", ""]
            literal = True
        elif line.strip() and not indented:
            literal = False
        result.append(line if literal or set(line) == {"-"} else _plain(line))
    lines[:] = result


def _plain(line: str) -> str:
    bullet = _BULLET.match(line)
    start = bullet[0] if bullet else ""
    pieces = line.removeprefix(start).split("`")
    for index in range(0, len(pieces), 2):
        pieces[index] = re.sub(r"([*|\\]|_(?!\w))", r"\\\1", pieces[index])
    return start + ("``" if len(pieces) % 2 else "`").join(pieces)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("generated", Generated)
    app.add_directive("api", Api)
    app.connect("autodoc-process-docstring", plain_docstring, priority=100)
    return {"parallel_read_safe": True}
