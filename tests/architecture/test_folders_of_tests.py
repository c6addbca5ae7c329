"""The folders of the tests: tests/README.md names each, and says where the tests of each module are."""

from __future__ import annotations

import re

from tests.architecture.source import FLOORS
from tests.support import ROOT

TESTS = ROOT / "tests"
ROWS = re.findall(r"^\| `(\w+)` \| (.+) \| (.*) ?\|$", (TESTS / "README.md").read_text(), re.MULTILINE)


def test_each_folder_is_named_once():
    folders = [path.parent.name for path in TESTS.glob("*/__init__.py")]
    assert sorted(folder for folder, _holds, _modules in ROWS) == sorted(folders)


def test_each_module_and_package_has_one_place_for_its_tests():
    named = [name for _folder, _holds, modules in ROWS for name in re.findall(r"`(\w+)`", modules)]
    assert sorted(named) == sorted(name for names in FLOORS for name in names)


def test_a_unit_test_is_named_after_the_module_that_it_tests():
    modules = re.findall(r"`(\w+)`", next(modules for folder, _holds, modules in ROWS if folder == "unit"))
    files = [path.stem.removeprefix("test_") for path in (TESTS / "unit").glob("test_*.py")]
    strangers = [
        name
        for name in files
        if not any(name == module or name.startswith(f"{module}_") for module in modules)
    ]
    assert strangers == []
    assert [module for module in modules if not any(name.startswith(module) for name in files)] == []


def test_contributors_are_led_there():
    assert "(tests/README.md)" in (ROOT / "CONTRIBUTING.md").read_text()
