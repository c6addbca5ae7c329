"""The site of the documentation: what it makes of plain Markdown, and what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from tests.support import ROOT

pytest.importorskip("myst_parser")
pytest.importorskip("furo")

DOCS = ROOT / "docs"
INDEX = "# Docs\n\n## Use\n\n- [A page](page.md): about it.\n"


@pytest.fixture(scope="module")
def ours():
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield import_module("plain_markdown")
    finally:
        sys.path.remove(str(DOCS / "_ext"))


@pytest.fixture
def build(tmp_path):
    """Build a site of two pages with the settings of ours, and return the page's HTML, and what was said."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Readme\n")

    def build(page: str, **files: str) -> tuple[str, str]:
        for name, text in {"index": INDEX, "page": page, **files}.items():
            (tmp_path / "docs" / f"{name}.md").write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-c", str(DOCS),
             str(tmp_path / "docs"), str(tmp_path / "site")],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode == 0) == (not done.stderr), done
        return (tmp_path / "site" / "page.html").read_text(), done.stderr

    return build


def test_a_page_of_plain_markdown_is_built(build):
    links = "[Itself](#below), [readme](../README.md)."
    html, said = build(f"# A page\n\n{links}\n\n## Below\n\n```python settings\nA = 1\n```\n")
    assert said == ""
    assert 'href="#below"' in html and 'id="below"' in html
    assert re.search(r'href="https://github.com/[\w-]+/django-letsgo-worker/blob/main/README.md"', html)
    # The sidebar is made of the index.
    assert re.search(r'<span class="caption-text">Use</span>.*?>A page</a>', html, re.DOTALL)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a](nowhere.md)", "nowhere.md"),
        ("[a](index.md#nowhere)", "nowhere"),
        ("[a](#nowhere)", "nowhere"),
        ("[a](../NOTHING.md)", "leads nowhere"),
        ("![a](images/nothing.webp)", "nothing.webp"),
        ("[a](http://example.com/)", "no address"),
        ("[a](https://example/)", "no address"),
        ("```nolanguage\na\n```", "nolanguage"),
    ],
)
def test_what_leads_nowhere_is_refused(build, text, words):
    _html, said = build(f"# A page\n\n{text}\n")
    assert words in said


def test_a_page_that_the_index_lacks_is_refused(build):
    _html, said = build("# A page\n", forgotten="# Forgotten\n")
    assert "forgotten" in said


def test_the_index_of_our_pages_becomes_the_sidebar(ours):
    sections = ours.SECTION.findall((DOCS / "index.md").read_text())
    assert len(sections) == (DOCS / "index.md").read_text().count("\n## ")
    links = [link for _caption, entries in sections for _title, link in ours.ENTRY.findall(entries)]
    assert len(links) == len(set(links)) > 20


def test_a_picture_for_light_and_dark_is_one_of_markdown(ours):
    element = (
        '<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="images/a-dark.webp">\n'
        '  <img alt="The overview" src="images/a-light.webp">\n</picture>'
    )
    assert ours.PICTURE.sub(ours.picture, f"before\n{element}\nafter") == (
        "before\n![The overview](images/a-light.webp)\nafter"
    )


def test_a_link_within_the_pages_stays_and_one_out_of_them_goes_to_the_repository(ours):
    app = SimpleNamespace(srcdir=DOCS, config=SimpleNamespace(repository="https://github.com/o/r"))

    assert ours.leading_out(app, "howto/operating", "../reference/api.md") == "../reference/api.md"
    assert ours.leading_out(app, "index", "../README.md") == "https://github.com/o/r/blob/main/README.md"
    assert ours.leading_out(app, "howto/a", "../../deploy") == "https://github.com/o/r/tree/main/deploy"


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("https://docs.djangoproject.com/en/5.2/", True),
        ("https://example.com:8000/", False),
        ("http://example.com/", False),
        ("http://127.0.0.1:8000/admin/", True),
        ("https://", False),
        ("https://[::1/", False),
    ],
)
def test_an_address_is_one_that_can_be_followed(ours, address, is_one):
    assert ours.is_well_formed(address) is is_one


def test_a_diagram_has_each_state_once_and_an_arrow_for_each_way(ours):
    svg = ours.drawn(["stateDiagram-v2", "    [*] --> ready: enqueue", "    ready --> dead: <lost>"])
    assert re.findall(r"<text[^>]*>([^<]+)</text>", svg) == ["ready", "dead", "enqueue", "&lt;lost&gt;"]
    assert svg.count('class="tip"') == 2


def test_nothing_is_fetched_from_elsewhere_while_a_page_is_read(build):
    html, _said = build("# A page\n")
    assert re.findall(r'(?:src|href)="(?:https?:)?//[^"]+\.(?:js|css)[^"]*"', html) == []
