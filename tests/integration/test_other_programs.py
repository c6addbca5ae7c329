"""The examples of docs/howto/enqueue-from-other-programs.md as they stand: a trigger, psql, Node.js."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from django.db import connection

from django_letsgo_worker.models import Message
from testproject.shop.models import Invoice, Order
from tests.docs.other_languages import statements_of
from tests.docs.test_snippets import snippets_of
from tests.support import ROOT

PAGE = ROOT / "docs" / "howto" / "enqueue-from-other-programs.md"

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="Only PostgreSQL has the function."),
]


def example(language: str, word: str) -> str:
    (text,) = [one.text for one in snippets_of(PAGE) if one.language == language and word in one.text]
    return text


def run(*command: str, url: str, **options) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"There is no {name} on this machine.")
    return found


def test_a_row_of_the_shop_becomes_a_message_by_a_trigger_and_a_worker_handles_it(manage):
    with connection.cursor() as cursor:
        for statement in statements_of(example("plpgsql", "CREATE TRIGGER")):
            cursor.execute(statement)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO shop_order (article, customer, placed_at) "
                "VALUES ('tea', 'ada@example.com', now()), ('cup', 'alan@example.com', now())"
            )
        orders = set(Order.objects.values_list("pk", flat=True))
        assert {message.payload["order"] for message in Message.objects.filter(type="order:new")} == orders
        assert manage("runworker", "--until-empty", "--queues", "orders").wait() == 0
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER order_placed ON shop_order")
            cursor.execute("DROP FUNCTION order_placed()")

    assert set(Invoice.objects.values_list("order_id", flat=True)) == orders and len(orders) == 2


def test_psql_adds_a_message(test_database_url):
    program("psql")
    run("sh", "-c", example("shell", "psql"), url=test_database_url)
    message = Message.objects.get()
    assert (message.type, message.payload) == ("stock:check", {"article": "tea"})
    assert (message.visible_at - message.enqueued_at).total_seconds() == 600


@pytest.fixture(scope="session")
def folder_with_pg(tmp_path_factory):
    """A folder in which Node.js finds the package pg."""
    program("node")
    npm, folder = program("npm"), tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text("{}")
    done = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "pg"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
    )
    if done.returncode:
        pytest.skip(f"npm cannot install the package pg here: {done.stderr.strip()[-200:]}")
    return folder


def test_node_adds_a_message_once(folder_with_pg, test_database_url):
    (folder_with_pg / "enqueue.js").write_text(example("javascript", "letsgo_enqueue"))
    said = [run("node", "enqueue.js", url=test_database_url, cwd=folder_with_pg).strip() for _ in range(2)]
    message = Message.objects.get()
    assert said == [str(message.pk)] * 2
    assert (message.type, message.queue, message.payload) == ("order:new", "orders", {"order": 7})
    assert message.unique_key == "order-7"
