"""A small house: short modules, short functions, names that hide nothing, migrations in step."""

from __future__ import annotations

import sys

import pytest
from django.core.management import call_command

from tests.architecture.source import long_functions, modules, place

MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 40

# file, or file::function -> why it may be longer
MAY_BE_LONGER: dict[str, str] = {}


@pytest.mark.parametrize("path", modules(), ids=place)
def test_a_module_is_short(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES_OF_A_MODULE or place(path) in MAY_BE_LONGER


@pytest.mark.parametrize("path", modules(), ids=place)
def test_its_functions_are_short(path):
    found = long_functions(path.read_text(), MOST_LINES_OF_A_FUNCTION)
    assert [(name, lines) for name, lines in found if f"{place(path)}::{name}" not in MAY_BE_LONGER] == []


def test_a_function_that_is_too_long_is_found():
    source = "class A:\n    async def long(self):\n" + "        pass\n" * 40
    assert list(long_functions(source, MOST_LINES_OF_A_FUNCTION)) == [("long", 41)]


def test_whatever_may_be_longer_still_is():
    too_long = {place(p) for p in modules() if len(p.read_text().splitlines()) > MOST_LINES_OF_A_MODULE}
    for path in modules():
        found = long_functions(path.read_text(), MOST_LINES_OF_A_FUNCTION)
        too_long |= {f"{place(path)}::{name}" for name, _lines in found}
    assert set(MAY_BE_LONGER) <= too_long


@pytest.mark.parametrize("path", modules(), ids=place)
def test_no_module_is_named_like_one_of_the_standard_library(path):
    name = path.parent.name if path.stem == "__init__" else path.stem
    assert name not in sys.stdlib_module_names


@pytest.mark.django_db
def test_the_migrations_are_in_step_with_the_models():
    call_command("makemigrations", "--check", "--dry-run", verbosity=3)
