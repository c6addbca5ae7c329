"""The floors of the house: who may import whom, and which floor may touch rows or start threads.

The contracts stand in pyproject.toml; here they are run, and shown to go red on a copy that breaks them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import (
    GROUND,
    PACKAGE,
    ROWS,
    imported_names,
    modules,
    place,
    reaches,
    used_names,
)
from tests.support import ROOT

LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
MOTION = (
    "asyncio",
    "concurrent",
    "multiprocessing",
    "subprocess",
    "_thread",
    "threading.Thread",
    "threading.Timer",
)


def lint_imports(directory: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--no-cache", "--no-logo"],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_every_contract_on_imports_is_kept():
    code, output = lint_imports(ROOT)
    assert code == 0, output


@pytest.mark.parametrize(
    ("contract", "file", "line"),
    [
        ("Imports go down", "errors.py", "from . import models"),
        ("Imports go down", "models/message.py", "import django_letsgo_worker.engines"),
        ("Imports go down", "engines/__init__.py", "from .. import worker"),
        ("Imports go down", "scheduler.py", "from . import worker"),
        ("Imports go down", "a_module_without_a_floor.py", "pass"),
        ("There is no circle", "validation.py", "from . import registry"),
        ("The engines are used by", "worker/extra.py", "from ..engines import base"),
        ("The models are used by", "apps.py", "from .models import fields"),
        ("Only a worker claims", "apps.py", "from .messages import settlements"),
        ("The verbs on messages are", "apps.py", "from .messages import operations"),
        ("The verbs on schedules are", "apps.py", "from .schedules.operations import add"),
        ("Plans are used by", "apps.py", "from .planning import due"),
        ("Recurrences are used by", "apps.py", "from django_letsgo_worker.recurrence.grammar import read"),
        ("The worker is used by", "management/commands/runworker.py", "from ...worker import extra"),
    ],
)
def test_a_contract_goes_red_when_a_file_breaks_it(tmp_path, contract, file, line):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    copy = tmp_path / PACKAGE.name
    (copy / "worker" / "extra.py").touch()
    with (copy / file).open("a") as source:
        source.write(f"\n\ndef _out_of_place():\n    {line}\n")
    code, output = lint_imports(tmp_path)
    assert code == 1, output
    assert [row for row in output.splitlines() if row.startswith(contract) and row.endswith("BROKEN")], output


@pytest.mark.parametrize("path", modules(*GROUND), ids=place)
def test_the_ground_floor_knows_no_database(path):
    assert [name for name in imported_names(path.read_text()) if reaches(name, "django.db")] == []


@pytest.mark.parametrize("path", modules(*GROUND, *ROWS), ids=place)
def test_threads_asyncio_and_processes_live_on_the_second_floor_only(path):
    source = path.read_text()
    names = [*imported_names(source), *used_names(source)]
    assert [name for name in names if reaches(name, *MOTION)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import threading\nthreading.Thread(target=print)",
        "def later():\n    from threading import Timer",
        "import concurrent.futures",
        "from asyncio import run",
        "from django import db",
        "def f():\n    from django.db.models import F",
    ],
)
def test_the_search_for_motion_and_databases_finds_them(source):
    names = [*imported_names(source), *used_names(source)]
    assert any(reaches(name, "django.db", *MOTION) for name in names)
