"""Which time zones a schedule may have."""

import zoneinfo

import pytest

from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.recurrence import Recurrence, zones


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "EST5EDT"]
)
def test_an_iana_name_is_a_zone(name):
    assert Recurrence.parse("@daily", name).timezone == name


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("europe/berlin", "write a name such as Europe/Berlin"),
        ("Europe/Berln", "write a name such as Europe/Berlin"),
        ("CEST", "write a name such as UTC or Europe/Berlin"),
        ("UTC+2", "write a name such as UTC or Europe/Berlin"),
        ("Europe", "write a name such as UTC or Europe/Berlin"),
        ("Mars/Olympus", "is not an IANA time zone"),
        ("/etc/localtime", "is not an IANA time zone"),
        ("../UTC", "is not an IANA time zone"),
        ("Europe/Berlin\n", "is not an IANA time zone"),
        (" UTC", "is not an IANA time zone"),
        ("", "write one such as UTC"),
        ("x" * 100_000, "write one such as UTC"),
        (None, "A time zone is text"),
        (zoneinfo.ZoneInfo("UTC"), "A time zone is text"),
    ],
)
def test_what_is_no_iana_name_is_refused_and_never_becomes_utc(name, instead):
    with pytest.raises(InvalidSchedule) as refusal:
        Recurrence.parse("@daily", name)

    assert instead in str(refusal.value)
    assert refusal.value.field == "timezone"


def test_the_zone_of_the_host_is_no_zone():
    """Where `localtime` is a file among the zones, each host would plan by its own."""
    with pytest.raises(InvalidSchedule, match="'localtime' is not an IANA time zone"):
        Recurrence.parse("@daily", "localtime")


@pytest.mark.parametrize("expression", ["rate(5 minutes)", "at(2027-01-01T09:00:00)", "@every 90s"])
def test_the_zone_is_checked_for_every_kind_of_schedule(expression):
    with pytest.raises(InvalidSchedule, match="is not an IANA time zone"):
        Recurrence.parse(expression, "Mars/Olympus")


def test_a_zone_whose_data_cannot_be_read_is_refused(monkeypatch):
    def unreadable(name):
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zones.zoneinfo, "ZoneInfo", unreadable)

    with pytest.raises(InvalidSchedule, match="install the package tzdata") as refusal:
        Recurrence.parse("@daily", "Europe/Berlin")
    assert refusal.value.field == "timezone"


def test_a_wrong_schedule_is_told_before_a_wrong_zone():
    with pytest.raises(InvalidSchedule) as refusal:
        Recurrence.parse("nonsense", "Mars/Olympus")

    assert refusal.value.field == "schedule"
