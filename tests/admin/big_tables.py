"""Tables as large as those of a big site, on PostgreSQL, and the pages that are looked at over them."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from django.urls import reverse
from django.utils import timezone

from django_letsgo_worker import enqueue, schedules
from django_letsgo_worker.models import ArchivedMessage, Failure, Message
from tests.browser.rows import list_url, process

PAGES = [
    ("message", {}),
    ("message", {"queue": "queue-1"}),
    ("message", {"queue": "nowhere"}),
    ("message", {"state": "ready"}),
    ("message", {"state": "running"}),
    ("message", {"state": "retrying", "queue": "queue-2"}),
    ("message", {"type": "rare.type"}),
    ("message", {"q": "key:order-5"}),
    ("message", {"q": "5"}),
    ("message", {"q": "mail"}),
    ("message", {"q": "error:CardDeclined"}),
    ("message", {"q": "schedule:nightly"}),
    ("message", {"q": "worker:web-1"}),
    ("message", {"q": "correlation:8f3a"}),
    ("message", {"p": "3"}),
    ("archivedmessage", {}),
    ("archivedmessage", {"outcome": "succeeded"}),
    ("archivedmessage", {"outcome": "expired"}),
    ("archivedmessage", {"type": "rare.type"}),
    ("archivedmessage", {"outcome": "dead", "type": "mail.send"}),
    ("archivedmessage", {"queue": "queue-1"}),
    ("archivedmessage", {"q": "rare"}),
    ("archivedmessage", {"q": "order-5"}),
    ("archivedmessage", {"q": "correlation:8f3a", "outcome": "cancelled"}),
    ("archivedmessage", {"p": "9"}),
    ("deadletter", {}),
    ("deadletter", {"type": "mail.send"}),
    ("deadletter", {"error_fingerprint": "f7"}),
    ("deadletter", {"q": "error:CardDeclined"}),
    ("failure", {}),
    ("queue", {}),
    ("messagetype", {}),
    ("process", {}),
    ("scheduledjob", {}),
]
# What the whole of a page may ask: the session and the user are two of them.
MOST_STATEMENTS, MOST_ON_THE_OVERVIEW = 12, 30


def addresses() -> Iterator[tuple[str, dict[str, str], int]]:
    """Yield the address of each page, its query, and how many statements it may ask."""
    yield reverse("admin:app_list", args=["django_letsgo_worker"]), {}, MOST_ON_THE_OVERVIEW
    for model, query in PAGES:
        yield list_url(model), query, MOST_STATEMENTS


def fill_tables(*, ended: int, live: int) -> None:
    """Fill the tables by SQL: mostly succeeded, each twentieth dead, cancelled or expired."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO {Message._meta.db_table} (type, payload, queue, visible_at)
            SELECT 'mail.send', '{{}}', CASE WHEN n %% 100 = 0 THEN 'queue-2' ELSE 'queue-1' END,
                   now() + CASE WHEN n %% 100 = 0 THEN interval '1 hour' ELSE interval '-1 second' END
            FROM generate_series(1, %s) n""",
            [live],
        )
        cursor.execute(
            f"""INSERT INTO {ArchivedMessage._meta.db_table} (id, type, payload, queue, outcome, visible_at,
                   enqueued_at, finished_at, attempts, errors, error_class, error_fingerprint)
            SELECT 10000000 + n, CASE WHEN n %% 1000 = 0 THEN 'rare.type' ELSE 'mail.send' END, '{{}}',
                   'queue-1',
                   CASE n %% 20 WHEN 17 THEN 'dead' WHEN 18 THEN 'cancelled' WHEN 19 THEN 'expired'
                   ELSE 'succeeded' END,
                   now(), now(), now() - n * interval '1 second', 1, '[]', '', 'f' || n %% 50
            FROM generate_series(1, %s) n""",
            [ended],
        )
        cursor.execute("ANALYZE")
    enqueue("mail.send", unique_key="order-5")
    process(name="web-1")
    schedules.add("nightly", "@daily", "mail.send")
    moment = timezone.now()
    Failure.objects.create(
        fingerprint="f7", type="mail.send", error_class="CardDeclined", first_at=moment, last_at=moment
    )
