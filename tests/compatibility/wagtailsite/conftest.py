"""Fixtures of the site: its files, which a worker finds too, and the pages that Wagtail's migrations make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def files(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.MEDIA_ROOT = str(tmp_path)
    monkeypatch.setenv("MEDIA_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def home(transactional_db: None) -> Any:
    """The home page of the default site, with no message left of the making of it.

    All tables are emptied after each test, so that only the first one finds what migrate has put there.
    """
    from wagtail.models import Collection, Locale, Page, Site

    from django_letsgo_worker.models import Message

    Locale.objects.get_or_create(language_code="en")
    root = Page.get_first_root_node() or Page.add_root(title="Root", slug="root")
    if not Collection.objects.exists():
        Collection.add_root(name="Root")
    home = root.add_child(instance=Page(title="Our home", slug="our-home"))
    Site.objects.all().delete()
    Site.objects.create(hostname="localhost", root_page=home, is_default_site=True)
    Message.objects.all().delete()
    return home
