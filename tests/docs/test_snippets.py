"""Every fenced snippet of README.md and docs/ is run or checked here; one that no rule covers is red.

The words behind the three backticks choose the rule:

    python             a module of the shop, run against the test database
    python frozen      the same, where freezegun is installed
    python otel        the same, where OpenTelemetry's SDK is installed
    python elsewhere   code for another system, which is not here: it must at least be Python
    python signature   made by script/reference
    python tasks       the same, where TASKS names our backend; on Django 5.2 of the backport
    python databases   the same in a project with a second database, `reports`
    python tenants     the same in a project of django-tenants, whose settings are `tenants settings`
    python settings    a piece of settings.py: what it sets must be accepted
    diff               lines of Python that go and come
    python models      a models.py of the shop, in a register of models that is thrown away
    python structlog   a module of the shop, where structlog is installed
    shell              commands, each with arguments that its own parser takes
    schedules          expressions, one a line, with a remark behind #
    crontab            lines whose five fields a schedule takes as they are
    ini, yaml, procfile    parsed; the manage.py commands in them are checked like those of a shell
    mermaid            a diagram of states: exactly those of the code
    text               what a process writes: in words that the code has
    json, javascript   parsed, the second where Node.js is
    yaml prometheus    a configuration of Prometheus, read by promtool
    sql postgresql     run in a transaction that is rolled back, on that engine; so for mariadb and sqlite
    plpgsql            the same on PostgreSQL
"""

from __future__ import annotations

import ast
import builtins
import configparser
import dis
import os
import re
import shlex
import textwrap
import tomllib
import types
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.apps.config import AppConfig
from django.core.management import get_commands, load_command_class
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.test import override_settings
from django.test.utils import isolate_apps
from django.utils.module_loading import import_string

from django_letsgo_worker import conf
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.recurrence import Recurrence
from tests.architecture.source import modules
from tests.docs import other_languages
from tests.integration.conftest import ALIAS, Everywhere
from tests.support import ROOT
from tests.taskapp import BACKEND
from tests.taskapp.framework import NAME as FRAMEWORK
from tests.taskapp.framework import TAKES_OPTIONS

DOCS = ROOT / "docs"
# What is only for those who work on this, and a list of links, have tests of their own.
NO_GUIDES = {DOCS / "index.md", DOCS / "contributing" / "architecture.md"}
PAGES = [ROOT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if page not in NO_GUIDES)]
# How-to, reference, explanation and coming-from; what stands beside them has a form of its own.
PAGES_OF_FOLDERS = [page for page in PAGES if page.parent not in (ROOT, DOCS)]
# Pages that explain the words of others; and docstrings, which name the arguments of Django's tasks.
THEIR_WORDS = {
    DOCS / "glossary.md",
    DOCS / "reference" / "signatures.md",
    *(DOCS / "coming-from").glob("*.md"),
}
FENCE = re.compile(r"^( *)```(.*?)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Variables that a command may be given in front; those of the app are read as settings.
VARIABLES = {"DATABASE_URL", "DJANGO", "DJANGO_SUPERUSER_PASSWORD", "PORT", "PYTHON"}
# Commands of other people: that they exist is all that is known of them here.
STRANGERS = {".", "cd", "gunicorn", "mkdir", "psql"}


@dataclass(frozen=True)
class Snippet:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line} {self.language}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def snippets_of(page: Path) -> Iterator[Snippet]:
    source = page.read_text()
    for match in FENCE.finditer(source):
        line = source.count("\n", 0, match.start()) + 1
        yield Snippet(page, line, match[2].strip(), match[3])


SNIPPETS = [snippet for page in PAGES for snippet in snippets_of(page)]


# -- python ----------------------------------------------------------------------------------------------


def check_python(text: str) -> dict:
    """Run it as a module of the shop; functions that nobody calls must at least know their names."""
    # Not with the annotations of this module, which are text.
    code = compile(text, "snippet", "exec", dont_inherit=True)
    namespace = {"__name__": "testproject.shop.snippet", "__package__": "testproject.shop"}
    exec(code, namespace)
    assert unknown_names(code, {*namespace, *dir(builtins)}) == set()
    return namespace


def unknown_names(code: types.CodeType, known: set[str]) -> set[str]:
    """Return the global names that a piece of code reads, functions in it included, but nobody knows."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"} - known
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= unknown_names(constant, known)
    return names


def check_frozen(text: str) -> None:
    """Run the test cases in it, too."""
    pytest.importorskip("freezegun")
    cases = [found for found in check_python(text).values() if isinstance(found, type)]
    suites = [
        unittest.defaultTestLoader.loadTestsFromTestCase(case)
        for case in cases
        if issubclass(case, unittest.TestCase) and case.__module__.endswith("snippet")
    ]
    result = unittest.TestSuite(suites).run(unittest.TestResult())
    assert result.testsRun and result.wasSuccessful(), result.errors + result.failures


def check_otel(text: str) -> None:
    pytest.importorskip("opentelemetry.sdk")
    check_python(text)


def check_databases(text: str) -> None:
    """Run it where `reports` is another name of the test database; test_databases_by_alias has two."""
    connections.settings[ALIAS] = connections["default"].settings_dict
    connections[ALIAS] = connections["default"]
    try:
        with override_settings(DATABASE_ROUTERS=[f"{Everywhere.__module__}.{Everywhere.__name__}"]):
            check_python(text)
    finally:
        del connections[ALIAS], connections.settings[ALIAS]


def check_tasks(text: str) -> None:
    if "max_attempts" in text and not TAKES_OPTIONS:
        pytest.skip("As the page says: Django 6.0 passes no options on.")
    with override_settings(TASKS={"default": {"BACKEND": BACKEND, "QUEUES": []}}):
        check_python(text.replace("from django.tasks import", f"from {FRAMEWORK} import"))


def check_elsewhere(text: str) -> None:
    ast.parse(text)


def check_diff(text: str) -> None:
    """Nothing but a remark, what goes and what comes; test_tutorial applies it."""
    signs = [line[0] for line in text.splitlines()]
    assert set(signs) <= {"#", "-", "+"} and {"-", "+"} <= set(signs)
    for sign in "-+":
        lines = [line[1:] for line in text.splitlines() if line[0] == sign]
        ast.parse(textwrap.dedent("\n".join(lines)))


# -- settings --------------------------------------------------------------------------------------------


def check_settings(text: str) -> None:
    as_started = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ROOT / "nowhere"}}
    namespace: dict = {"INSTALLED_APPS": [], "BASE_DIR": ROOT / "nowhere", "DATABASES": as_started}
    exec(text, namespace)
    for app in namespace["INSTALLED_APPS"]:
        AppConfig.create("testproject.shop" if app == "shop" else app)
    conf.load(namespace.get("LETSGO_WORKER", {}), {})
    for database in namespace.get("DATABASES", {}).values():
        check_database(database)
    for router in namespace.get("DATABASE_ROUTERS", []):
        import_string(router)
    for alias, params in namespace.get("TASKS", {}).items():
        import_string(params["BACKEND"])(alias, params)
    if "LOGGING" in namespace:
        assert set(namespace["LOGGING"].get("loggers", {})) <= {"django_letsgo_worker"}
        for name in re.findall(r"'\(\)': '(.+?)'", str(namespace["LOGGING"])):
            import_string(name)
    known = {"DATABASES", "DATABASE_ROUTERS", "INSTALLED_APPS", "LETSGO_WORKER", "LOGGING"}
    known |= {"SILENCED_SYSTEM_CHECKS", "TASKS"}
    assert {name for name in namespace if name.isupper()} - known == {"BASE_DIR"}


def check_database(database: dict) -> None:
    """Open it if it is SQLite, else see that Django has the engine."""
    assert set(database) <= {*connections["default"].settings_dict, "DISABLE_SERVER_SIDE_CURSORS"}
    assert find_spec(f"{database['ENGINE']}.base")  # its driver need not be installed
    if database["ENGINE"].endswith("sqlite3"):
        connection = DatabaseWrapper(
            {**connections["default"].settings_dict, **database, "NAME": ":memory:"}, "a snippet"
        )
        connection.ensure_connection()
        connection.close()


# -- tenants: test_tenants runs them -----------------------------------------------------------------------


def check_tenants(text: str) -> None:
    pytest.importorskip("django_tenants")
    check_python(text)


def check_settings_of_tenants(text: str) -> None:
    pytest.importorskip("django_tenants")
    namespace: dict = {"DATABASES": {"default": {}}}
    exec(text, namespace)
    check_database(namespace["DATABASES"]["default"])
    for router in namespace["DATABASE_ROUTERS"]:
        import_string(router)
    conf.load(namespace["LETSGO_WORKER"], {})


def check_structlog(text: str) -> None:
    structlog = pytest.importorskip("structlog")
    try:
        check_python(text)
    finally:
        structlog.reset_defaults()


def check_models(text: str) -> None:
    with isolate_apps("testproject.shop"):
        check_python(text)


# -- shell -----------------------------------------------------------------------------------------------


def check_shell(text: str) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            check_command(words)


def check_command(words: list[str]) -> None:
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        check_variable(*words.pop(0).split("=", 1))
    program, arguments = words[0], words[1:]
    if program == "django-admin":
        check_manage(*arguments)
    elif program.endswith("python") and arguments[:1] == ["manage.py"]:
        check_manage(*arguments[1:])
    elif program == "python3" and arguments[:2] == ["-m", "venv"]:
        assert len(arguments) == 3
    elif program.endswith("python") and arguments[:3] == ["-m", "pip", "install"]:
        check_requirement(*arguments[3:])
    elif program.startswith("script/"):
        check_script(ROOT / program, arguments)
    else:
        assert program in STRANGERS, f"No rule knows the command {program!r}."


def check_variable(name: str, value: str) -> None:
    if name.startswith(f"{conf.NAME}_"):
        assert name.removeprefix(f"{conf.NAME}_") in conf.KEYS
        conf.load({}, {name: value})
    else:
        assert name in VARIABLES


def check_manage(name: str, *arguments: str) -> None:
    command = get_commands()[name]
    if isinstance(command, str):
        command = load_command_class(command, name)
    parser = command.create_parser("manage.py", name)
    # CommandParser raises for bad arguments when it is not called from a command line.
    parser.called_from_command_line = False
    if "--help" not in arguments:
        parser.parse_args(list(arguments))


def check_requirement(requirement: str) -> None:
    name, _, extras = requirement.rstrip("]").partition("[")
    assert name.removeprefix("path/to/") == PROJECT["name"]
    assert set(filter(None, extras.split(","))) <= set(PROJECT["optional-dependencies"])


def check_script(script: Path, arguments: list[str]) -> None:
    assert os.access(script, os.X_OK), f"{script.name} is not there, or cannot be run."
    source = script.read_text()
    assert all(argument in source for argument in arguments)


# -- files of other programs -----------------------------------------------------------------------------


def check_ini(text: str) -> None:
    """A systemd unit: its sections, and the command that it starts."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(text)
    assert {"Unit", "Service", "Install"} == set(unit.sections())
    check_command(shlex.split(unit["Service"]["ExecStart"]))


def check_procfile(text: str) -> None:
    for line in text.splitlines():
        name, colon, command = line.partition(": ")
        assert name.isidentifier() and colon
        check_command(shlex.split(command))


def check_yaml(text: str) -> None:
    commands = [value for key, value in yaml_pairs(text) if key in ("command", "args")]
    assert commands
    for command in commands:
        check_command(re.findall(r'"(.*?)"', command) or shlex.split(command))


def yaml_pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield keys and values of the little YAML that we write; anything else is refused."""
    depths = [0]
    for line in text.splitlines():
        match = re.fullmatch(r'((?:  )*)(- )?([A-Za-z_]+):(?: ([\w. "/,\[\]-]+))?', line)
        assert match, f"This is not the YAML that is read here: {line!r}"
        indent = len(match[1]) + len(match[2] or "")
        while indent < depths[-1]:
            depths.pop()
        assert len(match[1]) == depths[-1] if match[2] else indent == depths[-1], f"Badly indented: {line!r}"
        if match[2]:
            depths.append(indent)
        if match[4] is None:
            depths.append(indent + 2)
        yield match[3], match[4] or ""


def check_schedules(text: str) -> None:
    for line in text.splitlines():
        expression, has_remark, _ = line.partition("   #")
        assert has_remark or "#" not in line.split(" ")
        Recurrence.parse(expression.partition("  ")[0].strip())


def check_crontab(text: str) -> None:
    lines = [line for line in text.splitlines() if not re.match(r"#|[A-Z]+=", line)]
    assert lines
    for line in lines:
        *fields, command = line.split(maxsplit=5)
        assert Recurrence.parse(" ".join(fields)) and command


def check_mermaid(text: str) -> None:
    first, *arrows = text.splitlines()
    assert first == "stateDiagram-v2"
    named: set[str] = set()
    for arrow in arrows:
        match = re.fullmatch(r"    (\S+) --> (\S+): [\w ,]+", arrow)
        assert match, arrow
        named |= {match[1], match[2]}
    outcomes = {str(value) for value, _ in ArchivedMessage._meta.get_field("outcome").choices}
    assert named == {"[*]"} | LIVE_STATES | outcomes


def check_text(text: str) -> None:
    """See that each word stands in a text of the code; types, which have a colon inside, are made up."""
    words = set(re.findall(r"(?<![\w:])[A-Za-z]{2,}(?![\w]|:\w)", text))
    constants = {
        node.value
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert words
    assert words - set(re.findall(r"[A-Za-z]+", " ".join(constants))) == set()


LIVE_STATES = {"ready", "running", "retrying", "scheduled"}

RULES: dict[str, Callable[[str], object]] = {
    "python": check_python,
    "python frozen": check_frozen,
    "python otel": check_otel,
    "python elsewhere": check_elsewhere,
    "python signature": check_elsewhere,
    "diff": check_diff,
    "python tasks": check_tasks,
    "python databases": check_databases,
    "python tenants": check_tenants,
    "python tenants settings": check_settings_of_tenants,
    "python settings": check_settings,
    "python models": check_models,
    "python structlog": check_structlog,
    "shell": check_shell,
    "schedules": check_schedules,
    "crontab": check_crontab,
    "ini": check_ini,
    "yaml": check_yaml,
    "procfile": check_procfile,
    "mermaid": check_mermaid,
    "text": check_text,
    **other_languages.RULES,
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_a_snippet_does_what_it_shows(snippet, own_registry):
    # Snippets use the names that the shop uses.
    assert snippet.language in RULES, f"No rule covers a snippet of {snippet.language!r}."
    RULES[snippet.language](snippet.text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_snippet_of_a_page_is_overlooked(page):
    lines = [line for line in page.read_text().splitlines() if line.lstrip(" >").startswith(("```", "~~~"))]
    assert len(lines) == 2 * len(list(snippets_of(page)))


class TestTheRules:
    """Controls: what a rule would let pass, it would not check."""

    @pytest.mark.parametrize(
        ("language", "text"),
        [
            ("python", "from django_letsgo_worker import dequeue"),
            ("python", "def work():\n    return enqueue('a')"),
            ("python", "assert False"),
            ("python elsewhere", "def work(:"),
            ("diff", "-a = 1\n"),
            ("diff", "-a = 1\n+a = (\n"),
            ("shell", "python3 -m venv"),
            ("python databases", "from django_letsgo_worker import enqueue\nenqueue('t:x', using='report')"),
            ("python tenants", "from django_tenants.utils import schema_contexts"),
            ("python tenants settings", "DATABASE_ROUTERS = ['django_tenants.routers.SyncRouter']"),
            ("python settings", "LETSGO_WORKER = {'CONCURENCY': 2}"),
            ("python settings", "LETSGO = {}"),
            ("python models", "from django.db import models\nclass A(models.Model):\n    b = models.Chars()"),
            ("shell", "django-admin startproj mysite"),
            ("python settings", "TASKS = {'default': {'BACKEND': 'django_letsgo_worker.backend.Backend'}}"),
            ("python tasks", "from django.tasks import task\ntask(lambda: None)"),
            ("python settings", "INSTALLED_APPS += ['django_letsgo']"),
            ("python settings", "DATABASES = {'default': {'ENGINE': 'django.db.backends.nosql'}}"),
            ("shell", "python manage.py runwork"),
            ("shell", "python manage.py runscheduler --leader"),
            ("shell", "rabbitmqctl status"),
            ("shell", "script/nothing"),
            ("shell", "script/test oracle"),
            ("shell", "LETSGO_WORKER_CONCURRENCY=0 python manage.py migrate"),
            ("shell", "python -m pip install 'django-letsgo-worker[oracle]'"),
            ("ini", "[Unit]\n[Service]\nExecStart=/bin/python manage.py runwork\n[Install]\n"),
            ("procfile", "worker: python manage.py runwork"),
            ("yaml", "services:\n  worker:\n    command: python manage.py runwork"),
            ("yaml", "services:\n      worker:\n    command: python manage.py migrate"),
            ("yaml", "image: shop"),
            ("schedules", "*/90 * * * *   # never"),
            ("crontab", "MAILTO=ops\n"),
            ("crontab", "@reboot echo hello and good bye then\n"),
            ("mermaid", "stateDiagram-v2\n    [*] --> ready: enqueue"),
            ("text", "Halted: 12 succeeded; 3 are due."),
            ("json", '{"a": 1,}'),
        ],
    )
    @pytest.mark.django_db
    def test_a_rule_finds_what_is_wrong(self, language, text, own_registry):
        with pytest.raises((Exception, SystemExit)):
            RULES[language](text)

    def test_the_live_states_are_those_of_the_code(self):
        from datetime import UTC, datetime, timedelta
        from uuid import uuid4

        now = datetime(2026, 5, 1, tzinfo=UTC)
        later = now + timedelta(seconds=1)
        rows = [
            Message(visible_at=now),
            Message(visible_at=later),
            Message(visible_at=later, attempts=1),
            Message(visible_at=later, attempts=1, leased_by=uuid4()),
        ]
        assert {row.state_at(now) for row in rows} == LIVE_STATES


class TestThePages:
    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_its_links_lead_somewhere(self, page):
        links = re.findall(r"\]\(([^)#]+)", page.read_text())
        local = [link for link in links if not link.startswith("https://")]
        assert [link for link in local if not (page.parent / link).exists()] == []

    @pytest.mark.parametrize("page", PAGES_OF_FOLDERS, ids=name_of)
    def test_it_asks_one_question_and_ends_with_what_can_go_wrong(self, page):
        headings = re.findall(r"^##? .*$", FENCE.sub("", page.read_text()), re.MULTILINE)
        assert headings[0].startswith("# ") and headings[0].endswith("?")
        assert headings[-1] == "## What can go wrong"

    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_exactly_once_is_said_of_one_database_only(self, page):
        text = " ".join(re.sub(r"[*>]", "", page.read_text()).split())
        claims = re.findall(r"(?i)exactly once\b.{0,16}", text)
        assert [c for c in claims if not re.match(r"(?i)exactly once (in one database|by anybody)", c)] == []

    @pytest.mark.parametrize("page", [page for page in PAGES if page not in THEIR_WORDS], ids=name_of)
    def test_it_uses_the_words_of_the_project(self, page):
        prose = re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text()))
        strange = r"(?i)\b(jobs?|consumers?|actors?|topics?|requeued?|nack|dequeue|eta|run_after|ticks?)\b"
        assert (
            re.findall(
                strange, re.sub(r"\*?interval\*? job|\*?fixed-time\*? job|Producers or consumers", "", prose)
            )
            == []
        )
