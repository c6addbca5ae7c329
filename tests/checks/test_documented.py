"""The table of docs/reference/checks.md and the code agree: which checks there are, when they are made."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from django.core.checks import Tags
from django.core.checks.registry import registry

import django_letsgo_worker
from django_letsgo_worker.checks import configuration
from tests.docs.test_documented_tables import table

PACKAGE = Path(django_letsgo_worker.__file__).parent
ROWS = table("reference/checks.md", "id", "made", "what is wrong")
MADE = {configuration.AT_START: "at start", configuration.PROJECT: "always", Tags.database: "`--database`"}


def test_each_check_has_its_row_and_its_own_number_in_order():
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    rows = [*ROWS, *table("reference/checks.md", "id", "of", "what is wrong")]
    ids = [row[0].strip("`") for row in rows]

    assert sorted(ids) == sorted(re.findall(r'id="(letsgo_[a-z_]+\.[EW]\d{3})"', source))
    assert ids == [*sorted(ids[: len(ROWS)]), *sorted(ids[len(ROWS) :])]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_a_check_is_made_when_its_row_says(row):
    id, made, _ = row
    home = next(path for path in PACKAGE.rglob("*.py") if f'id="{id.strip("`")}"' in path.read_text())
    tags, deploys = set(), set()
    for check in registry.get_checks(include_deployment_checks=True):
        if home.samefile(inspect.getsourcefile(check)) and id.strip("`") in reach_of(check):
            tags |= set(check.tags)
            deploys.add(check in registry.deployment_checks)

    assert len(deploys) == 1, "It is made by one check."
    assert [made] == (["`--deploy`"] if deploys.pop() else [MADE[tag] for tag in tags])


def reach_of(function) -> str:
    """Return the source of a check and of the functions of its module that it calls."""
    source = inspect.getsource(function)
    module = inspect.getmodule(function)
    called = [getattr(module, name, None) for name in re.findall(r"\b(_\w+)\(", source)]
    return source + "".join(map(inspect.getsource, filter(inspect.isfunction, called)))
