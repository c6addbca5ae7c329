"""Its settings: the second database is the alias `reports`, whose URL is in REPORTS_URL."""

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES, INSTALLED_APPS, env

INSTALLED_APPS = ["tests.integration.twodatabases", *INSTALLED_APPS[1:]]
ROOT_URLCONF = "tests.integration.twodatabases.urls"
DATABASES["reports"] = env.db("REPORTS_URL")
DATABASES["reports"].setdefault("OPTIONS", {}).update(DATABASES["default"].get("OPTIONS", {}))
DATABASE_ROUTERS = ["tests.integration.conftest.Everywhere"]
LETSGO_WORKER = {"SCHEDULE": ""}
