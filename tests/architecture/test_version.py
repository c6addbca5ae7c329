"""The version of a release is said once, in the package; what must repeat it says the same."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from django_letsgo_worker import __version__
from tests.support import ROOT

CHART = ROOT / "deploy" / "helm" / "django-letsgo-worker" / "Chart.yaml"


def test_the_build_reads_it_from_the_package():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in pyproject["project"]
    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "django_letsgo_worker/__init__.py"


@pytest.mark.parametrize("key", ["version", "appVersion"])
def test_the_chart_has_the_same(key):
    assert yaml.safe_load(CHART.read_text())[key] == __version__


def test_the_newest_entry_of_the_changelog_is_about_it():
    assert re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == __version__
