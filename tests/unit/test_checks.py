"""What `manage.py check` says about the settings."""

import pytest
from django.core import checks


def said(**kwargs):
    return [message.id for message in checks.run_checks(tags=["letsgo_worker"])]


def test_nothing_is_said_about_good_settings():
    assert said() == []


def test_a_setting_that_does_not_exist_is_an_error_with_a_suggestion(settings):
    settings.LETSGO_WORKER = {"CONCURENCY": 4}

    (message,) = checks.run_checks(tags=["letsgo_worker"])

    assert message.id == "letsgo_worker.E001"
    assert "Did you mean 'CONCURRENCY'?" in message.msg


def test_a_database_that_does_not_exist_is_an_error(settings):
    settings.LETSGO_WORKER = {"DATABASE": "elsewhere"}

    assert said() == ["letsgo_worker.E002"]


def test_naive_times_are_refused(settings):
    settings.USE_TZ = False

    assert said() == ["letsgo_worker.E003"]


@pytest.mark.parametrize(("zone", "expected"), [("UTC", []), ("Europe/Copenhagen", ["letsgo_worker.E004"])])
def test_a_database_in_another_zone_is_refused(settings, zone, expected):
    settings.DATABASES["default"]["TIME_ZONE"], before = zone, settings.DATABASES["default"]["TIME_ZONE"]
    try:
        assert said() == expected
    finally:
        settings.DATABASES["default"]["TIME_ZONE"] = before
