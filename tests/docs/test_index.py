"""The index of docs/: it names every page once, and the README leads to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import ROOT

DOCS = ROOT / "docs"
INDEX = DOCS / "index.md"
LINK = re.compile(r"\]\(([^)#]+)\)")


def test_the_index_names_every_page_once() -> None:
    named = [link for link in LINK.findall(INDEX.read_text()) if not link.startswith("../")]
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page != INDEX]
    assert sorted(named) == sorted(pages)


def test_each_entry_of_the_index_is_a_link_and_one_line_about_it() -> None:
    entries = [line for line in INDEX.read_text().splitlines() if line.startswith("- ")]
    assert [entry for entry in entries if not re.fullmatch(r"- \[.+?\]\(.+?\): .+\.", entry)] == []


def test_its_links_to_other_folders_lead_somewhere() -> None:
    links = [link for link in LINK.findall(INDEX.read_text()) if link.startswith("../")]
    assert links
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_the_readme_leads_to_the_index_and_to_pages_that_there_are() -> None:
    links = LINK.findall((ROOT / "README.md").read_text())
    assert "docs/index.md" in links
    assert [link for link in links if link.startswith("docs/") and not (ROOT / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors that the headings of a page get on a public host."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_into_a_page_leads_to_a_heading_of_it(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())
    pages = [(page.parent / other if other else page, at) for other, at in links]
    assert [(other.name, at) for other, at in pages if at not in anchors(other)] == []
