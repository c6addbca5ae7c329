"""The generated parts of docs/reference/: what the code says now, with a word about everything."""

from __future__ import annotations

import argparse
import ast
import inspect
import re

import pytest

from django_letsgo_worker.inspection import actions
from script import reference
from tests.docs.test_documented_tables import REFERENCE
from tests.support import ROOT

FOLDER = ROOT / "docs" / "reference"
MENDED_BY = "script/reference --write mends it"


@pytest.mark.parametrize("page", reference.PAGES)
def test_a_page_says_what_the_code_says(page):
    assert reference.made(page) == (FOLDER / page).read_text(), MENDED_BY


@pytest.mark.parametrize("page", reference.PAGES)
def test_nothing_is_left_without_a_word_about_it(page):
    assert re.findall(r"^.*\| \? \|.*$", (FOLDER / page).read_text(), re.MULTILINE) == []


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("settings.md", "| `CONCURRENCY` | a whole number from 1 to 10,000 | `8` |"),
        ("options.md", "| `--with-scheduler` | also fire schedules |"),
        ("signatures.md", "    unique_key: str | None = None,\n"),
    ],
)
def test_control_a_page_that_lags_behind_differs(page, line, monkeypatch, tmp_path):
    text = (FOLDER / page).read_text()
    assert line in text
    for name in ("api.md", page):
        (tmp_path / name).write_text((FOLDER / name).read_text())
    (tmp_path / page).write_text(text.replace(line, "", 1))
    monkeypatch.setattr(reference, "REFERENCE", tmp_path)

    assert reference.made(page) != (tmp_path / page).read_text()


def test_each_public_name_is_described_but_for_signals_and_the_version():
    told = re.findall(r"^### (\S+)$", (FOLDER / "signatures.md").read_text(), re.MULTILINE)
    wanted = [name.removeprefix("django_letsgo_worker.") for name in REFERENCE]
    assert [name for name in wanted if not name.startswith(("signals.", "__version__"))] == told


class TestOptions:
    def parser(self, *arguments: tuple) -> str:
        parser = argparse.ArgumentParser("manage.py", description="does it")
        for flags, options in arguments:
            parser.add_argument(*flags, **options)
        return "\n".join(reference.described(parser, "does", 2))

    def test_what_has_no_name_comes_first_and_a_default_is_told_once(self):
        told = self.parser(
            (["--json"], {"action": "store_true", "help": "print JSON"}),
            (["--limit"], {"type": int, "default": 5, "help": "at most this many"}),
            (["--count"], {"type": int, "default": 5, "help": "how many (5)"}),
            (["ids"], {"nargs": "*", "metavar": "ID", "help": "these"}),
        )
        assert told.splitlines()[2:] == [
            "| argument | means |",
            "|---|---|",
            "| `[ID ...]` | these |",
            "| `--limit LIMIT` | at most this many (`5`) |",
            "| `--count COUNT` | how many (5) |",
            "| `--json` | print JSON |",
        ]

    def test_what_a_word_may_be_is_told_and_what_is_hidden_is_not(self):
        told = self.parser(
            (["--state"], {"choices": ["dead", "over"], "help": "only those"}),
            (["--child-of"], {"help": argparse.SUPPRESS}),
            (["--settings"], {"help": "Django's"}),
        )
        assert r"| `--state dead\|over` | only those |" in told
        assert "child" not in told and "Django" not in told


def test_the_verbs_of_actions_are_documented():
    (verbs,) = [
        {key.value for key in node.keys}
        for node in ast.walk(ast.parse(inspect.getsource(actions.spoken)))
        if isinstance(node, ast.Dict)
    ]
    page = " ".join((FOLDER / "problems.md").read_text().split())
    documented = re.findall(r"The verbs are ([^.]+)\.", page)
    assert set(re.findall(r"`(\w+)`", documented[0])) == verbs
