"""The project around the sample app: a copy of it that imports Celery from where it should, and settings."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = ("tasks.py", "celery.py", "tests.py")
OURS = "django_letsgo_worker.contrib.celery"

SETTINGS = """
SECRET_KEY = "only-for-the-tests"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
INSTALLED_APPS = {apps!r}
CELERY_BROKER_URL = "memory://"
CELERY_RESULT_BACKEND = "cache+memory://"
"""


def make(folder: Path, celery: str = OURS) -> None:
    """Write the project into a folder; its one change is from where it imports Celery."""
    app = folder / "celeryapp"
    app.mkdir()
    (app / "__init__.py").write_text("from .celery import app as celery_app\n")
    for name in MODULES:
        source = (HERE / name).read_text()
        (app / name).write_text(re.sub(r"^from celery\b", f"from {celery}", source, flags=re.MULTILINE))
    ours = ["django_letsgo_worker", OURS] if celery == OURS else []
    (folder / "celerysettings.py").write_text(SETTINGS.format(apps=[*ours, "celeryapp"]))
