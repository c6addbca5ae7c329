"""The floors of the house: who may import whom, and which floor may touch rows or start threads.

The contracts stand in pyproject.toml; here they are run, and shown to go red on a copy that breaks them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import (
    CONTRACTS,
    FLOORS,
    PACKAGE,
    below,
    floor,
    imported_names,
    inner_modules,
    modules,
    place,
    reaches,
    used_names,
)
from tests.support import ROOT

GROUND = below("models")
ROWS = [name for name in below("worker") if name not in GROUND]
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
THREADS_AND_PROCESSES = (
    "asyncio",
    "concurrent",
    "multiprocessing",
    "subprocess",
    "_thread",
    "threading.Thread",
    "threading.Timer",
)
# The pause of a coroutine: it starts no thread, no loop and no process.
A_PAUSE = "asyncio.sleep"


def lint_imports(directory: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--no-cache", "--no-logo"],
        cwd=directory,
        env=os.environ | {"COLUMNS": "1000"},  # or a name is broken in two
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def broken(output: str) -> list[str]:
    return re.findall(r"^(.+) BROKEN", output, re.MULTILINE)


def file_of(name: str, package: Path = PACKAGE) -> Path:
    """Return the file of a module or package of ours, by its dotted name."""
    path = package.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def breaches(contract: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the contract forbids, as (importer, imported)."""
    match contract["type"]:
        case "layers":
            yield from breaches_of_floors(contract["layers"])
        case "acyclic_siblings":
            yield f"{PACKAGE.name}.validation", f"{PACKAGE.name}.registry"
        case "protected":
            for protected in contract["protected_modules"]:
                for name in matching(protected):
                    yield f"{PACKAGE.name}.apps", name
        case "independence":
            names = [name for pattern in contract["modules"] for name in matching(pattern)]
            yield from zip(names, [*names[1:], names[0]], strict=True)
        case "forbidden":
            names = [name for pattern in contract["forbidden_modules"] for name in matching(pattern)]
            for source in contract["source_modules"]:
                yield from ((matching(source)[0], name) for name in names)
        case other:
            pytest.fail(f"Say here how a contract of type {other} is broken.")


def breaches_of_floors(layers: list[str]) -> Iterator[tuple[str, str]]:
    """Yield, for each name, an import of the floor above it, and of a neighbour that it may not know."""
    floors = [
        [name for word in re.findall(r"\w+", layer) if file_of(name := f"{PACKAGE.name}.{word}").exists()]
        for layer in layers
    ]
    for above, names in pairwise(floors):
        yield from ((name, above[0]) for name in names)
    for layer, names in zip(layers, floors, strict=True):
        if "|" in layer:
            yield from zip(names, [*names[1:], names[0]], strict=True)


def matching(pattern: str) -> list[str]:
    """Return the modules that an entry of a contract names; package.* are all inside it."""
    return inner_modules(pattern.removesuffix(".*")) if pattern.endswith(".*") else [pattern]


@pytest.fixture
def copy(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / PACKAGE.name


def test_every_contract_on_imports_is_kept():
    code, output = lint_imports(ROOT)
    assert code == 0, output


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["id"])
def test_a_contract_goes_red_at_each_import_that_it_forbids(copy, contract):
    forbidden = list(breaches(contract))
    for importer, imported in forbidden:
        with file_of(importer, copy).open("a") as source:
            source.write(f"\n\ndef _out_of_place():\n    import {imported}\n")

    code, output = lint_imports(copy.parent)

    assert code == 1, output
    assert contract["name"] in broken(output)
    assert forbidden
    if contract["type"] != "acyclic_siblings":  # which says how many
        assert [pair for pair in forbidden if " -> ".join(pair) not in output] == [], output


def test_a_module_without_a_floor_goes_red(copy):
    (copy / "a_module_without_a_floor.py").touch()

    code, output = lint_imports(copy.parent)

    assert code == 1, output
    assert broken(output) == [contract["name"] for contract in CONTRACTS if contract.get("exhaustive")]


def test_each_package_below_the_doors_is_used_by_its_face():
    packages = [name for names in FLOORS[floor("worker") :] for name in names if (PACKAGE / name).is_dir()]
    protected = [name for contract in CONTRACTS for name in contract.get("protected_modules", ())]
    assert sorted(f"{PACKAGE.name}.{name}.*" for name in packages) == sorted(protected)


@pytest.mark.parametrize("path", modules(*GROUND), ids=place)
def test_the_ground_floor_knows_no_database(path):
    assert [name for name in imported_names(path.read_text()) if reaches(name, "django.db")] == []


@pytest.mark.parametrize("path", modules(*GROUND, *ROWS), ids=place)
def test_threads_asyncio_and_processes_live_on_the_second_floor_only(path):
    source = path.read_text()
    names = [*imported_names(source), *used_names(source)]
    assert [name for name in names if name != A_PAUSE and reaches(name, *THREADS_AND_PROCESSES)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import threading\nthreading.Thread(target=print)",
        "def later():\n    from threading import Timer",
        "import concurrent.futures",
        "from asyncio import run",
        "from asyncio import sleep, run",
        "from django import db",
        "def f():\n    from django.db.models import F",
    ],
)
def test_the_search_for_motion_and_databases_finds_them(source):
    names = [*imported_names(source), *used_names(source)]
    assert any(name != A_PAUSE and reaches(name, "django.db", *THREADS_AND_PROCESSES) for name in names)
