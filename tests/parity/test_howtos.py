"""The how-to pages: those of LetsGo have a counterpart here, whose snippets tests/docs runs."""

from __future__ import annotations

from tests.support import ROOT


def test_there_is_a_how_to_for_each_page_of_letsgo():
    assert {page.stem for page in (ROOT / "docs" / "howto").glob("*.md")} >= {
        "call-apis",
        "develop-the-worker",
        "enqueue-work",
        "schedule-work",
        "send-slack-notifications",
    }
