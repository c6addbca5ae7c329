"""@calendar: what can be a calendar, its name, and two of one name."""

import importlib
import sys
from datetime import date

import pytest

from django_letsgo_worker import calendar, calendars
from django_letsgo_worker.errors import DuplicateCalendar, InvalidSchedule

DAY = date(2026, 12, 25)
MODULE = """
from django_letsgo_worker import calendar

@calendar("holidays")
def {name}(day):
    return {answer}
"""


@pytest.fixture(autouse=True)
def no_calendars(monkeypatch):
    monkeypatch.setattr(calendars, "_calendars", {})


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of the project's: module(text)."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> None:
        (tmp_path / "calendars_of_the_shop.py").write_text(text)
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("calendars_of_the_shop", None)


def test_a_calendar_says_on_which_days_nothing_runs():
    @calendar("holidays")
    def holidays(day):
        return day == DAY

    assert holidays(DAY) is True
    assert calendars.names() == ["holidays"]
    assert calendars.get("holidays").excludes(DAY)
    assert not calendars.get("holidays").excludes(date(2026, 12, 26))


@pytest.mark.parametrize("name", ["a", "a" * 64, "feiertage-2026", "bank_holidays"])
def test_a_name_is_lower_case(name):
    calendar(name)(lambda day: False)

    assert calendars.names() == [name]


@pytest.mark.parametrize(
    "name", ["", "a" * 65, "Holidays", "12-25", "-x", "holi days", "h\u00f6lidays", "x\n"]
)
def test_another_name_is_refused(name):
    with pytest.raises(InvalidSchedule, match="is no name of a calendar; write 1 to 64 lower-case") as caught:
        calendar(name)

    assert caught.value.field == "except_on"


def test_a_decorator_without_a_name_is_refused():
    with pytest.raises(InvalidSchedule, match=r"write @calendar\('holidays'\), not one of function"):

        @calendar
        def holidays(day):
            return False


async def async_days(day):
    return False


def yielding_days(day):
    yield False


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda: False, "is called with a date and nothing else: too many positional arguments"),
        (lambda day, country: False, "is called with a date and nothing else: missing a required argument"),
        ("holidays", "it is not a function but str"),
        (async_days, "is a plain function that returns True or False"),
        (yielding_days, "is a plain function that returns True or False"),
    ],
)
def test_what_cannot_be_asked_for_a_day_is_no_calendar(function, why):
    with pytest.raises(TypeError, match=f"^The calendar 'holidays' .*{why}"):
        calendar("holidays")(function)

    assert calendars.names() == []


def test_an_unknown_calendar_is_refused_with_the_one_that_is_near():
    calendar("holidays")(lambda day: False)

    with pytest.raises(
        InvalidSchedule, match="^There is no calendar 'holliday' here. Did you mean 'holidays'?"
    ):
        calendars.get("holliday")
    with pytest.raises(InvalidSchedule, match="^There is no calendar 'x' here. Register it with @calendar"):
        calendars.get("x")


@pytest.mark.parametrize("answer", [None, 1, 0, "yes", []])
def test_an_answer_that_is_neither_true_nor_false_is_an_error_that_names_the_day(answer):
    calendar("holidays")(lambda day: answer)

    with pytest.raises(
        InvalidSchedule, match="^The calendar 'holidays' returned .* for 2026-12-25;"
    ) as caught:
        calendars.get("holidays").excludes(DAY)

    assert caught.value.field == "except_on"


def test_an_error_of_a_calendar_stands_behind_one_that_names_the_day():
    calendar("holidays")(lambda day: 1 / 0)

    with pytest.raises(
        InvalidSchedule, match="'holidays' failed for 2026-12-25, with ZeroDivisionError"
    ) as caught:
        calendars.get("holidays").excludes(DAY)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_two_of_one_name_are_an_error(module):
    module(MODULE.format(name="first", answer=True) + MODULE.format(name="second", answer=False))

    with pytest.raises(DuplicateCalendar, match="^Two calendars are registered as 'holidays': ") as caught:
        importlib.import_module("calendars_of_the_shop")

    assert "calendars_of_the_shop.first (line 4)" in caught.value.first
    assert "calendars_of_the_shop.second (line 10)" in caught.value.second
    assert calendars.get("holidays").excludes(DAY)


@pytest.mark.parametrize("name", ["first", "renamed"])
def test_a_module_that_is_reloaded_replaces_its_own(module, name):
    module(MODULE.format(name="first", answer=True))
    loaded = importlib.import_module("calendars_of_the_shop")

    module("\n\n" + MODULE.format(name=name, answer=False))
    importlib.reload(loaded)

    assert not calendars.get("holidays").excludes(DAY)


def test_a_module_that_is_forgotten_and_imported_again_replaces_its_own(module):
    module(MODULE.format(name="first", answer=True))
    importlib.import_module("calendars_of_the_shop")
    del sys.modules["calendars_of_the_shop"]
    importlib.import_module("calendars_of_the_shop")

    assert calendars.names() == ["holidays"]


def test_a_calendar_that_is_removed_is_unknown():
    calendar("holidays")(lambda day: False)
    calendars.remove("holidays")

    assert calendars.names() == []
