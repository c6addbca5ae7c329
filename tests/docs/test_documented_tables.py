"""The tables of docs/ and the code say the same: settings, public names, handler options, permissions."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib import admin
from django.dispatch import Signal
from django.utils.module_loading import import_string
from django.utils.text import capfirst

import django_letsgo_worker
from django_letsgo_worker import Delivery, backoff, conf, errors, inspection, registry, signals
from tests.architecture.source import PYPROJECT
from tests.support import ROOT, names, table

SETTINGS = table("reference/settings.md", "key", "takes", "default", "means")


def test_each_setting_is_in_the_table_once_and_in_order():
    assert [row[0].strip("`") for row in SETTINGS] == list(conf.KEYS)


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row[0].strip("`"))
def test_the_default_of_a_setting_is_as_documented(row):
    key, _takes, default, _means = row
    documented = {key.strip("`"): ast.literal_eval(default.strip("`"))}
    assert conf.load(documented, {}) == conf.Settings()


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row[0].strip("`"))
def test_the_limits_of_a_setting_are_as_documented(row):
    key, takes, _default, _means = row
    key = key.strip("`")
    limits = re.search(r"from ([\d.]+) to ([\d,]+)", takes)
    if limits is None:
        return
    low, high = float(limits[1]), int(limits[2].replace(",", ""))
    for value in (low, high):
        conf.load({key: value}, {})
    for value in (low / 2 or -1, high + 1):
        with pytest.raises(Exception, match="it must"):
            conf.load({key: value}, {})


REFERENCE = [
    *names("reference/api.md", "name", "what it is"),
    *names("reference/api.md", "name", "what it does"),
    *names("reference/api.md", "name", "what a row is"),
    *names("reference/api.md", "name", "sent", "arguments"),
    *names("reference/api.md", "name", "the fact"),
]


@pytest.mark.parametrize("name", REFERENCE)
def test_a_documented_name_is_there(name):
    assert import_string(name)


def test_the_public_names_of_the_package_are_documented():
    wanted = {f"django_letsgo_worker.{name}" for name in django_letsgo_worker.__all__}
    assert wanted <= set(REFERENCE)


def test_all_errors_are_documented():
    classes = inspect.getmembers(errors, inspect.isclass)
    wanted = {f"django_letsgo_worker.errors.{name}" for name, _ in classes}
    assert wanted == {name for name in REFERENCE if ".errors." in name}


def test_all_signals_are_documented():
    wanted = {
        f"{signals.__name__}.{name}" for name, value in vars(signals).items() if isinstance(value, Signal)
    }
    assert wanted == {name for name in REFERENCE if ".signals." in name}


@pytest.mark.parametrize("module", ["messages", "schedules", "models", "recurrence"])
def test_a_documented_name_is_one_that_its_module_shows(module):
    ours = [name.rpartition(".")[2] for name in REFERENCE if name.split(".")[1] == module]
    assert ours
    assert set(ours) <= set(import_module(f"django_letsgo_worker.{module}").__all__)


def test_the_facts_of_a_delivery_are_documented():
    facts = {name for name in dir(Delivery) if not name.startswith("_")}
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    assert [name for name in facts if f"`{name}`" not in page and f"`{name}(seconds)`" not in page] == []


def test_the_options_of_a_handler_are_documented():
    options = [name for name in inspect.signature(registry.handler).parameters if name != "type"]
    assert names("reference/handlers.md", "option", "means", "when it counts") == options


def test_the_extras_are_documented():
    extras = PYPROJECT["project"]["optional-dependencies"]
    rows = table("howto/install.md", "extra", "brings", "for")
    assert {row[0].strip("`") for row in rows} == set(extras)


def test_the_named_backoffs_are_documented():
    documented = names("reference/handlers.md", "back-off", "the pause before the next attempt")
    assert [name.strip('"') for name in documented[:3]] == list(backoff.NAMED)


def test_the_permissions_are_documented():
    ours = apps.get_app_config("django_letsgo_worker").get_models()
    wanted = {codename for model in ours for codename, _ in model._meta.permissions}
    assert set(names("reference/admin.md", "permission", "lets people")) == wanted


def test_the_pages_of_the_admin_and_their_actions_are_documented():
    documented = {
        page: actions.partition(";")[0]
        for page, _, actions in table("reference/admin.md", "page", "shows", "actions")
    }
    pages = {
        capfirst(str(model._meta.verbose_name_plural)): ", ".join(page.actions).replace("_", " ") or "none"
        for model, page in admin.site._registry.items()
        if model._meta.app_label == "django_letsgo_worker"
    }
    assert documented == pages


def test_the_problems_are_documented_with_their_severities():
    documented = table("reference/problems.md", "code", "severity", "when", "what to do")
    assert [row[0].strip("`") for row in documented] == list(inspection.CODES)
    for code, severities, _when, _what in documented:
        usual, _harm = inspection.CODES[code.strip("`")]
        assert usual in severities.split(", ")
    several = {row[0].strip("`"): row[1] for row in documented if "," in row[1]}
    assert several == {"type_failing": "warning, error", "dead_letters": "notice, warning"}
