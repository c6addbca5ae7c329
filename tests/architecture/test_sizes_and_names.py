"""A small house: short modules, short functions, names that hide nothing, migrations in step."""

from __future__ import annotations

import re
import sys

import pytest
from django.core.management import call_command

from script import house
from tests.architecture.source import long_functions, modules, place
from tests.support import ROOT

MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 40

# file, or file::function -> why it may be longer
MAY_BE_LONGER: dict[str, str] = {}

# What the README leaves out when it counts the core.
ON_TOP = {"admin", "backend", "checks", "contrib", "management", "monitor", "testing"}

A_MODEL = "Django finds models under this name only"

# A module that is small, and that one other imports -> why it is not part of that one.
STANDS_ALONE = {
    "contrib/slack/models.py": A_MODEL,
    "contrib/stripe/models.py": A_MODEL,
    "testing/tasks.py": "it loads Django's task framework, which other tests need not have",
}
# The same, not yet decided: give it a reason above, or make it part of its importer.
UNDECIDED = {
    "admin/masks.py",
    "checks/commands.py",
    "contrib/stripe/amounts.py",
    "engines/words.py",
    "management/letsgo/pruning.py",
}


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


def test_the_readme_says_how_large_the_core_is():
    text = " ".join((ROOT / "README.md").read_text().split())
    said = re.search(r"The core is about ([\d,]+) lines of Python", text)
    core = [path for path in modules() if place(path).split("/")[0] not in ON_TOP]
    lines = sum(len(path.read_text().splitlines()) for path in core)
    assert 0.8 < int(said[1].replace(",", "")) / lines < 1.2
    assert f"no module is longer than {MOST_LINES_OF_A_MODULE} lines" in text
    assert f"no function longer than {MOST_LINES_OF_A_FUNCTION}, and files import downwards only" in text


def test_a_function_that_is_too_long_is_found():
    source = "class A:\n    async def long(self):\n" + "        pass\n" * 40
    assert list(long_functions(source, MOST_LINES_OF_A_FUNCTION)) == [("long", 41)]


def test_whatever_may_be_longer_still_is():
    assert set(MAY_BE_LONGER) <= {what for what, _lines in too_long()}


@pytest.fixture(scope="module")
def small():
    """Return the modules that are small and have one importer, each with that one."""
    return house.small_with_one_importer(ROOT, house.read_imports(ROOT))


def test_a_small_module_with_one_importer_has_a_reason_to_stand_alone(small):
    assert {path: by for path, by in small.items() if path not in {*STANDS_ALONE, *UNDECIDED}} == {}


def test_whatever_has_a_reason_to_stand_alone_still_needs_it(small):
    assert set(STANDS_ALONE) <= set(small)
    assert set(STANDS_ALONE) & UNDECIDED == set()


def test_no_module_is_named_like_one_of_the_standard_library():
    names = {path.parent.name if path.stem == "__init__" else path.stem for path in modules()}
    assert names & sys.stdlib_module_names == set()


@pytest.mark.django_db
def test_the_migrations_are_in_step_with_the_models():
    call_command("makemigrations", "--check", "--dry-run", verbosity=3)
