"""Translations: German is whole, fits its sentences, is compiled, and is what a German reader sees."""

from __future__ import annotations

import gettext
import re
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from django.urls import reverse
from django.utils import translation

from django_letsgo_worker import enqueue, handler
from django_letsgo_worker.inspection import explain, problems
from tests.browser.rows import archived, list_url
from tests.inspection.troubles import TROUBLES, all_is_well
from tests.support import ROOT

pytestmark = pytest.mark.django_db

CATALOGUES = sorted((ROOT / "django_letsgo_worker" / "locale").glob("*/LC_MESSAGES/django.po"))
PLACEHOLDER = re.compile(r"%\(\w+\)[sdr]|\{\w*\}|%[sdr%]")


def language_of(path: Path) -> str:
    return path.parent.parent.name


def read(path):
    with path.open("rb") as file:
        return [message for message in read_po(file, locale=language_of(path)) if message.id]


def texts(value):
    return [value] if isinstance(value, str) else list(value)


def faults_of(message):
    """Return what is wrong with the translation of one message."""
    originals, translations = texts(message.id), texts(message.string)
    faults = ["it is fuzzy"] if message.fuzzy else []
    if not all(translations):
        return [*faults, "it is not translated"]
    wanted = set(PLACEHOLDER.findall(originals[-1]))
    # A singular may leave the number out.
    for text, is_last in zip(translations, [*[False] * (len(translations) - 1), True], strict=True):
        found = set(PLACEHOLDER.findall(text))
        if found - wanted or (is_last and found != wanted):
            faults.append(f"its placeholders are {sorted(found)}, not {sorted(wanted)}")
    return faults


@pytest.mark.parametrize("path", CATALOGUES, ids=language_of)
def test_every_message_is_translated_and_none_is_fuzzy(path):
    assert {str(one.id): faults for one in read(path) if (faults := faults_of(one))} == {}


@pytest.mark.parametrize("path", CATALOGUES, ids=language_of)
def test_what_is_compiled_is_what_is_written(path):
    with path.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for message in read(path):
        if message.context:
            assert compiled.pgettext(message.context, message.id) == message.string
        elif isinstance(message.id, str):
            assert compiled.gettext(message.id) == message.string
        else:
            assert [compiled.ngettext(*message.id, number) for number in (1, 2)] == texts(message.string)


def test_a_missing_a_fuzzy_and_an_unfit_translation_are_noticed():
    from babel.messages import Message

    assert faults_of(Message("paused", "")) == ["it is not translated"]
    assert faults_of(Message("paused", "angehalten", flags=["fuzzy"])) == ["it is fuzzy"]
    assert faults_of(Message("%(count)d paused", "%(cuont)d angehalten", flags=["python-format"]))
    assert faults_of(Message("paused", "angehalten")) == []


def test_german_is_there():
    assert "de" in map(language_of, CATALOGUES)


@pytest.fixture
def german(settings, own_registry):
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}
    settings.LANGUAGE_CODE = "de"
    all_is_well()
    with translation.override("de"):
        yield


def test_a_german_reader_sees_german_pages(admin_client, german):
    enqueue("t:x")
    archived()
    page = admin_client.get(list_url("message")).content.decode()
    for word in ("Nachrichten", "Warteschlange", "bereit", "Versuche"):
        assert word in page
    assert "Queue" not in page.partition('id="changelist"')[2].partition("lg-bar")[0]

    overview = admin_client.get(reverse("admin:app_list", args=["django_letsgo_worker"])).content.decode()
    for word in ("Übersicht", "Wartezeit", "Laufzeit"):
        assert word in overview


def test_problems_and_explanations_are_german_too_but_what_programs_read_is_not(admin_client, german):
    with TROUBLES["queue_unserved"][0]():
        page = admin_client.get(reverse("admin:app_list", args=["django_letsgo_worker"])).content.decode()
        [problem] = problems()
    assert "aber kein lebender Worker bedient sie" in page
    assert "Fehler" in page and ">Ansehen<" in page
    assert (problem.code, problem.severity) == ("queue_unserved", "error")
    assert [action["verb"] for action in problem.actions] == ["run", "look"]
    message = enqueue("t:x", delay=3600)
    assert explain(message.pk).sentence.startswith("Wartet bis ")
