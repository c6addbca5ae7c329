"""The how-to pages: each snippet is run or checked by the rules of the other pages, and so are the pages."""

from __future__ import annotations

import pytest

from tests.docs.test_snippets import RULES, Snippet, snippets_of
from tests.docs.test_snippets import TestThePages as Pages
from tests.support import ROOT

PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
SNIPPETS = [snippet for page in PAGES for snippet in snippets_of(page)]
CHECKS = [
    Pages.test_its_links_lead_somewhere,
    Pages.test_it_asks_one_question_and_ends_with_what_can_go_wrong,
    Pages.test_exactly_once_is_said_of_one_database_only,
    Pages.test_it_uses_the_words_of_the_project,
]


def test_there_is_a_how_to_for_each_page_of_letsgo():
    assert {page.stem for page in PAGES} >= {
        "call-apis",
        "develop-the-worker",
        "enqueue-work",
        "schedule-work",
        "send-slack-notifications",
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_a_snippet_does_what_it_shows(snippet: Snippet, own_registry: None):
    assert snippet.language in RULES, f"No rule covers a snippet of {snippet.language!r}."
    RULES[snippet.language](snippet.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_page_keeps_the_rules_of_pages(page, check):
    check(None, page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_snippet_of_a_page_is_overlooked(page):
    lines = [line for line in page.read_text().splitlines() if line.lstrip(" >").startswith(("```", "~~~"))]
    assert len(lines) == 2 * len(list(snippets_of(page)))
