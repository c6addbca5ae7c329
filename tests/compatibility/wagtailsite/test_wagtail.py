"""What Wagtail leaves to tasks is done by our workers, also when its pages are gone by then."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from io import BytesIO
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.images import ImageFile
from django.core.management import call_command
from django.db import transaction
from PIL import Image as Picture
from wagtail.documents.models import Document
from wagtail.images.models import Image
from wagtail.models import ReferenceIndex
from wagtail.tasks import update_reference_index_task

from django_letsgo_worker.backend import compat
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.compatibility.wagtailsite.models import ArticlePage
from tests.compatibility.wagtailsite.purging import purged
from tests.support import ROOT

# Wagtail has hundreds of migrations, and those of its tests come on top.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

TASK = "letsgo:task:"
DELETION = f"{TASK}wagtail.tasks.delete_file_from_storage_task"
PURGE = f"{TASK}wagtail.contrib.frontend_cache.tasks.purge_urls_from_cache_task"

ITS_OWN_TESTS = (
    "wagtail.tests.test_reference_index",
    "wagtail.tests.test_page_search",
    "wagtail.tests.test_signals",
    "wagtail.images.tests.test_signal_handlers",
    "wagtail.documents.tests.test_models",
)


def an_article(home, title="Tea", **fields):
    return home.add_child(instance=ArticlePage(title=title, **fields))


def a_picture() -> ImageFile:
    content = BytesIO()
    Picture.new("RGB", (64, 48), "white").save(content, "PNG")
    return ImageFile(BytesIO(content.getvalue()), name="white.png")


def outcomes() -> dict[str, int]:
    all_of_them = list(ArchivedMessage.objects.values_list("outcome", flat=True))
    return {outcome: all_of_them.count(outcome) for outcome in all_of_them}


def test_the_project_has_no_complaint():
    call_command("check", fail_level="WARNING")


def test_its_tasks_are_of_djangos_own_framework_where_there_is_one():
    assert isinstance(update_reference_index_task, compat.Task)


def test_its_tasks_have_a_queue_of_their_own(home):
    an_article(home)
    assert set(Message.objects.values_list("queue", "max_attempts")) == {("wagtail", 3)}


class TestPages:
    def test_a_page_is_found_once_a_worker_has_run(self, home, work):
        an_article(home, body="<p>Lapsang souchong</p>")
        assert not ArticlePage.objects.search("souchong")

        work()

        assert [page.title for page in ArticlePage.objects.search("souchong")] == ["Tea"]
        assert not Message.objects.exists() and outcomes().keys() == {"succeeded"}

    def test_links_are_in_the_index_of_references_once_a_worker_has_run(self, home, work):
        cup = an_article(home, "Cup")
        an_article(home, body=f'<p>In a <a linktype="page" id="{cup.pk}">cup</a></p>')
        assert not ReferenceIndex.get_references_to(cup).exists()

        work()

        assert [found.model_path for found in ReferenceIndex.get_references_to(cup)] == ["body."]

    def test_a_page_that_is_rolled_back_leaves_no_task(self, home):
        with transaction.atomic():
            an_article(home)
            assert Message.objects.exists()
            transaction.set_rollback(True)

        assert not Message.objects.exists()

    def test_a_cache_is_told_when_a_page_is_published(self, home, work):
        article = an_article(home, live=False)
        article.save_revision().publish()
        assert Message.objects.filter(type=PURGE).count() == 1

        work()

        assert purged() == ["http://localhost/tea/"]

    def test_one_that_an_editor_publishes_in_its_admin_is_found(self, home, work, admin_client):
        article = an_article(home)
        form = {"title": "Oolong", "slug": "tea", "body": "null", "action-publish": "yes"}
        no_comments = {"comments-TOTAL_FORMS": 0, "comments-INITIAL_FORMS": 0}
        answer = admin_client.post(f"/cms/pages/{article.pk}/edit/", form | no_comments)
        assert answer.status_code == 302, answer.text

        work()

        assert ArticlePage.objects.search("oolong").count() == 1


class TestFiles:
    def test_those_of_a_deleted_image_are_deleted_by_a_worker(self, home, work, files):
        image = Image.objects.create(title="White", file=a_picture())
        image.get_rendition("max-32x32")
        work()
        kept = {path.relative_to(files).parts[0] for path in files.rglob("*.png")}
        assert kept == {"original_images", "images"}

        image.delete()
        assert Message.objects.filter(type=DELETION).count() == 2
        assert {path.relative_to(files).parts[0] for path in files.rglob("*.png")} == kept
        work()
        assert list(files.rglob("*.png")) == []

    def test_that_of_a_deleted_document_is_deleted_by_a_worker(self, home, work, files):
        document = Document.objects.create(title="Note", file=ContentFile(b"note", name="note.txt"))
        work()
        document.delete()
        work()
        assert list(files.rglob("*.txt")) == []


class TestPagesThatAreGone:
    """Wagtail's tasks begin with `model.objects.get(pk=pk)`."""

    def test_none_becomes_a_dead_letter_or_is_tried_again(self, home, work):
        for number in range(3):
            an_article(home, f"Tea {number}")
        waiting = Message.objects.count()
        for page in ArticlePage.objects.all():
            page.delete()

        work()

        assert not Message.objects.exists()
        assert outcomes().keys() == {"succeeded"} and sum(outcomes().values()) >= waiting
        assert set(ArchivedMessage.objects.values_list("attempts", flat=True)) == {1}

    def test_without_the_policy_each_is_tried_again(self, home, work, settings):
        settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {}}}
        an_article(home).delete()
        work(settings_module=f"{__package__}.without_policy")

        assert set(Message.objects.values_list("attempts", flat=True)) == {1}
        assert Message.objects.exists()


class TestTwins:
    """Each save of a page enqueues the same tasks once more."""

    @pytest.fixture
    def article(self, home):
        return an_article(home)

    def test_a_save_during_the_task_of_an_earlier_one_has_a_task_of_its_own(self, article):
        before = Message.objects.count()
        Message.objects.update(leased_by=uuid4())
        article.save()
        assert Message.objects.filter(leased_by=None).count() == before

    @pytest.fixture
    def unique(self, settings):
        default = settings.TASKS["default"]
        patterns = {
            pattern: {**words, "UNIQUE": "arguments"}
            for pattern, words in default["OPTIONS"]["TASKS"].items()
        }
        settings.TASKS = {"default": {**default, "OPTIONS": {"TASKS": patterns}}}

    def test_where_they_are_unique_many_saves_make_one_task_of_each_kind(self, unique, article):
        kinds = Message.objects.count()
        assert kinds == Message.objects.values("type").distinct().count()
        for _ in range(5):
            article.save()
        assert Message.objects.count() == kinds

    def test_where_they_are_unique_a_save_during_the_task_of_an_earlier_one_has_none(self, unique, article):
        Message.objects.update(leased_by=uuid4())
        article.save()
        assert not Message.objects.filter(leased_by=None).exists()


def test_wagtails_own_tests_about_tasks_pass_where_a_task_is_a_message_that_is_drained(tmp_path):
    """They expect the effect of a task at once: each is enqueued and then drained, in their transaction."""
    run = subprocess.run(
        [sys.executable, "-m", "django", "test", "--noinput", "--settings", f"{__package__}.its_own_tests",
         *(name for name in ITS_OWN_TESTS if find_spec(name))],
        env={**os.environ, "MEDIA_ROOT": str(tmp_path)}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert int(re.search(r"^Ran (\d+) tests", run.stderr, re.MULTILINE)[1]) > 40
    assert int(re.search(r"^Drained (\d+) tasks", run.stdout, re.MULTILINE)[1]) > 40
