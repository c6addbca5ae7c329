"""The newcomer's walk: an empty folder, the tutorial up to the first message, then the mistakes one makes.

Each mistake is answered with what to write instead, and tested by these words. All of it happens in the
newcomer's own project; what needs no command of its own is done there in one process for all.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.test_snippets import Snippet, snippets_of
from tests.support import ROOT, Managed
from tests.taskapp import BACKEND

TUTORIAL = ROOT / "docs" / "tutorial.md"
# A reader's shell and environment, which are there already; what the page shows is awaited elsewhere.
DONE = ("mkdir", "cd", "python3", ".", "python -m pip")
TASKS = f"TASKS = {{'default': {{'BACKEND': {BACKEND!r}, 'OPTIONS': {{'MAX_ATTEMPT': 3}}}}}}"
# Reads {name: code}, and answers {name: what it raised, logged and printed}.
ASKING = """
import contextlib, io, json, logging, sys
import django
django.setup()
answers = {}
for name, code in json.load(sys.stdin).items():
    said = io.StringIO()
    logging.getLogger("django_letsgo_worker").handlers = [logging.StreamHandler(said)]
    # As if it stood in handlers.py.
    module = sys.modules.get("shop.handlers")
    names = {"__name__": "shop.handlers", "__spec__": module and module.__spec__}
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            exec("from django_letsgo_worker import enqueue, handler, schedule, schedules", names)
            exec(compile(code, "shop/handlers.py", "exec"), names)
        except Exception as error:
            said.write(f"{type(error).__name__}: {error}")
    answers[name] = said.getvalue()
json.dump(answers, sys.stdout)
"""


class Project:
    """What the newcomer has on disk, and what is run there, with nothing of the tests' own settings."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.said: dict[str, str] = {}
        self.worker: Managed

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DJANGO", "DATABASE", "LETSGO"))}
        # Files here change within a second: what is compiled would be older than it looks.
        mine = {"PYTHONPATH": f"{self.home}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**kept, **mine, "PYTHONUNBUFFERED": "1", **more}

    def run(self, line: str, settings: str = "", input: str = "", **more: str) -> str:
        """Run a line of a shell, with lines at the end of the project's settings; return what it says."""
        if settings:
            (self.home / "other.py").write_text(f"from mysite.settings import *\n{settings}\n")
            more["DJANGO_SETTINGS_MODULE"] = "other"
        words = shlex.split(line)
        python = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "django"]
        done = subprocess.run(
            [*python, *words[1:]], cwd=self.home, env=self.environment(**more), text=True, timeout=60,
            input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout

    def ask(self, codes: dict[str, str], settings: str = "") -> dict[str, str]:
        """Run pieces of code in one process, and return what each raised, logged and printed."""
        more = {} if settings else {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
        answer = self.run(f"python -c {shlex.quote(ASKING)}", settings, json.dumps(codes), **more)
        return json.loads(answer)

    def start(self, *arguments: str) -> Managed:
        return Managed(arguments, self.environment(), script=self.home / "manage.py")

    def follow(self, snippet: Snippet) -> None:
        """Do what a snippet of the start says: run its lines, or put it into the file that it names."""
        if snippet.language == "text":
            return
        if snippet.language != "shell":
            named = re.match(r"# (\S+\.py)", snippet.text)
            assert named, f"{snippet} does not say which file it is of."
            with (self.home / named[1]).open("a") as file:
                file.write(f"\n{snippet.text}")
            return
        for line in snippet.text.splitlines():
            if " runworker " in line:
                self.worker = self.start(*shlex.split(line)[2:])
                self.worker.wait_for_line("to stop")
            elif not line.startswith(DONE):
                variables, command = re.fullmatch(r"((?:[A-Z_]+=\S+ )*)(.+)", line).groups()
                self.said[command] = self.run(command, **dict(re.findall(r"(\w+)=(\S+)", variables)))

    @contextmanager
    def also_in_handlers(self, text: str) -> Iterator[None]:
        file = self.home / "shop" / "handlers.py"
        before = file.read_text()
        file.write_text(f"{before}\n{text}\n")
        try:
            yield
        finally:
            file.write_text(before)


def start_of_tutorial() -> list[Snippet]:
    source = TUTORIAL.read_text()
    last = source.count("\n", 0, source.index("\n## 3. "))
    return [snippet for snippet in snippets_of(TUTORIAL) if snippet.line <= last]


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Project:
    """The project that one has who followed the tutorial to its first message."""
    project = Project(tmp_path_factory.mktemp("newcomer"))
    for snippet in start_of_tutorial():
        project.follow(snippet)
    try:
        project.worker.wait_for_line("succeeded: message 1 (order:new) in default, attempt 1 of 10")
        assert project.worker.stop() == 0, project.worker.output
    finally:
        project.worker.clean_up()
    return project


@pytest.fixture(scope="session")
def waiting(project) -> None:
    """A message for no order, and one of a mistyped type."""
    project.ask({"both": "enqueue('order:new', {'order': 0}); enqueue('ordr:new', {'order': 1})"})


class TestTheStart:
    def test_each_command_does_what_it_is_there_for(self, project):
        said = {line.split(" -c ")[0]: text for line, text in project.said.items()}

        assert list(said) == [
            "django-admin startproject mysite .",
            "python manage.py startapp shop",
            "python manage.py makemigrations shop",
            "python manage.py migrate",
            "python manage.py createsuperuser --noinput --username ada --email ada@example.com",
            "python manage.py shell",
        ]
        assert "Create model Invoice" in said["python manage.py makemigrations shop"]
        assert "Applying shop.0001_initial... OK" in said["python manage.py migrate"]
        assert not any(re.search(r"(?i)warning|traceback|\bE\d\d\d\b", text) for text in said.values())

    def test_a_fresh_project_is_silent(self, project):
        assert project.run("python manage.py check") == ("System check identified no issues (0 silenced).\n")

    def test_without_the_options_of_sqlite_it_would_not_be(self, project):
        said = project.run("python manage.py check", settings="del DATABASES['default']['OPTIONS']")

        assert "(letsgo_worker.W001)" in said
        # The file itself remembers the other one.
        assert "(letsgo_worker.W002)" not in said

    def test_the_worker_writes_the_invoice_of_the_order(self, project):
        assert "scheduler    here" in project.worker.output
        assert "Stopped: 1 succeeded; nothing is due." in project.worker.output
        invoice = "from shop.models import Invoice; print(Invoice.objects.get().amount)"
        assert project.ask({"invoice": invoice}) == {"invoice": "6.50\n"}


# What one writes -> what it says.
IN_CODE = {
    "from datetime import date; enqueue('order:new', {'order': {'placed': date.today()}})":
        "payload.order.placed is of type date, which is not JSON: use text, numbers, booleans, None, lists "
        "and dictionaries.",
    "from shop.models import Order; enqueue('order:new', {'order': Order()})":
        "payload.order is of type Order, which is not JSON: use text, numbers, booleans, None, lists",
    "enqueue('order:new', {}, queue='my queue')":
        "The queue 'my queue' is refused: use letters, digits and the signs _ . : - only.",
    "from datetime import datetime; enqueue('order:new', {}, visible_at=datetime(2030, 1, 1))":
        "visible_at needs a time zone: 2030-01-01T00:00:00 is a naive datetime. "
        "django.utils.timezone.make_aware() gives it the project's.",
    "enqueue('order:new', {}, countdown=5)": "enqueue() has no option 'countdown': write delay=.",
    "enqueue('order:new', {}, eta=None)": "enqueue() has no option 'eta': write visible_at=.",
    "enqueue('order:new', {}, delay='5 minutes')":
        "delay is a number of seconds or a timedelta, or text such as 90s, 10m, 1h30m or 2d, "
        "not '5 minutes'.",
    "from shop.handlers import write_invoice; enqueue(write_invoice, {'order': 1})":
        "A type is text such as 'order:new', not the function write_invoice.",
    "enqueue('ordr:new', {'order': 1})":
        "No handler is registered here for the type 'ordr:new', so its messages wait. "
        "Did you mean 'order:new'?",
    "@handler\ndef a(delivery): ...": "A type is text such as 'order:new', not the function a.",
    "@handler('b', max_attempt=3)\ndef b(delivery): ...":
        "@handler has no option 'max_attempt'; did you mean 'max_attempts'?",
    "@handler('c', atomic=True)\nasync def c(delivery): ...":
        "The handler of 'c' is async: atomic=True needs a plain def, since Django's transactions do not",
    "@handler('letsgo:mine')\ndef d(delivery): ...":
        "The type 'letsgo:mine' is refused: types that begin with 'letsgo:' are reserved for "
        "django_letsgo_worker. Choose another prefix.",
    "@handler('order:new')\ndef e(delivery): ...": "Give one of them another type, or another where=.",
    "@handler('f')\ndef f(delivery, order): ...":
        "The handler of 'f' is called with a delivery and nothing else: ",
    "@handler('g', every='5m')\ndef g(delivery): ...":
        "@handler has no option 'every': write @schedule('rate(5 minutes)') above @handler.",
    "@handler('h')\n@schedule('rate(5 minutes)')\ndef h(delivery): ...":
        "@schedule goes above @handler: the function below is not a handler.",
    "@schedule('every 5 minutes')\n@handler('i')\ndef i(delivery): ...":
        "'every 5 minutes' is not a schedule; write five fields (minute hour day-of-month month "
        "day-of-week), rate(5 minutes), @every 90s, @daily, cron(...), rrule(...) or at(",
    "@schedule('0 9 * * *', timezone='Berlin')\n@handler('j')\ndef j(delivery): ...":
        "'Berlin' is not an IANA time zone; write a name such as UTC or Europe/Berlin.",
    "schedules.add('k', 'at(2020-01-01T00:00:00)', 'order:new')":
        "at(2020-01-01T00:00:00) is past in UTC; write a time in the future.",
    "schedules.add('l', '0 9 * * *', 'order:new', tz='Europe/Berlin')":
        "A schedule has no field 'tz': write timezone=.",
    "from django.core.management import call_command; call_command('runworker', concurrency='0')":
        "a whole number of at least 1, not '0'",
}  # fmt: skip


@pytest.fixture(scope="session")
def answers(project) -> dict[str, str]:
    return project.ask({code: code for code in IN_CODE})


class TestMistakesInCode:
    @pytest.mark.parametrize("code", IN_CODE)
    def test_one_is_told_what_to_write(self, answers, code):
        assert IN_CODE[code] in answers[code]

    def test_two_handlers_of_one_type_are_both_named(self, answers):
        said = answers["@handler('order:new')\ndef e(delivery): ..."]
        assert re.search(r"shop\.handlers\.write_invoice \(line \d+\) and shop\.handlers\.e \(line 1\)", said)


class TestMistakesInHandlers:
    """Of which each command of the project tells, since each imports them."""

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (
                "from django_letsgo_worker import schedules\n"
                "schedules.add('report', 'rate(5 minutes)', 'order:new')",
                r"Write @schedule\(\.\.\.\) above the @handler instead",
            ),
            ("def (", r'shop/handlers\.py", line \d+\n    def \(\n'),
            ("import nothere", r"shop/handlers\.py(.|\n)*No module named 'nothere'"),
        ],
        ids=["a schedule is added", "bad syntax", "an import of what is not there"],
    )
    def test_one_is_told_where_and_what(self, project, text, words):
        with project.also_in_handlers(text):
            assert re.search(words, project.run("python manage.py check"))


class TestMistakesInSettings:
    @pytest.mark.parametrize(
        ("settings", "environment", "words"),
        [
            (
                "LETSGO_WORKER = {'CONCURENCY': 2}",
                {},
                "LETSGO_WORKER has no setting 'CONCURENCY'. Did you mean 'CONCURRENCY'?",
            ),
            (
                "LETSGO_WORKER = {'CONCURRENCY': 'many'}",
                {},
                "LETSGO_WORKER['CONCURRENCY'] is 'many': it must be a number.",
            ),
            ("LETSGO_WORKER = ['CONCURRENCY']", {}, "LETSGO_WORKER must be a dictionary."),
            (
                "",
                {"LETSGO_WORKER_CONCURENCY": "2"},
                "The environment variable LETSGO_WORKER_CONCURENCY is not a setting. "
                "Did you mean 'LETSGO_WORKER_CONCURRENCY'?",
            ),
            ("USE_TZ = False", {}, "django_letsgo_worker needs USE_TZ = True"),
            (
                TASKS,
                {},
                "OPTIONS of TASKS['default'] has no 'MAX_ATTEMPT'. Did you mean 'MAX_ATTEMPTS'?",
            ),
        ],
        ids=["typo", "wrong type", "no dictionary", "typo in the environment", "USE_TZ", "typo in TASKS"],
    )
    def test_a_check_says_what_to_write(self, project, settings, environment, words):
        assert words in project.run("python manage.py check", settings, **environment)

    def test_an_app_that_is_not_installed_is_named_with_the_setting(self, project):
        place = "from shop.orders import place_order; place_order('tea', 'ada@example.com')"

        said = project.ask({place: place}, settings="INSTALLED_APPS.remove('django_letsgo_worker')")[place]

        assert "django_letsgo_worker.models.message.Message" in said
        assert "isn't in an application in INSTALLED_APPS" in said


class TestMistakesOnTheCommandLine:
    def test_migrations_that_are_missing_are_named_with_the_command_by_all(self, project):
        commands = {
            command: f"from django.core.management import call_command\ncall_command(*{command.split()!r})"
            for command in ("runworker", "runscheduler", "letsgo status", "letsgo doctor")
        }

        answers = project.ask(commands, settings="DATABASES['default']['NAME'] = BASE_DIR / 'new.sqlite3'")

        assert list(answers) == list(commands)
        for said in answers.values():
            assert "run `manage.py migrate` first." in said

    def test_an_unknown_verb_is_answered_with_those_there_are(self, project):
        assert "'mesage' (choose from" in project.run("python manage.py letsgo mesage list")

    def test_what_a_worker_does_not_do_is_said_at_its_start(self, project, waiting):
        """A mistyped queue, a scheduler that was forgotten."""
        scheduled = "@schedule('@daily')\n@handler('z')\ndef z(delivery): ..."

        with project.also_in_handlers(f"from django_letsgo_worker import schedule\n{scheduled}"):
            said = project.run("python manage.py runworker --until-empty --queues defualt")

        assert "The queue 'defualt' is not in use, but 'default' has messages: did you mean that one?" in said
        instead = "--with-scheduler here, or manage.py runscheduler"
        assert f"scheduler    none is running, and 1 schedule is on: {instead}" in said

    def test_a_mistyped_type_is_named_with_its_likeness_where_it_waits(self, project, waiting):
        said = project.run("python manage.py runworker --until-empty")

        waits = "Messages of the unknown type ordr:new wait in the queue default."
        assert f"{waits} Did you mean 'order:new'?" in said
        assert "of unknown type ordr:new (like order:new?)" in said

    def test_a_database_that_does_not_answer_is_named_with_its_reason(self, project):
        (project.home / "away.py").write_text(
            "from mysite.settings import *\nDATABASES['default']['NAME'] = '/nowhere/db.sqlite3'\n"
        )
        worker = project.start("runworker", "--settings", "away")
        try:
            line = worker.wait_for_line("Waiting for the database 'default'")
            assert "which is tried again until it answers or this is stopped: unable to open" in line
            assert worker.stop() == 0, worker.output
        finally:
            worker.clean_up()

    def test_a_worker_that_was_killed_is_missed_by_name(self, project, waiting):
        worker = project.start("runworker", "--name", "ada")
        try:
            # By then it is known to others.
            worker.wait_for_line("Messages of the unknown type")
        finally:
            worker.clean_up()  # SIGKILL
        since = (
            "from datetime import timedelta; from django.core.management import call_command\n"
            "from django.utils import timezone; from django_letsgo_worker.models import Process\n"
            "Process.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=2))\n"
        )

        said = project.ask(
            {
                "doctor": f"{since}call_command('letsgo', 'doctor')",
                "workers": f"{since}call_command('letsgo', 'worker', 'list')",
            }
        )

        assert "No worker is running, so nothing is handled: run `manage.py runworker`." in said["doctor"]
        assert re.search(r"^ada +silent ", said["workers"], re.MULTILINE)
