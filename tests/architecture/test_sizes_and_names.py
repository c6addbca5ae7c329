"""A small house: short modules, short functions, names that hide nothing, migrations in step."""

from __future__ import annotations

import re
import sys

import pytest
from django.core.management import call_command

from tests.architecture.source import long_functions, modules, place
from tests.support import ROOT

MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 40

# file, or file::function -> why it may be longer
MAY_BE_LONGER: dict[str, str] = {}


def too_long():
    """Yield what is longer than others may be, with its number of lines: file, or file::function."""
    for path in modules():
        lines = len(path.read_text().splitlines())
        if lines > MOST_LINES_OF_A_MODULE:
            yield place(path), lines
        for name, lines in long_functions(path.read_text(), MOST_LINES_OF_A_FUNCTION):
            yield f"{place(path)}::{name}", lines


def test_modules_and_functions_are_short():
    assert [(what, lines) for what, lines in too_long() if what not in MAY_BE_LONGER] == []


def test_the_readme_says_how_large_the_house_is():
    text = " ".join((ROOT / "README.md").read_text().split())
    said = re.search(r"about ([\d,]+) lines of Python", text)
    lines = sum(len(path.read_text().splitlines()) for path in modules())
    assert 0.8 < int(said[1].replace(",", "")) / lines < 1.2
    assert f"no module is longer than {MOST_LINES_OF_A_MODULE} lines" in text
    assert f"no function longer than {MOST_LINES_OF_A_FUNCTION}, and files import downwards only" in text


def test_a_function_that_is_too_long_is_found():
    source = "class A:\n    async def long(self):\n" + "        pass\n" * 40
    assert list(long_functions(source, MOST_LINES_OF_A_FUNCTION)) == [("long", 41)]


def test_whatever_may_be_longer_still_is():
    assert set(MAY_BE_LONGER) <= {what for what, _lines in too_long()}


def test_no_module_is_named_like_one_of_the_standard_library():
    names = {path.parent.name if path.stem == "__init__" else path.stem for path in modules()}
    assert names & sys.stdlib_module_names == set()


@pytest.mark.django_db
def test_the_migrations_are_in_step_with_the_models():
    call_command("makemigrations", "--check", "--dry-run", verbosity=3)
