"""The settings of the site: its TASKS are those that docs/reference/compatibility.md recommends."""

import os
import re

from tests.compatibility.settings import *  # noqa: F403
from tests.compatibility.settings import INSTALLED_APPS, MIDDLEWARE
from tests.support import ROOT

INSTALLED_APPS = [
    "tests.compatibility.wagtailsite",
    "wagtail.contrib.frontend_cache",
    "wagtail.contrib.forms",
    "wagtail.contrib.redirects",
    "wagtail.embeds",
    "wagtail.sites",
    "wagtail.users",
    "wagtail.snippets",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.search",
    "wagtail.admin",
    "wagtail",
    "modelcluster",
    "taggit",
    *INSTALLED_APPS,
]
MIDDLEWARE = [*MIDDLEWARE, "wagtail.contrib.redirects.middleware.RedirectMiddleware"]
ROOT_URLCONF = "tests.compatibility.wagtailsite.urls"

# Where a worker, another process, finds the files too.
MEDIA_ROOT = os.environ.get("MEDIA_ROOT", "")
MEDIA_URL = "media/"

WAGTAIL_SITE_NAME = "The site of the tests"
WAGTAILADMIN_BASE_URL = "http://localhost"
WAGTAILFRONTENDCACHE = {"default": {"BACKEND": "tests.compatibility.wagtailsite.purging.Purging"}}

_page = (ROOT / "docs" / "reference" / "compatibility.md").read_text()
(_snippet,) = re.findall(r"```python settings\n(.+?)```", _page, re.DOTALL)
_found: dict[str, dict] = {}
exec(_snippet, _found)
TASKS = _found["TASKS"]
