"""The handlers of this app."""

from __future__ import annotations

from django.db import connection

from django_letsgo_worker import Delivery, handler
from tests.benchmarks import tally


@handler("bench:noop")
def noop(delivery: Delivery) -> None:
    tally.handled()


@handler("bench:ping")
def ping(delivery: Delivery) -> None:
    tally.picked_up(delivery.payload["sent"])


@handler("bench:effect", atomic=True)
def effect(delivery: Delivery) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO bench_effect (n) VALUES (%s)", [delivery.payload["n"]])
    tally.handled()
