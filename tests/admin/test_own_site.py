"""An admin site of a project's own: one call brings all pages, with their overview, links and actions."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.urls import include, path, reverse

from django_letsgo_worker import enqueue, inspection
from django_letsgo_worker.admin import formatting, overview, register
from django_letsgo_worker.models import Message
from django_letsgo_worker.templatetags import letsgo_admin
from tests.browser.pages import pages
from tests.browser.rows import archived, process
from tests.inspection.troubles import write_all_kinds
from tests.support import ROOT

pytestmark = pytest.mark.django_db

site = AdminSite("ops")
register(site)
urlpatterns = [path("", include("testproject.urls")), path("ops/", site.urls)]


class Alone:
    """The URLs of a project whose one site of the admin is its own."""

    urlpatterns = [path("ops/", site.urls)]


@pytest.fixture(params=["beside the default site", "alone"], autouse=True)
def own_urls(request, settings):
    settings.ROOT_URLCONF = Alone if request.param == "alone" else __name__


@pytest.fixture
def troubled():
    """Rows of all kinds, and problems whose actions are links."""
    with ExitStack() as stack:
        write_all_kinds(stack)
        process(name="ops-1")
        yield


def test_every_page_is_there_and_leads_to_no_other_site(admin_client, troubled):
    found = pages(admin_client, "ops")

    assert len(found) > 40, [page.name for page in found]
    for page in found:
        html = admin_client.get(page.path, follow=True).content.decode()
        assert page.path.startswith("/ops/")
        for link in re.findall(r'(?:href|action|formaction|src|data-[a-z-]+)="(/[^"]*)"', html):
            assert link.startswith(("/ops/", "/static/")) or link == "/", f"{page.path} leads to {link}"


def test_the_actions_of_problems_lead_to_its_own_pages(admin_client, troubled):
    for address in ("/ops/", "/ops/django_letsgo_worker/"):
        page = admin_client.get(address).content.decode()
        links = re.findall(r'<a class="button lg-button" href="([^"]+)"', page)
        assert len(links) > 3
        assert [link for link in links if not link.startswith("/ops/")] == []
    # What is asked elsewhere leads to the default site, where there is one.
    asked = {
        action["url"] for problem in inspection.problems() for action in problem.actions if action["url"]
    }
    assert all(link.startswith(reverse("admin:index")) for link in asked)


def test_all_pages_are_there():
    ours = [
        model
        for model in apps.get_app_config("django_letsgo_worker").get_models()
        if admin.site.is_registered(model)
    ]
    assert len(ours) >= 8
    assert [model for model in ours if not site.is_registered(model)] == []
    assert site.index_template == overview.INDEX


def test_a_second_call_changes_nothing():
    register(site)


def test_its_app_index_is_the_overview_and_leads_to_its_own_pages(admin_client):
    enqueue("mail.send")
    archived()
    page = admin_client.get("/ops/django_letsgo_worker/").content.decode()
    assert 'id="lg-overview"' in page
    assert 'href="/ops/django_letsgo_worker/message/?state=ready"' in page


def test_a_button_acts_and_comes_back_to_its_own_page(admin_client):
    message = enqueue("mail.send")
    page = admin_client.get("/ops/django_letsgo_worker/message/")
    assert "/ops/django_letsgo_worker/archivedmessage/" in page.content.decode()

    answer = admin_client.post(f"/ops/django_letsgo_worker/message/{message.pk}/do/cancel/")
    assert answer.headers["Location"].startswith("/ops/django_letsgo_worker/message/")
    assert not Message.objects.exists()


WITHOUT_THE_ADMIN = """
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_letsgo_worker"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    USE_TZ=True,
)
django.setup()
call_command("check")
"""


def test_a_project_without_the_admin_passes_its_checks():
    command = [sys.executable, "-c", WITHOUT_THE_ADMIN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_empty_is_written_alike_on_both_sides():
    assert letsgo_admin.NOTHING == formatting.NOTHING
