"""The benchmark: its arithmetic, its goals, its tables, and that the command really measures something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.contestants import AT_HOME, PEERS
from tests.benchmarks.figures import Cell, middle, percentile, ratio
from tests.benchmarks.goals import GOALS, Goal
from tests.benchmarks.rounds import rotated, taking_part
from tests.benchmarks.serverlog import looks
from tests.benchmarks.tallies import Tallies, count_at
from tests.benchmarks.tally import MARK
from tests.benchmarks.workloads import WORKLOADS
from tests.support import ROOT

RAW = Cell("postgres", "drain", "raw")
OURS = Cell("postgres", "drain", "ours")
SECOND = 1_000_000_000


def record(cell: Cell, number: int, **figures: float) -> dict:
    place = {"engine": cell.engine, "workload": cell.workload, "contestant": cell.contestant}
    return {**place, "case": cell.case, "round": number, "figures": figures}


def write(path: Path, *marks: tuple[int, int], rest: bytes = b"") -> None:
    path.write_bytes(b"".join(MARK.pack(*mark) for mark in marks) + rest)


class TestTheArithmetic:
    def test_a_percentile_is_one_of_the_values(self):
        values = [5, 1, 4, 2, 3]
        assert [percentile(values, share) for share in (1, 20, 50, 95, 100)] == [1, 1, 3, 5, 5]

    def test_the_middle_is_the_median_over_the_rounds_of_one_cell(self):
        records = [record(OURS, n, rate=rate) for n, rate in enumerate([30, 10, 20])]
        assert middle([*records, record(RAW, 0, rate=1000)], OURS, "rate") == 20

    def test_nothing_measured_is_no_figure(self):
        failed = {**record(OURS, 0), "error": "it broke"}
        del failed["figures"]
        assert middle([failed], OURS, "rate") is None
        assert ratio([failed], OURS, RAW, "rate") is None

    def test_a_ratio_is_taken_within_each_round(self):
        # The machine was ten times slower in the second round, and nobody is the worse for it.
        records = [record(OURS, 1, rate=50), record(RAW, 1, rate=100), record(OURS, 2, rate=5)]
        records += [record(RAW, 2, rate=10), record(OURS, 3, rate=9), record(RAW, 4, rate=1)]
        assert ratio(records, OURS, RAW, "rate") == 0.5


class TestTheTallies:
    def test_a_rate_begins_with_the_last_worker_and_ends_with_the_last_acknowledgement(self, tmp_path):
        write(tmp_path / "handled-1", (1, 0), (101, 10 * SECOND))
        write(tmp_path / "handled-2", (1, 5 * SECOND), (200, 10 * SECOND))
        window = Tallies(tmp_path).window_until(15 * SECOND, 301)
        assert window.seconds == 10
        assert window.rate == (301 - 51 - 1) / 10

    def test_a_window_between_two_moments_counts_all_workers(self, tmp_path):
        write(tmp_path / "handled-1", (1, 0), (101, 10 * SECOND))
        write(tmp_path / "handled-2", (1, 5 * SECOND), (201, 15 * SECOND))
        assert Tallies(tmp_path).window_between(5 * SECOND, 10 * SECOND).rate == 30

    def test_a_window_without_length_is_refused(self, tmp_path):
        write(tmp_path / "handled-1", (1, 7))
        with pytest.raises(ValueError, match=r"too few messages\.$"):
            Tallies(tmp_path).window_until(7, 1)

    @pytest.mark.parametrize(("moment", "count"), [(-1, 0), (0, 10), (5, 15), (10, 20), (99, 20)])
    def test_a_count_between_two_marks_is_even(self, moment, count):
        assert count_at([(10, 0), (20, 10)], moment) == count

    def test_marks_are_read_as_handlers_write_them(self, tmp_path):
        # Two threads wrote the last two in the other order, and a third is about to write.
        marks = [(1, 100), (9, 300), (6, 200)]
        write(tmp_path / "handled-1", *marks, rest=b"half")
        write(tmp_path / "handled-2", (4, 150))
        write(tmp_path / "picked-up-1", (10, 30), (5, 25))
        tallies = Tallies(tmp_path)
        assert tallies.handled() == 9 + 4
        assert tallies.marks()[0] == [(1, 100), (6, 200), (9, 300)]
        assert tallies.pickups() == [(5, 25), (10, 30)]
        assert tallies.picked_up() == 2

    def test_a_handler_is_counted_by_its_process(self, tmp_path):
        handle = "from tests.benchmarks import tally\nfor _ in range(25): tally.handled()\ntally.picked_up(7)"
        environment = {"LETSGO_BENCH_TALLIES": str(tmp_path), "LETSGO_BENCH_EVERY": "10"}
        subprocess.run([sys.executable, "-c", handle], cwd=ROOT, env=environment, check=True)
        tallies = Tallies(tmp_path)
        assert [count for count, _moment in tallies.marks()[0]] == [1, 10, 20]
        assert tallies.pickups()[0][0] == 7 < tallies.pickups()[0][1]


def entry(second: str, milliseconds: str, words: str) -> str:
    """Return a line as PostgreSQL logs it with its default prefix."""
    return f"2026-11-28 10:00:{second} UTC [42] LOG:  duration: {milliseconds} ms  {words}\n"


class TestTheServersLog:
    def test_a_look_is_what_is_asked_of_a_table_between_two_silences(self):
        log = (
            entry("01.000", "0.250", "statement: SELECT id FROM job")
            + entry("01.150", "0.500", "statement: SELECT min(due)\n\tFROM job")
            + entry("02.150", "0.125", "execute s1: SELECT id FROM job")
            + entry("02.151", "9.000", "statement: UPDATE process SET seen = 1")
            + entry("07.000", "9.000", "statement: UPDATE process SET seen = 1")
        )
        assert looks(log, "job") == [0.75, 0.125]

    def test_what_a_statement_was_given_is_no_statement(self):
        given = "2026-11-28 10:00:01.000 UTC [42] DETAIL:  Parameters: $1 = 'LOG:  duration: 5 ms  job'\n"
        assert looks(given, "job") == []


class TestTheGoals:
    def test_a_floor_is_reached_from_above_and_a_ceiling_from_below(self):
        floor, ceiling = Goal("a rate", OURS, 2.0), Goal("a time", OURS, 2.0, is_ceiling=True)
        assert [floor.is_reached(value) for value in (1.9, 2.0, 2.1)] == [False, True, True]
        assert [ceiling.is_reached(value) for value in (1.9, 2.0, 2.1)] == [True, True, False]

    def test_a_goal_beside_another_is_about_their_ratio(self):
        records = [record(OURS, 1, rate=42), record(RAW, 1, rate=100)]
        assert Goal("drain", OURS, 0.4, RAW).value(records) == 0.42
        assert Goal("drain", OURS, 0.4, RAW).value(records[:1]) is None

    def test_a_plain_goal_may_count_in_another_unit(self):
        assert Goal("idle", OURS, 1.0, None, "cpu", times=0.5).value([record(OURS, 1, cpu=3.0)]) == 1.5

    @pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.what)
    def test_what_a_goal_names_is_measured(self, goal):
        contestants = {(one.engine, one.name): one for one in AT_HOME + PEERS}
        workloads = {one.name: one for one in WORKLOADS}
        for cell in filter(None, (goal.cell, goal.beside)):
            assert cell.workload in contestants[cell.engine, cell.contestant].takes_part_in
            assert cell.case in workloads[cell.workload].cases


class TestTheRounds:
    def test_each_contestant_is_the_first_in_turn(self):
        assert [rotated(list("abc"), number)[0] for number in range(4)] == ["a", "b", "c", "a"]
        assert rotated([], 3) == []

    def test_nobody_takes_part_where_an_engine_cannot_tell(self):
        look = next(workload for workload in WORKLOADS if workload.name == "schedules-look")
        assert {(one.engine, one.name) for one in taking_part(AT_HOME, look)} == {("postgres", "ours")}

    def test_a_contestant_takes_part_in_workloads_that_there_are(self):
        names = {workload.name for workload in WORKLOADS}
        assert all(one.takes_part_in <= names for one in AT_HOME + PEERS)


class TestTheTables:
    RECORDS = [
        record(RAW, 1, rate=1000.0),
        record(OURS, 1, rate=420.0, memory_mb=55.0),
        record(RAW, 2, rate=100.0),
        record(OURS, 2, rate=44.0, memory_mb=57.0),
        {**record(OURS, 3), "error": "it broke\nand said why"},
    ]

    def test_a_row_tells_the_median_the_spread_and_the_ratio(self):
        page = report.render(self.RECORDS)
        assert "| ours | 232 (44-420) | 0.43 | 56 |" in page
        assert "| drain, postgres: ours by raw | at least 0.42 | 0.43 | yes |" in page

    def test_a_workload_may_have_a_ceiling_of_its_own(self):
        ours, raw = (Cell("postgres", "schedules", name) for name in ("ours", "raw, our tables"))
        page = report.render([record(ours, 1, rate=30.0), record(raw, 1, rate=120.0)])
        assert "| ours | 30 | 0.25 |" in page

    def test_a_failure_is_told_in_its_first_line(self):
        page = report.render(self.RECORDS)
        assert "- PostgreSQL, drain, ours, round 3: it broke" in page
        assert "and said why" not in page

    def test_only_what_stands_between_the_markers_is_replaced(self, tmp_path):
        page = tmp_path / "page.md"
        page.write_text(f"# Mine\n{report.BEGIN}\nold\n{report.END}\nmine too\n")
        report.write_into(page, self.RECORDS)
        text = page.read_text()
        assert text.startswith(f"# Mine\n{report.BEGIN}\n") and text.endswith(f"\n{report.END}\nmine too\n")
        assert "old" not in text and "| ours |" in text

    def test_a_page_without_markers_is_left_alone(self, tmp_path):
        page = tmp_path / "page.md"
        page.write_text("# Mine\n")
        with pytest.raises(SystemExit, match="has no line"):
            report.write_into(page, self.RECORDS)
        assert page.read_text() == "# Mine\n"

    def test_our_own_page_has_the_markers(self):
        text = (ROOT / "docs" / "explanation" / "benchmarks.md").read_text()
        assert text.count(report.BEGIN) == text.count(report.END) == 1


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def on_linux_once(self, engine):
        if sys.platform != "linux" or engine != "sqlite":
            pytest.skip("It needs Linux, and brings its own databases: once is enough.")

    def test_it_measures_and_prints_json_lines(self, tmp_path):
        done = bench(
            "--quick", "--only", "enqueue,drain,schedules", "--peers", "none", "--engines", "sqlite",
            "--json", str(tmp_path / "lines"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        first, *lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert first["engine"] == "sqlite" and first["quick"]
        assert first["machine"]["memory_gb"] > 0 and first["machine"]["flushes_per_second"] > 0
        assert {(line["workload"], line["contestant"]) for line in lines} == {
            (workload, name)
            for workload in ("enqueue", "drain")
            for name in ("raw", "raw, FULL", "ours", "ours, FULL")
        } | {("schedules", "raw, our tables"), ("schedules", "ours")}
        for line in lines:
            assert line["round"] == 1 and line["engine"] == "sqlite"
            assert line["figures"]["number"] > 0 and line["figures"]["rate"] > 0
        assert (tmp_path / "lines").read_text() == done.stdout
        assert "| ours |" in done.stderr and "the figures mean nothing" in done.stderr

    def test_an_earlier_run_is_shown_again(self, tmp_path):
        lines = tmp_path / "lines"
        lines.write_text("".join(json.dumps(one) + "\n" for one in TestTheTables.RECORDS[:4]))
        done = bench("--read", str(lines))
        assert done.returncode == 0, done.stderr
        assert "| ours | 232 (44-420) | 0.43 | 56 |" in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--only", "enqeue"], "'enqeue' is none of enqueue, bulk, "),
            (["--peers", "celery"], "'celery' is none of "),
            (["--engines", "oracle"], "'oracle' is none of postgres, sqlite"),
        ],
    )
    def test_a_wrong_name_is_refused_with_the_right_ones(self, arguments, words):
        done = bench(*arguments)
        assert done.returncode == 2
        assert words in done.stderr
