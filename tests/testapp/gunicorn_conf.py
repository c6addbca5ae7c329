"""The configuration of gunicorn for a site each of whose processes handles messages and fires schedules."""

from __future__ import annotations

from contextlib import ExitStack

wsgi_app = "testproject.wsgi:application"
bind = "127.0.0.1:0"
workers = 2

inside = ExitStack()


def post_worker_init(worker):
    from django_letsgo_worker.embedded import running

    inside.enter_context(running(concurrency=2))


def worker_exit(server, worker):
    inside.close()
