"""letsgo schedule: look, add, switch, run, delete; out as a file and in again."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from django.db.models import F

from django_letsgo_worker import messages, schedules
from django_letsgo_worker.models import ArchivedMessage, Message, Occurrence, Process, ScheduledJob
from django_letsgo_worker.recurrence import Recurrence

from .test_output import everything, letsgo, refusal

pytestmark = pytest.mark.django_db

KEYS = [
    "state", "name", "schedule", "timezone", "type", "queue", "priority", "max_attempts", "deadline",
    "enabled", "starts_at", "ends_at", "misfire", "misfire_grace", "overlap", "spread", "except_on",
    "max_runs", "pause_after_failures", "delete_when_over", "next_run_at", "last_run_at", "runs",
    "waiting_message_id", "problem", "declared_in_code", "switched_at", "switched_by", "switch_reason",
    "resume_at", "created_at", "updated_at",
]  # fmt: skip


def row(name: str = "nightly") -> ScheduledJob:
    return ScheduledJob.objects.get(name=name)


@pytest.fixture
def nightly() -> ScheduledJob:
    return schedules.add("nightly", "30 2 * * *", "report", {"a": 1}, timezone="Europe/Berlin")


class TestAdd:
    def test_adds_with_all_options_and_prints_the_next_runs(self):
        said = letsgo(
            *("schedule", "add", "nightly", "30 2 * * *", "report"),
            *("--timezone", "Europe/Berlin", "--payload", '{"a": [1, 2.50]}', "--queue", "slow"),
            *("--priority", "-5", "--max-attempts", "3", "--deadline", "1h30m"),
            *("--misfire", "all", "--overlap", "skip"),
        )

        job = row()
        assert (job.schedule, job.type, job.timezone) == ("30 2 * * *", "report", "Europe/Berlin")
        assert (job.payload, job.queue, job.priority, job.max_attempts) == ({"a": [1, 2.5]}, "slow", -5, 3)
        assert (job.deadline, job.misfire, job.overlap, job.enabled) == (
            timedelta(minutes=90), "all", "skip", True,
        )  # fmt: skip
        assert len(said.lines) == 5
        assert all("02:30:00+0" in line and "Europe/Berlin" in line for line in said.lines)
        assert "at 02:30 every day" in said.err

    def test_adds_with_exceptions_and_an_end(self):
        letsgo(
            *("schedule", "add", "nightly", "30 2 * * *", "report", "--except-on", "12-24..12-26"),
            *("--max-runs", "5", "--pause-after-failures", "3", "--delete-when-over"),
        )
        job = row()
        assert (job.except_on, job.max_runs, job.pause_after_failures, job.delete_when_over) == (
            "12-24..12-26", 5, 3, True,
        )  # fmt: skip

    def test_without_these_options_there_are_none_of_them(self):
        letsgo("schedule", "add", "nightly", "30 2 * * *", "report")
        job = row()
        assert (job.except_on, job.max_runs, job.pause_after_failures, job.delete_when_over) == (
            "", None, None, False,
        )  # fmt: skip

    @pytest.mark.parametrize("overlap", ["allow", "skip", "queue", "replace"])
    def test_takes_each_rule_for_runs_that_overlap(self, overlap):
        letsgo("schedule", "add", "a", "hourly", "t", "--overlap", overlap)
        assert row("a").overlap == overlap

    @pytest.mark.parametrize(
        "macro", ["hourly", "daily", "midnight", "weekly", "monthly", "yearly", "annually"]
    )
    def test_takes_the_macros_without_their_sign(self, macro):
        letsgo("schedule", "add", "a", macro, "t")
        letsgo("schedule", "add", "b", f"@{macro}", "t")
        assert row("a").schedule == row("b").schedule == f"@{macro}"

    def test_adds_it_switched_off(self):
        said = letsgo("schedule", "add", "a", "hourly", "t", "--disabled")
        assert (row("a").enabled, said.out) == (False, "")
        assert "switched off" in said.err

    def test_as_json_prints_the_row_and_its_next_runs(self):
        added = letsgo("schedule", "add", "a", "hourly", "t", "--deadline", "90s", "--json").json
        assert list(added) == [*KEYS, "next_runs"]
        assert (added["deadline"], added["misfire_grace"]) == (90.0, 60.0)
        assert added["next_runs"] == [run.isoformat() for run in row("a").next_runs(5)]

    def test_takes_the_payload_from_a_file_or_from_standard_input(self, tmp_path, monkeypatch):
        (tmp_path / "payload.json").write_text('\ufeff{"from": "ä file"}', encoding="utf-8")
        letsgo("schedule", "add", "a", "hourly", "t", "--payload", f"@{tmp_path / 'payload.json'}")
        monkeypatch.setattr("sys.stdin", io.StringIO('["stdin"]'))
        letsgo("schedule", "add", "b", "hourly", "t", "--payload", "-")
        assert (row("a").payload, row("b").payload) == ({"from": "ä file"}, ["stdin"])

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (("nightly", "hourly", "t"), "A schedule named 'nightly' exists already."),
            (("", "hourly", "t"), "name"),
            (("a", "every day", "t"), "every day"),
            (("a", "0 0 30 2 *", "t"), "No date ever matches"),
            (("a", "*/90 * * * *", "t"), "rate(90 minutes)"),
            (("a", "hourly", "a b"), "The type 'a b' is refused"),
            (("a", "hourly", "letsgo:mine"), "reserved"),
            (("a", "hourly", "t", "--timezone", "Mars/Base"), "Mars/Base"),
            (("a", "hourly", "t", "--payload", "{a}"), "The payload is not JSON"),
            (("a", "hourly", "t", "--payload", "[NaN]"), "NaN"),
            (("a", "hourly", "t", "--payload", "[" * 100_000), "nested too deep"),
            (("a", "hourly", "t", "--payload", "@/nowhere/at/all"), "Cannot read '/nowhere/at/all'"),
            (("a", "hourly", "t", "--queue", "a b"), "The queue 'a b' is refused"),
            (("a", "hourly", "t", "--priority", "101"), "priority"),
            (("a", "hourly", "t", "--max-attempts", "0"), "max_attempts"),
            (("a", "hourly", "t", "--deadline", "0s"), "deadline"),
            (("a", "hourly", "t", "--max-runs", "0"), "max_runs is a whole number from 1"),
            (("a", "hourly", "t", "--pause-after-failures", "1001"), "pause_after_failures"),
            (("a", "hourly", "t", "--except-on", "x" * 2001), "except_on"),
        ],
    )
    def test_bad_input_is_one_sentence_and_changes_nothing(self, nightly, words, sentence):
        before = everything()
        refused = refusal("schedule", "add", *words)
        assert sentence in refused
        assert "\n" not in refused and refused.endswith(".")
        assert everything() == before

    def test_a_refused_payload_is_not_shown(self):
        assert "4111" not in refusal("schedule", "add", "a", "hourly", "t", "--payload", '{"card": 4111')


class TestLook:
    def test_lists_all_by_name_with_the_columns_as_keys(self, nightly):
        schedules.add("a", "rate(5 minutes)", "t")
        listed = letsgo("schedule", "list", "--json").json
        assert [list(one) for one in listed] == [KEYS, KEYS]
        assert [one["name"] for one in listed] == ["a", "nightly"]
        assert datetime.fromisoformat(listed[1]["next_run_at"]) == nightly.next_run_at
        table = letsgo("schedule", "list").lines
        assert table[0].split()[:3] == ["name", "state", "schedule"]
        assert table[2].startswith("nightly  on     30 2 * * *")

    def test_lists_names_only(self, nightly):
        schedules.add("a name with spaces", "hourly".join(["@", ""]), "t")
        assert letsgo("schedule", "list", "--names").lines == ["a name with spaces", "nightly"]
        assert letsgo("schedule", "list", "--names", "--json").json == ["a name with spaces", "nightly"]

    def test_an_empty_list_is_empty(self):
        assert letsgo("schedule", "list", "--json").json == []
        assert letsgo("schedule", "list").out == ""

    def test_shows_what_one_asks_of_a_schedule(self, nightly):
        shown = dict(line.split(":", 1) for line in letsgo("schedule", "show", "nightly").lines)
        assert [shown[label].strip() for label in ("State", "Expression", "Timezone")] == [
            "on", "30 2 * * *", "Europe/Berlin",
        ]  # fmt: skip
        assert {"Updated", "Next run", "Last run", "Last result"} <= set(shown)
        assert "Payload" not in shown

    def test_shows_the_payload_when_it_is_asked_for_with_secrets_masked(self):
        schedules.add("a", "@hourly", "t", {"n": 1, "password": "x"})
        assert "payload" not in letsgo("schedule", "show", "a", "--json").json
        shown = letsgo("schedule", "show", "a", "--json", "--payload").json
        assert shown["payload"] == {"n": 1, "password": "•••"}

    def test_says_how_the_last_run_ended(self, nightly):
        def result():
            return letsgo("schedule", "show", "nightly", "--json").json["last_result"]

        assert result() is None
        ScheduledJob.objects.update(next_run_at=F("created_at"))
        [message] = schedules.fire_due()
        assert result() == "ready"
        messages.cancel(message.pk)
        assert result() == "cancelled"
        ArchivedMessage.objects.all().delete()
        assert result() == "pruned"
        Occurrence.objects.update(message_id=None, skipped_because="overlap: busy")
        assert result() == "skipped"
        assert "skipped, overlap: busy" in letsgo("schedule", "show", "nightly").out

    def test_says_how_many_runs_there_were_and_which_message_waits(self, nightly):
        assert "Runs: 0" in [" ".join(line.split()) for line in letsgo("schedule", "show", "nightly").lines]
        ScheduledJob.objects.update(runs=3, max_runs=5, waiting_message_id=47)
        shown = letsgo("schedule", "show", "nightly", "--json").json
        assert (shown["runs"], shown["max_runs"], shown["waiting_message_id"]) == (3, 5, 47)

    def test_counts_the_living_schedulers(self, nightly):
        now = datetime.now(UTC)
        for name, age in (("one", 0), ("two", 3600)):
            at = now - timedelta(seconds=age)
            Process.objects.create(
                kind="scheduler", name=name, host="h", pid=1, started_at=at, heartbeat_at=at
            )
        assert letsgo("schedule", "show", "nightly", "--json").json["schedulers"] == 1

    def test_a_row_edited_into_nonsense_is_shown_all_the_same(self, nightly):
        ScheduledJob.objects.update(schedule="nonsense", problem="It cannot be read.")
        assert letsgo("schedule", "show", "nightly", "--json").json["state"] == "broken"
        assert "It cannot be read." in letsgo("schedule", "list").out

    @pytest.mark.parametrize("verb", ["show", "enable", "disable", "run", "delete"])
    def test_a_name_that_is_none_is_one_sentence(self, verb):
        assert refusal("schedule", verb, "nobody") == "There is no schedule named 'nobody'."


class TestNext:
    def test_shows_the_next_runs_of_a_schedule(self, nightly):
        runs = letsgo("schedule", "next", "nightly", "-n", "3", "--json").json
        assert [run["planned_at"] for run in runs] == [run.isoformat() for run in nightly.next_runs(3)]
        assert [list(run) for run in runs] == [["planned_at", "timezone", "is_moved", "excluded"]] * 3

    def test_shows_those_of_an_expression_on_the_clock_of_a_zone(self):
        lines = letsgo("schedule", "next", "0 9 * * MON", "--timezone", "Asia/Tokyo").lines
        assert len(lines) == 5
        assert all("09:00:00+09:00 Asia/Tokyo" in line for line in lines)

    def test_takes_yearly_without_its_sign(self):
        runs = letsgo("schedule", "next", "yearly", "-n", "2", "--json").json
        expected = islice(Recurrence.parse("@yearly").occurrences_after(datetime.now(UTC)), 2)
        assert [run["planned_at"] for run in runs] == [run.isoformat() for run in expected]

    def test_a_schedule_of_that_name_comes_first(self):
        schedules.add("daily", "at(2099-01-01T00:00:00)", "t")
        assert letsgo("schedule", "next", "daily").lines[0].startswith("2099-01-01 00:00:00Z")

    def test_says_which_runs_a_clock_change_moves(self):
        said = letsgo("schedule", "next", "30 2 * 3 *", "--timezone", "Europe/Berlin", "-n", "31")
        assert sum("(moved by a clock change)" in line for line in said.lines) == 1

    def test_says_on_which_days_nothing_runs(self):
        schedules.add(
            "worked", "@daily", "t", starts_at=datetime(2090, 12, 23, tzinfo=UTC), except_on="12-24"
        )
        said = letsgo("schedule", "next", "worked", "-n", "3").lines
        assert ["(excluded: " in line for line in said] == [False, True, False]
        shown = letsgo("schedule", "next", "worked", "-n", "3", "--json").json
        assert [bool(run["excluded"]) for run in shown] == [False, True, False]
        days = [moment[:10] for moment in letsgo("schedule", "show", "worked", "--json").json["next_runs"]]
        assert days == ["2090-12-23", "2090-12-25", "2090-12-26", "2090-12-27"]

    def test_shows_what_a_schedule_that_is_off_would_do(self, nightly):
        schedules.disable("nightly")
        said = letsgo("schedule", "next", "nightly", "-n", "2")
        assert len(said.lines) == 2
        assert "switched off" in said.err

    def test_shows_none_of_one_that_is_over(self):
        said = letsgo("schedule", "next", "at(2020-01-01T00:00:00)")
        assert (said.out, said.err) == ("", "No further runs.\n")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (("nobody",), "There is no schedule named 'nobody', and it is not a valid expression: "),
            (("hourly", "--timezone", "Mars/Base"), "Mars/Base"),
            (("nightly", "--timezone", "Mars/Base"), "Mars/Base"),
        ],
    )
    def test_bad_input_is_one_sentence(self, nightly, words, sentence):
        refused = refusal("schedule", "next", *words)
        assert sentence in refused and "\n" not in refused


class TestChange:
    def test_switches_off_with_who_why_and_until_when_and_on_again(self, nightly):
        letsgo("schedule", "disable", "nightly", "--reason", "the move", "--for", "2h")
        off = row()
        assert (off.enabled, off.switch_reason, off.next_run_at) == (False, "the move", None)
        assert off.switched_by != ""
        assert abs(off.resume_at - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)

        said = letsgo("schedule", "enable", "nightly")
        assert row().enabled
        assert (said.out, "is on: next run" in said.err) == ("", True)

    def test_prints_the_row_as_json(self, nightly):
        assert letsgo("schedule", "disable", "nightly", "--json").json["state"] == "off"
        assert letsgo("schedule", "enable", "nightly", "--json").json["state"] == "on"

    @pytest.mark.parametrize("length", ["0s", "9999999d"])
    def test_a_time_to_resume_that_never_comes_is_refused(self, nightly, length):
        before = everything()
        refusal("schedule", "disable", "nightly", "--for", length)
        assert everything() == before

    def test_runs_one_now_and_prints_the_id(self, nightly):
        said = letsgo("schedule", "run", "nightly")
        message = Message.objects.get()
        assert (said.lines, message.type, message.payload) == ([str(message.pk)], "report", {"a": 1})
        assert letsgo("schedule", "run", "nightly", "--json").json["scheduled_job_id"] == nightly.pk

    def test_deletes_only_when_told_not_to_ask_where_nobody_can_answer(self, nightly):
        assert "needs --noinput" in refusal("schedule", "delete", "nightly")
        assert ScheduledJob.objects.exists()
        said = letsgo("schedule", "delete", "nightly", "--noinput")
        assert not ScheduledJob.objects.exists()
        assert (said.out, said.err) == ("", "Schedule 'nightly' was deleted.\n")

    def test_a_caller_from_python_says_interactive_false(self, nightly):
        letsgo("schedule", "delete", "nightly", interactive=False)
        assert not ScheduledJob.objects.exists()


class TestFiles:
    @pytest.fixture
    def bring_in(self, tmp_path):
        """Import what is given as JSON."""

        def bring(content, *words):
            file = tmp_path / "schedules.json"
            file.write_text(content if isinstance(content, str) else json.dumps(content))
            return letsgo("schedule", "import", file, *words)

        return bring

    def test_what_goes_out_comes_in_again_the_same(self, nightly, bring_in):
        schedules.add(
            *("full", "rate(5 minutes)", "t", {"card": "4111"}), queue="q", priority=3, max_attempts=2,
            deadline=90.5, enabled=False, starts_at=datetime(2027, 1, 1, tzinfo=UTC),
            ends_at=datetime(2028, 1, 1, tzinfo=UTC), misfire="skip", misfire_grace=5, overlap="skip",
            spread=7,
        )  # fmt: skip
        exported = letsgo("schedule", "export").json
        ScheduledJob.objects.all().delete()

        assert bring_in(exported).out == "added 2, changed 0, unchanged 0\n"
        assert letsgo("schedule", "export").json == exported
        assert [one["name"] for one in exported] == ["full", "nightly"]
        assert row("full").payload == {"card": "4111"}

    def test_bringing_in_what_is_there_writes_nothing(self, nightly, bring_in):
        before = everything()
        assert bring_in(letsgo("schedule", "export").out).out == "added 0, changed 0, unchanged 1\n"
        assert everything() == before

    def test_changes_what_differs_and_leaves_the_rest_of_a_row_alone(self, nightly, bring_in):
        entry = {"name": "nightly", "schedule": "30 2 * * *", "type": "report", "payload": {"a": True}}
        assert bring_in([entry], "--json").json == {"added": 0, "changed": 1, "unchanged": 0}
        assert (row().payload, row().timezone) == ({"a": True}, "Europe/Berlin")

    def test_reads_standard_input(self, monkeypatch):
        monkeypatch.setattr("sys.stdin", io.StringIO('[{"name": "a", "schedule": "@hourly", "type": "t"}]'))
        letsgo("schedule", "import", "-")
        assert row("a").type == "t"

    def test_leaves_out_what_the_code_declares_and_says_so(self, nightly):
        schedules.sync_declared(schedules.declared_in_settings())
        said = letsgo("schedule", "export")
        assert [one["name"] for one in said.json] == ["nightly"]
        assert "1 schedule is left out" in said.err

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ("{", "The file is not JSON"),
            ({}, "The file is not a JSON list of schedules."),
            ([1], "Schedule 0 is not an object."),
            ([{}], "Schedule 0 needs 'name', as text."),
            ([{"name": "a", "schedule": "@hourly"}], "Schedule 0 needs 'type', as text."),
            ([{"name": "a", "shedule": ""}], "Schedule 0 has no field 'shedule'. Did you mean 'schedule'?"),
            ([{"name": "a", "schedule": "never", "type": "t"}], "Schedule 0 ('a') is refused: "),
            ([{"name": "a\0", "schedule": "@hourly", "type": "t"}], "is refused"),
            ([{"name": "a", "schedule": "@hourly", "type": "t", "deadline": "1h"}], "deadline"),
            ([{"name": "a", "schedule": "@hourly", "type": "t", "deadline": 1e300}], "cannot be read"),
            ([{"name": "a", "schedule": "@hourly", "type": "t", "enabled": "yes"}], "enabled"),
            ([{"name": "a", "schedule": "@hourly", "type": "t", "starts_at": "2027-01-01"}], "starts_at"),
            ([{"name": "a", "schedule": "@hourly", "type": "t", "starts_at": 5}], "starts_at"),
            ([{"name": "nightly", "schedule": "@hourly", "type": "t", "spread": -1}], "spread"),
        ],
    )
    def test_bad_input_is_one_sentence_and_brings_in_none(
        self, nightly, bring_in, tmp_path, content, sentence
    ):
        if isinstance(content, list) and content and isinstance(content[0], dict) and len(content[0]) > 2:
            content = [{"name": "good", "schedule": "@hourly", "type": "t"}, *content]
            sentence = sentence.replace("Schedule 0", "Schedule 1")
        file = tmp_path / "bad.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        before = everything()
        refused = refusal("schedule", "import", file)
        assert sentence in refused
        assert "\n" not in refused
        assert everything() == before

    def test_what_the_code_declares_is_not_overwritten(self, bring_in):
        schedules.sync_declared(schedules.declared_in_settings())
        with pytest.raises(Exception, match="declared in code"):
            bring_in([{"name": "worker", "schedule": "@daily", "type": "letsgo:scheduled"}])
        assert row("worker").schedule == "rate(1 hour)"


class TestBackfill:
    TIMES = ("2026-03-01T00:00:00+01:00", "2026-03-07T12:00:00+01:00")

    def test_makes_up_for_each_planned_time_that_has_no_record(self, nightly):
        recorded = datetime(2026, 3, 3, 1, 30, tzinfo=UTC)
        Occurrence.objects.create(scheduled_job=nightly, planned_at=recorded, fired_at=recorded)

        assert letsgo("schedule", "backfill", "nightly", *self.TIMES).out == "6 messages were made.\n"

        made = list(Message.objects.order_by("pk").values_list("planned_at", flat=True))
        assert made == [datetime(2026, 3, day, 1, 30, tzinfo=UTC) for day in (1, 2, 4, 5, 6, 7)]
        assert Occurrence.objects.filter(is_backfill=True).count() == 6

    def test_a_second_time_there_is_nothing_to_make_up_for(self, nightly):
        letsgo("schedule", "backfill", "nightly", *self.TIMES)
        again = letsgo("schedule", "backfill", "nightly", *self.TIMES, "--json").json
        assert again == {"name": "nightly", "made": 0}
        assert Message.objects.count() == 7

    def test_spreads_the_starts_over_a_length_of_time(self, nightly):
        letsgo("schedule", "backfill", "nightly", *self.TIMES, "--over", "7h")
        starts = list(Message.objects.order_by("pk").values_list("visible_at", flat=True))
        assert starts == sorted(starts)
        assert timedelta(hours=5) < starts[-1] - starts[0] <= timedelta(hours=7)

    @pytest.mark.parametrize(
        ("words", "word"),
        [
            (("nobody", *TIMES), "There is no schedule named 'nobody'."),
            (("nightly", TIMES[0], "2099-01-01T00:00:00+00:00"), "A backfill ends in the past"),
            (("nightly", TIMES[1], TIMES[0]), "cannot end at"),
            (("nightly", "2026-03-01T00:00:00", TIMES[1]), "time zone"),
            (("nightly", "yesterday", TIMES[1]), "a time such as"),
            (("nightly", *TIMES, "--over", "long"), "a duration such as"),
        ],
    )
    def test_bad_input_is_one_sentence_and_makes_nothing(self, nightly, words, word):
        before = everything()
        refused = refusal("schedule", "backfill", *words)
        assert word in refused and "\n" not in refused
        assert everything() == before
