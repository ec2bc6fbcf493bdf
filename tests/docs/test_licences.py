"""The page of licences lists exactly what is pinned, and names what is under the GPL."""

from __future__ import annotations

import re

from docs.licences import page
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/reference/licences.md").read_text()


def rows(text: str) -> dict[str, list[str]]:
    lines = re.findall(r"^\| ([\w.-]+) \| (\S+) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    return {name: cells for name, *cells in lines if name != "package"}


def test_the_page_lists_what_is_pinned() -> None:
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    )
    assert {name: cells[0] for name, cells in rows(PAGE).items()} == pinned


def test_the_page_is_what_the_command_prints() -> None:
    """A package that is not installed here, as on another system, may say nothing."""
    committed = rows(PAGE)
    for name, (version, licence, _) in rows(page()).items():
        assert version == committed[name][0]
        assert licence in (committed[name][1], "not installed here")


def test_no_package_is_under_the_gpl_but_one_that_is_not_imported() -> None:
    assert [name for name, cells in rows(PAGE).items() if "GPL" in cells[1]] == ["scapy"]
    head = PAGE.partition("| package |")[0]
    assert "`scapy` (GPL-2.0-only; needed by cocotb-bus)" in head
    sources = [
        path
        for folder in ("golden", "quant", "compiler", "hw", "tb", "bench")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert not [path for path in sources if "scapy" in path.read_text()]
