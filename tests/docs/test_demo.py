"""The demonstration: what `manage.py demo` and `script/demo` do on a machine that has nothing else."""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing

import pytest
from django.core.management.base import CommandError

from django_letsgo_worker.models import Process
from testproject.shop.management.commands import demo
from testproject.shop.models import Invoice, Order
from tests.support import MANAGE, ROOT, wait_until

ONCE = [sys.executable, str(MANAGE), "demo", "--once"]


@pytest.fixture(scope="session")
def new_database(tmp_path_factory):
    """The environment of a process whose database is a file that does not exist before these tests."""
    return {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('demo') / 'shop.sqlite3'}"}


@pytest.fixture(scope="session")
def first(new_database):
    """The first run on a new database, which the tests share: it takes seconds."""
    return run(new_database)


def run(environment, *command):
    return subprocess.run(
        command or ONCE, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def table(output, *columns):
    """Return the table below these columns: name -> numbers."""
    lines = output.splitlines()
    start = next(n for n, line in enumerate(lines) if tuple(line.split()) == columns)
    rows = {}
    for line in lines[start + 1 :]:
        match = re.fullmatch(r"(\S.*?) {2,}([\d ]+)", line)
        if match is None:
            break
        rows[match[1]] = tuple(map(int, match[2].split()))
    return rows


class TestOnce:
    def test_it_works_everything_off_on_a_new_database(self, first):
        done = first

        assert done.returncode == 0, done.stdout + done.stderr
        assert "To log in to the admin: admin / admin." in done.stdout
        assert table(done.stdout, "type", "messages", "attempts", "succeeded", "dead") == {
            "mail:send": (6, 7, 5, 1),
            "order:new": (6, 6, 6, 0),
            "report:sales": (1, 1, 1, 0),
            "stock:check": (6, 6, 6, 0),
        }
        assert table(done.stdout, "promised", "found") == {
            "invoices": (6, 6),
            "orders with an invoice": (6, 6),
            "mails sent": (5, 5),
            "mails requested twice": (1, 1),
            "dead letters": (1, 1),
            "runs of the schedule": (1, 1),
            "sales reports": (1, 1),
        }
        assert done.stdout.rstrip().endswith("Everything is as promised.")

    def test_it_can_be_run_again(self, first, new_database):
        done = run(new_database)

        assert done.returncode == 0, done.stdout + done.stderr
        assert "To log in to the admin: admin / admin." in done.stdout
        assert table(done.stdout, "promised", "found")["mails sent"] == (5, 5)

    def test_a_failure_made_on_purpose_is_one_line(self, first):
        said = [line for line in first.stdout.splitlines() if "On purpose: " in line]
        assert sorted(line.partition(" On purpose: ")[2] for line in said) == [
            "The customer's address cannot exist.",
            "The mail service did not answer in time.",
        ]
        assert all(" (mail:send) in mails, attempt 1 of 5, " in line for line in said)
        assert "Traceback" not in first.stdout + first.stderr
        assert 'File "' not in first.stdout + first.stderr

    def test_no_payload_and_no_address_is_printed(self, first):
        assert "@" not in first.stdout + first.stderr
        assert '"order"' not in first.stdout + first.stderr

    @pytest.mark.django_db
    def test_what_is_not_as_promised_is_said(self):
        placed = [Order.objects.create(customer="ada@example.com")]
        Invoice.objects.create(order=placed[0], amount=1)
        Invoice.objects.create(order=placed[0], amount=1)
        command = demo.Command(stdout=open(os.devnull, "w"))  # noqa: PTH123, SIM115

        with pytest.raises(CommandError, match=r"^Not as promised: invoices, mails sent, .*sales reports\.$"):
            command._check(placed, placed[0].placed_at)


@pytest.mark.django_db(transaction=True)
class TestStaying:
    @pytest.fixture
    def staying(self, manage):
        """The demonstration, up and running, and the address of its site."""
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            process = manage("demo", env={"PORT": str(port)})
            process.wait_for_line(f"Port {port} is taken")
        line = process.wait_for_line("The shop ")
        process.wait_for_line("To stop ")
        yield process, re.search(r"http://\S+", line)[0]
        if process.process.poll() is None:
            process.stop()  # its children are not of its process group

    def test_the_site_the_worker_and_the_scheduler_work_until_it_is_stopped(self, staying):
        process, address = staying

        wait_until(lambda: answers(address), what="the shop's page")
        wait_until(lambda: Invoice.objects.count() == 6, what="an invoice for each order")
        wait_until(lambda: Process.objects.count() == 2, what="the rows of worker and scheduler")

        assert process.stop() == 0, process.output
        assert set(Process.objects.values_list("kind", "state")) == {
            ("worker", "stopped"),
            ("scheduler", "stopped"),
        }
        assert not answers(address)
        for name in ("site", "worker", "scheduler"):
            process.wait_for_line(f"The {name} has ended.")

    def test_what_to_try_and_where_stands_last_on_the_screen(self, staying):
        process, address = staying

        screen = "".join(process.stdout)
        burst, _, last = screen.partition("Try this:")
        assert {f"{name:<9} |" for name in ("site", "worker", "scheduler")} <= {
            line[:11] for line in burst.splitlines()
        }
        assert not any(" | " in line for line in last.splitlines())
        for what in (
            "Order with the address nobody@shop.invalid.",
            'press "Redrive"',
            f"kill -9 {Process.objects.get(kind='worker').pid}.",
            "Switch the sales report off",
            f"{address}admin/django_letsgo_worker/scheduledjob/",
        ):
            assert what in last
        assert [line.split() for line in last.splitlines()[-4:]] == [
            ["The", "shop", address],
            ["The", "admin", f"{address}admin/", "admin", "/", "admin"],
            ["Slack", "&", "co.", f"{address}outside/"],
            ["To", "stop", "Ctrl-C"],
        ]

    def test_another_worker_takes_the_place_of_one_that_is_killed(self, staying):
        process, _ = staying
        killed = Process.objects.get(kind="worker")

        os.kill(killed.pid, signal.SIGKILL)

        process.wait_for_line("The worker was killed. A new one takes its place.")
        process.wait_for_line("To stop ", times=2)
        other = Process.objects.filter(kind="worker").exclude(pk=killed.pk).get()
        process.wait_for_line(f"kill -9 {other.pid}.")
        assert process.stop() == 0, process.output

    def test_when_one_of_them_ends_the_others_are_stopped(self, staying):
        process, _ = staying
        scheduler = Process.objects.get(kind="scheduler")

        os.kill(scheduler.pid, signal.SIGTERM)

        assert process.wait() == 1
        process.wait_for_line("One of them failed")


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5) as page:
            return b"A small shop" in page.read()
    except OSError:
        return False


class TestTheScript:
    def test_it_can_be_run_and_is_sound_bash(self):
        script = ROOT / "script" / "demo"
        assert os.access(script, os.X_OK)
        assert run(dict(os.environ), "bash", "-n", str(script)).returncode == 0

    def test_it_gives_signs_of_life_while_it_installs(self, tmp_path, monkeypatch, capfd):
        """The module that is run ends when it was heard of twice."""
        monkeypatch.syspath_prepend(str(ROOT / "script"))
        environment = importlib.import_module("environment")
        heard = tmp_path / "heard"
        heard.touch()
        (tmp_path / "slowpip.py").write_text(
            f"import pathlib\nwhile len(pathlib.Path({str(heard)!r}).read_text().splitlines()) < 2: pass\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(environment, "SIGN_OF_LIFE_SECONDS", 0.05)
        say = environment.say

        def say_and_be_heard(line):
            say(line)
            heard.write_text(heard.read_text() + f"{line}\n")

        monkeypatch.setattr(environment, "say", say_and_be_heard)

        environment.run(sys.executable, "-m", "slowpip")

        lines = capfd.readouterr().err.splitlines()
        assert len(lines) >= 2
        assert all(re.fullmatch(r"  slowpip is at work, \d+ s", line) for line in lines)

    def test_it_says_what_could_not_be_installed(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(ROOT / "script"))
        environment = importlib.import_module("environment")
        (tmp_path / "brokenpip.py").write_text("raise SystemExit(1)\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

        with pytest.raises(SystemExit, match="^brokenpip could not install what is needed"):
            environment.run(sys.executable, "-m", "brokenpip")

    def test_it_starts_the_command_with_the_python_of_its_environment(self, tmp_path):
        """The Python that makes the environment is replaced: it prints one that says what it is asked."""
        asked = tmp_path / "asked"
        asked.write_text('#!/usr/bin/env bash\necho "asked: $*"\n')
        maker = tmp_path / "maker"
        maker.write_text(f'#!/usr/bin/env bash\necho "$*" > {tmp_path}/made\necho {asked}\n')
        for script in (asked, maker):
            script.chmod(0o755)
        url = "mysql://root@127.0.0.1/shop"
        environment = {**os.environ, "PYTHON": str(maker), "DJANGO": "6.1", "DATABASE_URL": url}

        done = run(environment, str(ROOT / "script" / "demo"), "--once")

        assert done.stdout == "asked: testproject/manage.py demo --once\n"
        made = (tmp_path / "made").read_text()
        assert made == "script/environment.py test --extra postgres --django 6.1 --extra mysql\n"
