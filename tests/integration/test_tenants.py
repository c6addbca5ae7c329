"""docs/howto/tenants.md with the real django-tenants: a site whose settings and handlers are its snippets."""

from __future__ import annotations

import json
import textwrap
from types import SimpleNamespace

import pytest
from django.db import connection, connections

from tests.docs.test_snippets import snippets_of
from tests.support import ROOT, database_url

pytest.importorskip("django_tenants")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL only"),
]

PAGE = list(snippets_of(ROOT / "docs" / "howto" / "tenants.md"))
SETTINGS, *HANDLERS = [snippet.text for snippet in PAGE if snippet.language.startswith("python tenants")]

SITE = {
    "rented/settings.py": f"""
import environ
from testproject.settings import *  # noqa: F403

DATABASES = {{"default": environ.Env().db("DATABASE_URL")}}
ROOT_URLCONF = "rented.urls"
MIDDLEWARE = []
{SETTINGS}
LETSGO_WORKER |= {{"SCHEDULE": ""}}
if environ.Env().bool("IN_EACH", default=False):
    TENANT_APPS = [*TENANT_APPS, "django_letsgo_worker"]
    if not environ.Env().bool("SHARED_TOO", default=True):
        SHARED_APPS = [app for app in SHARED_APPS if app != "django_letsgo_worker"]
""",
    "rented/urls.py": "urlpatterns = []",
    "customers/models.py": """
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Customer(TenantMixin):
    name = models.CharField(max_length=20)


class Domain(DomainMixin):
    pass
""",
    "notes/models.py": """
from django.db import models


class Note(models.Model):
    text = models.CharField(max_length=40)
""",
    "notes/handlers.py": "\n".join(HANDLERS)
    + """
from asgiref.sync import sync_to_async
from django_letsgo_worker import Retry
from notes.models import Note


@handler("notes:write", backoff=[3600])
def write(delivery):
    Note.objects.create(text=delivery.payload)
    enqueue("notes:atomic", f"{delivery.payload}, and on")


@handler("notes:atomic", atomic=True, backoff=[3600])
def write_within(delivery):
    Note.objects.create(text=delivery.payload)
    if "fail" in delivery.payload:
        raise ValueError


@handler("notes:tidy", atomic=True)
def tidy(delivery):
    Note.objects.create(text="tidy")


@handler("notes:stay")
def stay(delivery):
    connection.set_schema(delivery.payload)
    list(Note.objects.all())


@handler("notes:look")
def look(delivery):
    return connection.schema_name


@handler("notes:async")
async def write_later(delivery):
    await sync_to_async(schema_context("ada")(write))(delivery)
""",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The directory of the site's packages."""
    directory = tmp_path_factory.mktemp("rented")
    for name, text in SITE.items():
        file = directory / name
        file.parent.mkdir(exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(textwrap.dedent(text))
    return directory


@pytest.fixture
def site(package, manage):
    """Run commands, and code, of the site on a database of its own with two tenants: ada and bob."""
    name = f"{connection.settings_dict['NAME']}_rented"

    def on_the_server(sql):
        with connection.cursor() as cursor:
            cursor.execute(sql)

    def start(*words, **env):
        # Without DEBUG, since a log of statements has them sent in another way.
        environment = {"PYTHONPATH": f"{ROOT}:{package}", "DATABASE_URL": url, "DJANGO_DEBUG": "0", **env}
        return manage(*words, env=environment, settings_module="rented.settings")

    def run(*words, **env):
        process = start(*words, **env)
        assert process.wait(90) == 0, process.output
        return "".join(process.stdout)

    def code(text, **env):
        """Run it with all that is imported here; return what it printed last, as JSON."""
        lines = run("shell", "-v", "0", "-c", IMPORTS + textwrap.dedent(text), **env)
        return json.loads(lines.splitlines()[-1]) if "print(" in text else None

    url = database_url({**connection.settings_dict, "NAME": name})
    on_the_server(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    on_the_server(f"CREATE DATABASE {name}")
    if not (package / "notes" / "migrations").exists():
        run("makemigrations", "customers", "notes")
    yield SimpleNamespace(start=start, run=run, code=code)
    connections["default"].ensure_connection()
    on_the_server(f"DROP DATABASE {name} WITH (FORCE)")


IMPORTS = """
import json
from customers.models import Customer
from django.db import connection, transaction
from django_letsgo_worker import enqueue, enqueue_many, registry, schedules
from django_letsgo_worker.models import ArchivedMessage, Message
from django_tenants.utils import schema_context
from notes.models import Note


def notes():
    found = {}
    for schema in ("ada", "bob"):
        with schema_context(schema):
            found[schema] = sorted(Note.objects.values_list("text", flat=True))
    return found


"""


@pytest.fixture
def rented(site):
    site.run("migrate_schemas", "--shared")
    site.code("for name in ('ada', 'bob'): Customer.objects.create(schema_name=name, name=name)")
    return site


def test_handlers_work_for_the_tenant_who_enqueued_and_schedules_for_each(rented):
    rented.code(
        """
        for n in range(4):
            for schema in ("ada", "bob"):
                with schema_context(schema):
                    enqueue("notes:write", f"{schema} {n}")
        with schema_context("bob"):
            enqueue("notes:atomic", "fails")
            enqueue_many([("notes:atomic", f"bob of many {n}") for n in range(2)])
            with transaction.atomic():
                enqueue("notes:atomic", "rolled back")
                transaction.set_rollback(True)
        enqueue("notes:async", "ada later")
        schedules.sync_declared(schedules.declared_in_code())
        schedules.run_now("nightly")
        """
    )
    rented.run("runworker", "--until-empty", "--concurrency", "2")

    seen = rented.code("print(json.dumps(notes()))")
    for schema in ("ada", "bob"):
        written = [f"{schema} {n}{more}" for n in range(4) for more in ("", ", and on")]
        others = {"ada": ["ada later", "ada later, and on"], "bob": ["bob of many 0", "bob of many 1"]}[
            schema
        ]
        assert seen[schema] == sorted([*written, *others, "tidy"])
    left = rented.code("print(json.dumps([[m.type, m.payload, m.attempts] for m in Message.objects.all()]))")
    assert left == [["notes:atomic", "fails", 1]]


def test_a_tenant_that_a_handler_does_not_leave_is_not_the_next_ones(rented):
    rented.code(
        """
        enqueue("notes:look", priority=3)
        enqueue("notes:stay", "ada", priority=2)
        enqueue("notes:look", priority=1)
        """
    )
    rented.run("runworker", "--until-empty", "--concurrency", "1")

    assert rented.code(
        "print(json.dumps(list(ArchivedMessage.objects.order_by('pk').values_list('outcome', 'result'))))"
    ) == [["succeeded", "public"], ["succeeded", None], ["succeeded", "public"]]


def test_a_queue_of_each_tenants_gets_its_own_messages_and_the_check_says_that_nobody_serves_it(site):
    each = {"IN_EACH": "1"}
    site.run("migrate_schemas", "--shared", **each)
    site.code("for name in ('ada', 'bob'): Customer.objects.create(schema_name=name, name=name)", **each)

    seen = site.code(
        """
        for n in range(6):
            with schema_context(("ada", "bob")[n % 2]):
                enqueue("notes:write", n)
        found = {}
        for schema in ("ada", "bob", "public"):
            with schema_context(schema):
                found[schema] = list(Message.objects.order_by("pk").values_list("payload", flat=True))
        print(json.dumps(found))
        """,
        **each,
    )
    assert seen == {"ada": [0, 2, 4], "bob": [1, 3, 5], "public": []}
    check = site.start("check", **each)
    assert check.wait() == 0
    assert "letsgo_worker.W015" in check.output and "which no worker serves" in check.output


def test_a_router_that_lets_our_tables_into_tenants_schemas_only_is_warned_of(site):
    check = site.start("check", IN_EACH="1", SHARED_TOO="0")

    assert check.wait() == 0
    assert "letsgo_worker.W014" in check.output and "letsgo_worker.E007" not in check.output


def test_the_page_as_it_stands_has_nothing_to_warn_of(site):
    check = site.start("check")

    assert check.wait() == 0
    assert "letsgo_worker." not in check.output
