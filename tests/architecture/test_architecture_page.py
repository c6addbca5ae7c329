"""docs/contributing/architecture.md: its floors, its lines and its paths are those of the package."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from script import lines
from tests.architecture.source import FLOORS, PACKAGE
from tests.support import ROOT

PAGE = lines.PAGE.read_text()
MENDED_BY = "script/house --lines --write mends it"


def test_each_module_has_one_line_and_no_line_names_one_that_is_gone():
    named = Counter(lines.names_on(PAGE))

    assert sorted(set(lines.modules_to_name()) - set(named)) == [], MENDED_BY
    assert sorted(set(named) - set(lines.modules_to_name())) == [], MENDED_BY
    assert [name for name, count in named.items() if count > 1] == []


def test_each_line_says_something():
    assert [line for line in PAGE.splitlines() if re.match(r"- `[\w/.]+`: \W*$", line)] == []


def test_the_floors_are_those_of_pyproject():
    (drawn,) = lines.FLOORS.findall(PAGE)

    assert drawn == lines.floors(), MENDED_BY
    words = drawn.split()
    assert [name for names in FLOORS for name in names if name not in words] == []


def test_each_path_in_the_text_is_there():
    paths = re.findall(r"`([\w/]+\.py|\w+/(?:\w+/)*)`", PAGE.partition("## Modules")[0])
    assert len(paths) > 20
    assert [path for path in paths if not (PACKAGE / path).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_page_is_linked(page):
    assert "(docs/contributing/architecture.md)" in (ROOT / page).read_text()


def test_a_line_is_added_beside_its_neighbours():
    page = "- `conf.py`: A.\n\n- `worker/`: B.\n- `worker/loop.py`: C.\n\n- `worker2/`: D.\n"

    assert lines.names_on(lines.added(page, "worker/worker.py"))[1:4] == [
        "worker/",
        "worker/loop.py",
        "worker/worker.py",
    ]
    assert lines.names_on(lines.added(page, "worker/batch.py"))[2] == "worker/batch.py"
    assert lines.names_on(lines.added(page, "errors.py"))[:2] == ["conf.py", "errors.py"]
