"""What the explanations and the glossary take from elsewhere is still said there."""

from __future__ import annotations

import re

import pytest

from django_letsgo_worker.models import ArchivedMessage
from tests.docs.test_snippets import LIVE_STATES
from tests.support import ROOT

DOCS = ROOT / "docs"
GLOSSARY = (DOCS / "glossary.md").read_text()
WORDS = {
    word
    for entry in re.findall(r"^- (\*\*.+?): ", GLOSSARY, re.MULTILINE)
    for word in entry.strip("*").split("**, **")
}


def section(page: str, heading: str) -> str:
    """Return the text below a heading of a page, up to the next one."""
    (text,) = re.findall(
        rf"^## {heading}\n(.+?)(?=^## |\Z)", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL
    )
    return text


@pytest.mark.parametrize("heading", ["At rest", "Where one PostgreSQL ends, and what then"])
def test_figures_of_speed_are_those_of_the_benchmarks(heading: str) -> None:
    measured = re.findall(r"(?<![\d.])\d[\d,.]*\d", (DOCS / "explanation" / "benchmarks.md").read_text())
    figures = re.findall(r"\b\d{1,3},\d{3}\b|\b\d+\.\d+ s", section("explanation/sizing.md", heading))
    assert figures
    assert [figure for figure in figures if figure.removesuffix(" s") not in measured] == []


def test_each_entry_of_the_glossary_is_one_word_or_two_and_what_they_mean() -> None:
    entries = re.split(r"^- ", GLOSSARY, flags=re.MULTILINE)[1:]
    said = [" ".join(entry.partition("\n## ")[0].split()) for entry in entries]
    assert [entry for entry in said if not re.fullmatch(r"\*\*.+?\*\*(, \*\*.+?\*\*)*: .+", entry)] == []
    assert len(WORDS) >= len(said) > 80


def test_the_glossary_has_the_words_of_the_worker() -> None:
    table = section("contributing/architecture.md", "Words of the worker")
    words = re.findall(r"^\| ([a-z -]+) \|", table, re.MULTILINE)[1:]
    assert len(words) > 10
    assert [word for word in words if word not in WORDS] == []


def test_the_glossary_has_the_states_and_the_outcomes() -> None:
    text = " ".join(GLOSSARY.split())
    outcomes = [str(value) for value, _ in ArchivedMessage._meta.get_field("outcome").choices]
    assert [state for state in LIVE_STATES if f"{state}" not in text] == []
    assert f"how a message ended: {', '.join(outcomes[:-1])} or {outcomes[-1]}" in text
