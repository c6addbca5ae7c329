"""Which modules of apps are imported: by us, as AUTODISCOVER says, and ours by other packages."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from django_letsgo_worker import registry
from django_letsgo_worker.backend import discovery
from django_letsgo_worker.conf import Settings, load
from tests.support import ROOT

# A project in a folder: two apps of its own around ours, and a package that looks into each app.
SETTINGS = """
SECRET_KEY = "for tests"
USE_TZ = True
INSTALLED_APPS = [
    {apps}
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.sessions", "django.contrib.messages",
]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
ROOT_URLCONF = "django_letsgo_worker.contrib.contact.urls"
LETSGO_WORKER = {worker!r}
{more}
"""
LOOKING = """
from django.apps import AppConfig, apps
from django.utils.module_loading import autodiscover_modules

class LookingConfig(AppConfig):
    name = "looking"

    def ready(self):
        import os
        autodiscover_modules(*os.environ["LOOK_FOR"].split())
"""
REPORT = """
import json, sys
import django
django.setup()
from django.core.checks import run_checks
from django_letsgo_worker import registry, declarations
from django.dispatch import Signal
from django_letsgo_worker import signals
receivers = {name: len(one.receivers) for name, one in vars(signals).items() if isinstance(one, Signal)}
print(json.dumps({
    "types": registry.types(),
    "places": [one.place for one in registry.handlers()],
    "declared": [one.name for one in declarations.declared()],
    "receivers": receivers,
    "problems": [str(one) for one in run_checks() if (one.id or "").startswith("letsgo")],
    "mine": sorted(name for name in sys.modules if name.startswith("mine.")),
}))
"""
# Import each module in a process of its own, a copy of this one; say which could not be.
ONE_BY_ONE = """
import importlib, importlib.util, json, os
import django
import django_letsgo_worker
{setup}
failed = []
for name in {names!r}:
    child = os.fork()
    if not child:
        try:
            for package in {packages!r}:
                if importlib.util.find_spec(package + "." + name):
                    importlib.import_module(package + "." + name)
            django.setup()
            from django_letsgo_worker import registry
            assert "letsgo:scheduled" in registry.types()
        except BaseException:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print(json.dumps(failed))
"""
OURS = [
    "django_letsgo_worker",
    "django_letsgo_worker.contrib.contact",
    "django_letsgo_worker.contrib.slack",
    "django_letsgo_worker.contrib.stripe",
    "django_letsgo_worker.contrib.api_token",
]


def modules_of(package):
    """All modules of an app that another package may ask for by name."""
    names = [one.name for one in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    return [name for name in names if name not in ("migrations", "management", "apps")]


MODULES = sorted({name for package in OURS for name in modules_of(package)})


@pytest.fixture
def project(tmp_path):
    """Start a project: project(apps, LETSGO_WORKER, look_for=...) is what it has registered."""
    (tmp_path / "looking").mkdir()
    (tmp_path / "looking" / "__init__.py").write_text("")
    (tmp_path / "looking" / "apps.py").write_text(LOOKING)
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("handlers", "tasks", "jobs", "schedules"):
        (mine / f"{name}.py").write_text(
            f"from django_letsgo_worker import handler\n@handler('mine:{name}')\ndef work(delivery): pass\n"
        )
    (mine / "__init__.py").write_text("")
    (tmp_path / "declares").mkdir()
    (tmp_path / "declares" / "__init__.py").write_text("")
    (tmp_path / "declares" / "handlers.py").write_text(
        "from django_letsgo_worker import handler, schedule\n"
        "@schedule('@daily')\n@handler('declares:daily')\ndef work(delivery): pass\n"
    )

    def start(apps, worker=None, *, look_for="", more="", code=REPORT):
        listed = "".join(f"{app!r}, " for app in apps)
        text = SETTINGS.format(apps=listed, worker=worker or {}, more=more)
        (tmp_path / "project_settings.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={
                "PYTHONPATH": f"{tmp_path}:{ROOT}",
                "DJANGO_SETTINGS_MODULE": "project_settings",
                "LOOK_FOR": look_for or "handlers",
            },
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout and json.loads(done.stdout.splitlines()[-1])

    return start


class TestOurModulesInOtherPackagesHands:
    @pytest.mark.parametrize("order", ["before", "after"])
    def test_to_import_all_of_them_changes_nothing(self, project, order):
        alone = project(OURS)
        apps = ["looking", *OURS] if order == "before" else [*OURS, "looking"]

        assert project(apps, look_for=" ".join(MODULES)) == alone
        assert alone["problems"] == []

    @pytest.mark.parametrize("name", ["schedules", "handlers", "signals", "testing", "messages"])
    @pytest.mark.parametrize("order", ["before", "after"])
    def test_to_import_one_of_an_everyday_name_does_no_harm(self, project, name, order):
        apps = ["looking", "django_letsgo_worker"]
        found = project(apps if order == "before" else apps[::-1], look_for=name)

        assert found["types"] == ["letsgo:scheduled"]
        assert found["problems"] == []

    def test_each_can_be_imported_first_of_all_once_models_are_there(self, project):
        assert (
            project(OURS, code=ONE_BY_ONE.format(names=MODULES, packages=OURS, setup="django.setup()")) == []
        )

    def test_what_needs_no_model_can_be_imported_before_apps_are_ready(self, project):
        names = ["signals", "handlers", "context", "errors", "recurrence", "registry", "outcomes"]
        code = ONE_BY_ONE.format(names=names, packages=OURS[:1], setup="")

        assert project(OURS[:1], code=code) == []


class TestWhatWeImport:
    def test_handlers_and_no_other_module_by_default(self, project):
        assert project(["mine", "django_letsgo_worker"])["mine"] == ["mine.handlers"]

    @pytest.mark.parametrize(
        ("names", "imported"),
        [
            (["jobs"], ["mine.jobs"]),
            (["handlers", "jobs", "nowhere"], ["mine.handlers", "mine.jobs"]),
            ([], []),
            ("", []),
            (["tasks"], []),
        ],
    )
    def test_a_project_chooses_the_names(self, project, names, imported):
        found = project(["mine", *OURS[:3]], {"AUTODISCOVER": names})

        assert found["mine"] == imported
        assert "letsgo:scheduled" in found["types"] and "letsgo:slack" in found["types"]

    def test_tasks_are_found_unless_they_are_left_out(self, settings, monkeypatch):
        asked = []
        monkeypatch.setattr(registry, "modules_named", lambda name: asked.append(name) or [])
        discovery.discover()
        settings.LETSGO_WORKER = {"AUTODISCOVER": ["handlers"]}
        discovery.discover()

        assert asked == ["tasks"]

    def test_wrong_settings_are_said_in_a_sentence_where_code_declares_schedules(self, project):
        """What declares one asks for the settings; a traceback from there would hide what is wrong."""
        found = project(["declares", OURS[0]], {"LEASE_SECONDS": "soon"})
        assert [one for one in found["problems"] if "LETSGO_WORKER['LEASE_SECONDS'] is 'soon'" in one]
        assert found["declared"] == []
        assert project(["declares", OURS[0]])["declared"] == ["declares:daily"]

    def test_the_names_are_checked(self):
        assert Settings().autodiscover == ("handlers", "tasks")
        assert load({}, {"LETSGO_WORKER_AUTODISCOVER": ""}).autodiscover == ()
        assert load({}, {"LETSGO_WORKER_AUTODISCOVER": "handlers, jobs"}).autodiscover == ("handlers", "jobs")
        with pytest.raises(ImproperlyConfigured, match="it must list names of modules, such as handlers"):
            load({"AUTODISCOVER": ["handlers.py!"]}, {})

    def test_a_name_that_no_app_has_is_said(self, settings):
        settings.LETSGO_WORKER = {"AUTODISCOVER": ["handlers", "handler", "tasks"]}

        found = [one for one in run_checks(tags=["letsgo_project"]) if one.id == "letsgo_worker.W016"]

        assert [one.msg for one in found] == [
            "LETSGO_WORKER['AUTODISCOVER'] names 'handler', but no installed app has a module of that name."
            " Did you mean 'handlers'?"
        ]

    def test_those_of_the_default_may_be_missing(self, settings):
        settings.INSTALLED_APPS = ["django_letsgo_worker"]

        assert not [one for one in run_checks(tags=["letsgo_project"]) if one.id == "letsgo_worker.W016"]
