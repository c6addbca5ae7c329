"""Import paths in README.md and docs/: each name of ours that a page has can be imported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from django.utils.module_loading import import_string

from tests.support import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMPORT = re.compile(r"from (django_letsgo_worker[\w.]*) import (\([^)]*\)|[^\n`]+)")
DOTTED = re.compile(r"(?<![\w/.-])django_letsgo_worker(?:\.\w+)+")


def paths_in(text: str) -> Iterator[str]:
    for module, names in IMPORT.findall(text):
        without_remarks = re.sub(r"#.*", "", names)
        yield from (f"{module}.{name}" for name in re.findall(r"(\w+)(?: as \w+)?", without_remarks))
    yield from DOTTED.findall(text)


def what_is_at(path: str) -> object:
    try:
        return import_module(path)
    except ModuleNotFoundError:
        return import_string(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: Path(page).relative_to(ROOT).as_posix())
def test_each_path_on_a_page_can_be_imported(page):
    for path in sorted(set(paths_in(page.read_text()))):
        assert what_is_at(path) is not None, path


def test_paths_are_found_in_code_and_in_prose():
    text = (
        "from django_letsgo_worker.x import (\n    a,  # one\n    b as c,\n)\nor `django_letsgo_worker.y.z`"
    )
    assert list(paths_in(text)) == [
        "django_letsgo_worker.x.a",
        "django_letsgo_worker.x.b",
        "django_letsgo_worker.x",
        "django_letsgo_worker.y.z",
    ]


def test_a_path_that_is_not_there_is_an_error():
    with pytest.raises(ImportError):
        what_is_at("django_letsgo_worker.messages.dequeue")
