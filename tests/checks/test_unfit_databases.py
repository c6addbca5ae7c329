"""A database that none of our engines can speak to is refused in one sentence, whatever one asks for."""

from __future__ import annotations

import importlib.util

import pytest
from django.db import connection

from tests.support import ROOT

COMMANDS = [
    ("check",),
    ("migrate",),
    ("runworker", "--until-empty"),
    ("runscheduler",),
    ("letsgo", "status"),
    ("letsgo", "doctor"),
    ("letsgo", "top"),
    ("letsgo", "enqueue", "work:note"),
    ("letsgo", "schedule", "list"),
    ("shell", "-v", "0", "-c", "from django_letsgo_worker import *; enqueue('work:note')"),
    ("shell", "-v", "0", "-c", "from django_letsgo_worker import *; enqueue_many([('work:note', 1)])"),
]
SENTENCES = {
    "psycopg2": "django_letsgo_worker needs psycopg 3 for PostgreSQL, and psycopg2 is all that is here: "
    "install django-letsgo-worker[postgres], and from then on Django uses psycopg 3 for the whole project.",
    "unknown": "django_letsgo_worker does not know the database 'turso': "
    "use PostgreSQL, SQLite, MariaDB or MySQL.",
}
WITHOUT_PSYCOPG = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(params=SENTENCES)
def refuses(request, tmp_path, manage):
    """Run a command on such a database; return how it ended, what it wrote, and the sentence."""
    settings = "from tests.testapp.settings import *\n"
    if request.param == "psycopg2":
        if connection.vendor != "postgresql" or importlib.util.find_spec("psycopg2") is None:
            pytest.skip("It is for PostgreSQL, with psycopg2 beside psycopg.")
        (tmp_path / "sitecustomize.py").write_text(WITHOUT_PSYCOPG)
    else:
        settings += (
            f"DATABASES = {{'default': {{'ENGINE': 'tests.dbbackends.unknown', 'NAME': r'{tmp_path}/u'}}}}\n"
        )
    (tmp_path / "unfit_settings.py").write_text(settings)

    def run(*words):
        process = manage(*words, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, settings_module="unfit_settings")
        return process.wait(), process.output, SENTENCES[request.param]

    return run


@pytest.mark.django_db(transaction=True)
def test_every_command_says_so_and_ends(refuses):
    for words in COMMANDS:
        code, output, sentence = refuses(*words)
        assert code != 0, words
        assert sentence in " ".join(output.split()), (words, output)
        # Django's shell shows the error of what it was given, as every process does that enqueues.
        assert ("Traceback" in output) == (words[0] == "shell"), (words, output)


@pytest.mark.django_db(transaction=True)
def test_the_check_of_rows_says_nothing_more(refuses):
    _code, output, _sentence = refuses("check", "--database", "default")

    assert output.count("letsgo_worker.") == 1 and "letsgo_worker.E009" in output
