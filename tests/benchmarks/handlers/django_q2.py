"""The scheduler of django-q2, without the cluster around it, until it is killed.

python -m tests.benchmarks.handlers.django_q2
"""

from __future__ import annotations

import time


def noop(n: int) -> None:
    """Nobody runs it: it is only made."""


def work() -> None:
    import django

    django.setup()

    from django_q.brokers import get_broker
    from django_q.scheduler import scheduler

    broker = get_broker()
    while True:
        scheduler(broker)
        time.sleep(0.1)


if __name__ == "__main__":
    work()
