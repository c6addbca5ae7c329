"""contrib.celery: Celery's schedules, in which all fields must match, as declared schedules of ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from django_letsgo_worker import declarations
from django_letsgo_worker import schedules as ours
from django_letsgo_worker.contrib.celery import (
    UnsupportedCelery,
    beat,
    crontab,
    schedule,
    schedules,
    shared_task,
)
from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.models import Message, ScheduledJob
from django_letsgo_worker.testing import drain, fire_due, occurrences_between

START, END = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)


class TestCrontab:
    @pytest.mark.parametrize(
        ("given", "expression"),
        [
            (crontab(), "* * * * *"),
            (crontab(minute=0), "0 * * * *"),
            (crontab(minute="*/15", hour="8-18"), "*/15 8-18 * * *"),
            (crontab(minute="30", hour=[7, 19, 8]), "30 7-8,19 * * *"),
            (crontab(minute=0, hour=0, day_of_week="mon-fri"), "0 0 * * 1-5"),
            (crontab(minute=0, hour=0, day_of_week="Sunday"), "0 0 * * 0"),
            (crontab(minute=0, hour="22-2"), "0 0-2,22-23 * * *"),
            (crontab(minute=0, hour=0, day_of_week="fri-mon"), "0 0 * * 0-1,5-6"),
            (crontab(minute="0,10-50/20", hour=3), "0,10,30,50 3 * * *"),
            (crontab(minute=0, hour=0, day_of_month=1, month_of_year="*/3"), "0 0 1 */3 *"),
            (crontab(minute=0, hour=0, day_of_month="1", month_of_year="jan,july"), "0 0 1 1,7 *"),
            (crontab(0, 0, day_of_month="13", day_of_week="fri"),
             "rrule(FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=0;BYMINUTE=0)"),
            (crontab(0, day_of_month="1-2", day_of_week=[0], month_of_year=1),
             "rrule(FREQ=HOURLY;BYMONTH=1;BYMONTHDAY=1,2;BYDAY=SU;BYMINUTE=0)"),
            (crontab(day_of_month="1", day_of_week="mon"), "rrule(FREQ=MINUTELY;BYMONTHDAY=1;BYDAY=MO)"),
            (crontab(0, 9, day_of_month="*/2", day_of_week="mon"), "0 9 */2 * 1"),
            (crontab.from_string("5 4 * * sun"), "5 4 * * 0"),
        ],
    )  # fmt: skip
    def test_as_an_expression_of_ours(self, given, expression):
        assert given.expression == expression

    DAYS = ("*", "13", "1-7", "*/2", "29-3", [5, 31])
    WEEKDAYS = ("*", "fri", "mon-fri", "*/3", "sat-mon", [0, 6])
    MONTHS = ("*", "2", "nov-jan")

    @pytest.mark.parametrize(("day", "weekday", "month"), [*product(DAYS, WEEKDAYS, MONTHS)])
    def test_all_fields_must_match(self, day, weekday, month):
        given = crontab(minute=30, hour="6", day_of_month=day, day_of_week=weekday, month_of_year=month)

        moments = occurrences_between(given.expression, START, END)

        allowed = {
            "days": {"*": range(1, 32), "13": [13], "1-7": range(1, 8), "*/2": range(1, 32, 2),
                     "29-3": [29, 30, 31, 1, 2, 3]},
            "weekdays": {"*": range(7), "fri": [5], "mon-fri": range(1, 6), "*/3": [0, 3, 6],
                         "sat-mon": [6, 0, 1]},
            "months": {"*": range(1, 13), "2": [2], "nov-jan": [11, 12, 1]},
        }  # fmt: skip
        in_days = allowed["days"][day] if isinstance(day, str) else day
        in_weekdays = allowed["weekdays"][weekday] if isinstance(weekday, str) else weekday
        each_day = [START.replace(hour=6, minute=30) + timedelta(days=n) for n in range((END - START).days)]
        assert moments == [
            moment
            for moment in each_day
            if moment.day in in_days
            and moment.isoweekday() % 7 in in_weekdays
            and moment.month in allowed["months"][month]
        ]

    @pytest.mark.parametrize(
        ("field", "value"),
        [("minute", 60), ("minute", "a"), ("minute", ""), ("minute", "*/0"), ("minute", "5/2"),
         ("minute", None), ("minute", True), ("minute", [1, "2"]), ("hour", "1-"), ("hour", "24"),
         ("hour", -1), ("day_of_week", 7), ("day_of_month", 0), ("month_of_year", "13"), ("hour", "1" * 5000),
         ("minute", "1,,2")],
    )  # fmt: skip
    def test_what_is_no_field_is_refused_in_a_sentence(self, field, value):
        with pytest.raises(
            InvalidSchedule, match=rf"^{field}=.* is no field of a crontab\(\): write numbers from "
        ):
            crontab(**{field: value})

    def test_text_of_another_length_is_refused(self):
        with pytest.raises(InvalidSchedule, match="write five"):
            crontab.from_string("* * * *")

    def test_it_is_as_celery_itself_reads_it(self):
        theirs = pytest.importorskip("celery.schedules")
        for day, weekday, month in product(self.DAYS, self.WEEKDAYS, self.MONTHS):
            fields = {"day_of_month": day, "day_of_week": weekday, "month_of_year": month}
            read = theirs.crontab(**fields)
            assert schedules.DAY_OF_MONTH.read(day) == sorted(read.day_of_month)
            assert schedules.DAY_OF_WEEK.read(weekday) == sorted(read.day_of_week)
            assert schedules.MONTH.read(month) == sorted(read.month_of_year)


class TestIntervals:
    @pytest.mark.parametrize(
        "given", [90, 90.0, timedelta(seconds=90), schedule(90), schedule(timedelta(minutes=1.5))]
    )
    def test_they_are_elapsed_time(self, given):
        assert schedules.expression_of(given) == "@every 90s"

    @pytest.mark.parametrize("given", [0, 0.5, 1.5, -1, True, timedelta(milliseconds=1500)])
    def test_parts_of_seconds_are_refused(self, given):
        with pytest.raises(InvalidSchedule, match="whole seconds, 1 at least"):
            schedules.expression_of(given)

    def test_what_is_no_schedule_is_refused(self):
        with pytest.raises(
            UnsupportedCelery, match=r"crontab\(\), a timedelta or a number of seconds, not '@daily'"
        ):
            schedules.expression_of("@daily")
        with pytest.raises(UnsupportedCelery, match="relative=True"):
            schedule(60, relative=True)
        with pytest.raises(UnsupportedCelery, match=r"solar\(\)"):
            schedules.solar("sunset", 1, 2)


@pytest.fixture
def tidy(celery_app):
    ran = []

    @shared_task(name="shop.tidy", queue="slow")
    def tidy(*args, **kwargs):
        ran.append((args, kwargs))

    tidy.ran = ran
    return tidy


def declared(celery_app, **entries):
    """Declare the entries, and return the schedules by name as they are declared."""
    celery_app.conf.beat_schedule = entries
    beat.declare(celery_app)
    return {one.name: one for one in declarations.declared() if one.name in entries}


class TestBeat:
    def test_an_entry_is_a_declared_schedule_in_the_projects_zone(self, celery_app, tidy, settings):
        settings.TIME_ZONE = "Europe/Berlin"
        found = declared(
            celery_app,
            every={"task": "shop.tidy", "schedule": 30},
            monday={
                "task": "shop.tidy", "schedule": crontab(0, 7, day_of_week="mon"), "args": (1,),
                "kwargs": {"a": 2},
                "options": {"queue": "fast", "priority": 5, "expires": 60},
            },
        )  # fmt: skip

        monday = found["monday"]
        assert (monday.schedule, monday.timezone, monday.type) == (
            "0 7 * * 1",
            "Europe/Berlin",
            "celery:shop.tidy",
        )
        assert monday.payload == {"args": [1], "kwargs": {"a": 2}}
        assert monday.fields == {"queue": "fast", "priority": 5, "deadline": timedelta(seconds=60)}
        assert (found["every"].schedule, found["every"].fields) == ("@every 30s", {})

    def test_a_zone_of_celerys_own_wins(self, celery_app, tidy, settings):
        settings.CELERY_TIMEZONE = "Asia/Tokyo"
        assert declared(celery_app, a={"task": "shop.tidy", "schedule": 60})["a"].timezone == "Asia/Tokyo"

    def test_a_task_that_expires_does_so_here_too(self, celery_app):
        shared_task(name="shop.soon", expires=30)(lambda: None)
        found = declared(
            celery_app,
            own={"task": "shop.soon", "schedule": 60, "options": {"expires": 5}},
            tasks={"task": "shop.soon", "schedule": 60},
        )
        assert [found[name].fields["deadline"].total_seconds() for name in ("own", "tasks")] == [5, 30]

    def test_the_setting_is_read_from_django(self, celery_app, tidy, settings):
        settings.CELERY_BEAT_SCHEDULE = {"from-settings": {"task": "shop.tidy", "schedule": 60}}
        beat.declare(celery_app)
        assert "from-settings" in {one.name for one in declarations.declared()}

    def test_receivers_add_periodic_tasks_when_django_is_ready(self, celery_app, tidy):
        @celery_app.on_after_finalize.connect
        def set_up(sender, **kwargs):
            sender.add_periodic_task(10.0, tidy.s("hello"), name="often")
            sender.add_periodic_task(crontab(0, 7), tidy.s().set(queue="fast"))

        celery_app.get_ready()
        beat.declare(celery_app)

        found = {one.name: one for one in declarations.declared()}
        assert (found["often"].schedule, found["often"].payload["args"]) == ("@every 10s", ["hello"])
        assert (found["shop.tidy"].schedule, found["shop.tidy"].fields["queue"]) == ("0 7 * * *", "fast")

    def test_periodic_tasks_without_a_name_are_told_apart_by_their_arguments(self, celery_app, tidy):
        """As the first example in Celery's own documentation has them."""
        names = [
            celery_app.add_periodic_task(10.0, tidy.s("hello"), expires=10, queue="fast"),
            celery_app.add_periodic_task(30.0, tidy.s("world")),
            celery_app.add_periodic_task(30.0, tidy.s("hello", by="ada").set(priority=3)),
        ]
        beat.declare(celery_app)

        found = {one.name: one for one in declarations.declared()}
        assert len({*names, "shop.tidy"}) == 4
        assert [found[name].payload["args"] for name in names] == [["hello"], ["world"], ["hello"]]
        fields = found[names[0]].fields
        assert (fields["deadline"].total_seconds(), fields["queue"]) == (10, "fast")
        assert found[names[2]].fields["priority"] == 3

        celery_app._periodic.clear()
        assert celery_app.add_periodic_task(crontab(), tidy.s("world")) == names[1]
        assert "world" not in names[1]

    @pytest.mark.django_db(transaction=True)
    def test_a_scheduler_makes_the_row_and_a_worker_runs_the_task(self, celery_app, tidy, settings):
        settings.LETSGO_WORKER = {"SCHEDULE": ""}
        declared(celery_app, often={"task": "shop.tidy", "schedule": 60, "args": [1], "kwargs": {"b": 2}})
        ours.sync_declared(ours.declared_in_code())
        job = ScheduledJob.objects.get(name="often")
        fire_due(job.next_run_at)
        (message,) = Message.objects.all()
        drain(now=job.next_run_at)

        assert (message.queue, message.max_attempts) == ("slow", 4)
        assert tidy.ran == [((1,), {"b": 2})]

    @pytest.mark.django_db
    def test_schedules_of_ours_take_a_task_too(self, celery_app, tidy):
        job = ours.add("by hand", "@daily", tidy, args=[1])
        declarations.schedule("@hourly", name="above")(tidy)

        assert (job.type, job.payload["args"]) == ("celery:shop.tidy", [1])
        (above,) = [one for one in declarations.declared() if one.name == "above"]
        assert above.type == "celery:shop.tidy"

    @pytest.mark.parametrize(
        ("entry", "error", "sentence"),
        [
            ({"schedule": 60, "relative": True}, UnsupportedCelery, "has relative=True"),
            (
                {"schedule": 60, "options": {"countdown": 5}},
                UnsupportedCelery,
                "has the option 'countdown', and a ",
            ),
            ({"schedule": 60, "when": 1}, TypeError, "The entry 'a' of beat_schedule has no option 'when'"),
            (
                {"schedule": 60, "args": [object()]},
                ValueError,
                "The entry 'a' of beat_schedule cannot be sent as JSON",
            ),
            ({"schedule": "daily"}, UnsupportedCelery, "A schedule is crontab"),
        ],
    )
    def test_what_an_entry_cannot_have_is_refused_in_a_sentence(
        self, celery_app, tidy, entry, error, sentence
    ):
        with pytest.raises(error, match=sentence):
            declared(celery_app, a={"task": "shop.tidy", **entry})

    def test_two_periodic_tasks_of_one_name_are_refused(self, celery_app, tidy):
        celery_app.add_periodic_task(1, tidy.s())
        with pytest.raises(UnsupportedCelery, match="Two periodic tasks are named 'shop.tidy'"):
            celery_app.add_periodic_task(2, tidy.s())


def test_the_zone_follows_the_clock_changes_of_the_project(celery_app, tidy, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    found = declared(celery_app, morning={"task": "shop.tidy", "schedule": crontab(30, 6)})["morning"]

    moments = occurrences_between(
        found.schedule, datetime(2027, 3, 27, tzinfo=UTC), datetime(2027, 3, 30, tzinfo=UTC), found.timezone
    )
    local = [moment.astimezone(ZoneInfo("Europe/Berlin")) for moment in moments]
    assert [f"{moment:%d %H:%M}" for moment in local] == ["27 06:30", "28 06:30", "29 06:30"]
