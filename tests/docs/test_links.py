"""Links, pictures and names in the documentation lead to something that exists."""

import importlib
import re
import xml.etree.ElementTree as ET

import pytest

from tests.docs.pages import PAGES, ROOT, Page, page

_PACKAGES = ("golden", "quant", "compiler", "hw", "tb", "bench", "examples", "tests")
_PICTURES = ROOT / "docs/pictures"
_HISTORY = "CHANGELOG.md"
"""May name what is no longer there."""
_PATH = re.compile(rf"(?:{'|'.join(_PACKAGES)}|docs|\.github)(?:/[\w.*-]+)+/?")
_MODULE = re.compile(rf"(?:{'|'.join(_PACKAGES)})(?:\.\w+)+")
_FILE_ENDINGS = ("py", "md", "json", "txt", "toml", "lpf", "v", "sh", "cff")
_ADDRESSES = ("https://arxiv.org/",)
"""What the repository's texts may refer to outside of it."""

every_page = pytest.mark.parametrize("one", PAGES, ids=repr)


@every_page
def test_links_lead_somewhere(one: Page) -> None:
    for link in one.links:
        if "://" in link:
            assert link.startswith(_ADDRESSES), link
            continue
        path, _, anchor = link.partition("#")
        target = (one.file.parent / path).resolve() if path else one.file
        # Pages that only include one of the root have its headings.
        assert target.exists(), link
        if anchor:
            assert anchor in page(target.relative_to(ROOT).as_posix()).anchors, link


@every_page
def test_files_that_are_named_exist(one: Page) -> None:
    if one.name == _HISTORY:
        return
    for code in one.code:
        for word in code.split():
            if _PATH.fullmatch(word):
                assert list(ROOT.glob(word.rstrip("/"))), word


@every_page
def test_modules_and_objects_that_are_named_exist(one: Page) -> None:
    if one.name == _HISTORY:
        return
    for code in one.code:
        for word in code.split():
            if _MODULE.fullmatch(word) and word.rpartition(".")[2] not in _FILE_ENDINGS:
                _resolve(word)


@every_page
def test_targets_that_are_named_exist(one: Page) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for code in one.code:
        named = re.match(r"make ([a-z][a-z-]*)", code)
        assert not named or named[1] in targets, code


@pytest.mark.parametrize("name", [file.name for file in sorted(_PICTURES.glob("*.svg"))])
def test_pictures_are_well_formed_and_say_what_they_show(name: str) -> None:
    root = ET.parse(_PICTURES / name).getroot()
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text
    assert root.get("viewBox")


def _resolve(name: str) -> None:
    """Import the longest part of a dotted name that is a module, and look the rest up."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return
    raise AssertionError(f"nothing is called {name}")
