"""script/house: what it counts is what is there."""

from __future__ import annotations

import re
import subprocess
import sys

from django_letsgo_worker.models import Message, ScheduledJob
from tests.architecture.source import FLOORS, PACKAGE
from tests.support import ROOT


def test_the_figures_of_the_house_are_those_of_its_files():
    done = subprocess.run(
        [sys.executable, "script/house.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    titles, _, row, *rest = done.stdout.splitlines()
    figures = dict(zip(titles.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    texts = [text for path in PACKAGE.rglob("*.py") if (text := path.read_text())]
    assert figures["files"] == f"{len(texts)}"
    assert figures["lines"] == f"{sum(len(text.splitlines()) for text in texts):,}"
    assert f"Floors: {len(FLOORS)}, " in done.stdout
    assert "arrows up: 0, circles: 0" in done.stdout
    for model in (Message, ScheduledJob):
        line = rest[rest.index(f"Files that name a column of {model.__name__}:") + 1]
        counted = set(re.findall(r"(\w+) \d+", line)) | {"id"}
        assert counted == {field.attname for field in model._meta.concrete_fields}
