"""How long the pages of the admin take over millions of rows: the SQL, warm, and the whole answer.

    python -m tests.benchmarks.pages [--ended 10000000] [--live 200000]

It fills the database that DATABASE_URL names, PostgreSQL, which must be empty, and prints a table for
docs/explanation/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ended", type=int, default=10_000_000)
    parser.add_argument("--live", type=int, default=200_000)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.testapp.settings")
    django.setup()
    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("migrate", verbosity=0)
    # They need the apps.
    from django.contrib.auth.models import User
    from django.test import Client

    from tests.admin.big_tables import addresses, fill_tables

    fill_tables(ended=options.ended, live=options.live)
    with connection.cursor() as cursor:
        # As autovacuum has done where rows came one by one.
        cursor.execute("VACUUM (ANALYZE)")
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    print(f"{options.ended:,} messages that ended, {options.live:,} live ones; medians of {ROUNDS}, in ms\n")
    print("| page | statements | SQL | all |\n|---|---|---|---|")
    for url, query, _most in addresses():
        page = url.removeprefix("/admin/django_letsgo_worker/").strip("/") or "overview"
        asked, sql, whole = measure(client, url, query)
        shown = " ".join(f"{name}={value}" for name, value in query.items())
        print(f"| {page} {shown} | {asked} | {sql:.0f} | {whole:.0f} |", flush=True)


def measure(client: Any, url: str, query: dict[str, str]) -> tuple[int, float, float]:
    """Return the number of statements, and the medians of their time and of the whole answer."""
    client.get(url, query)
    sql, whole = [], []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url, query).status_code == 200, (url, query)
        whole.append(1_000 * (time.perf_counter() - begun))
        sql.append(1_000 * sum(float(one["time"]) for one in captured.captured_queries))
    return len(captured), statistics.median(sql), statistics.median(whole)


if __name__ == "__main__":
    main()
