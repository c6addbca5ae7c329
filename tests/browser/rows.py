"""What the tests of the admin share: rows to look at, and addresses."""

from __future__ import annotations

import itertools
from datetime import timedelta

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone

from django_letsgo_worker.models import ArchivedMessage, Process

# Far from the ids that enqueue() gives, and apart: MariaDB goes on counting behind one that was redriven.
_ids = itertools.count(1_000_000_000, 1_000)


def list_url(model):
    return reverse(f"admin:django_letsgo_worker_{model}_changelist")


def change_url(model, pk):
    return reverse(f"admin:django_letsgo_worker_{model}_change", args=[quote(pk)])


def do_url(model, pk, action):
    return reverse(f"admin:django_letsgo_worker_{model}_do", args=[quote(pk), action])


def an_error(message="card declined", attempt=1):
    return {
        "attempt": attempt,
        "at": "2026-11-22T10:00:00.000000+00:00",
        "seconds": 0.25,
        "process": "web-1:4711",
        "class": "shop.errors.CardDeclined",
        "message": message,
        "traceback": f"Traceback (most recent call last):\nshop.errors.CardDeclined: {message}",
    }


def archived(**fields):
    now = timezone.now()
    facts = {
        "id": next(_ids),
        "type": "billing.charge",
        "payload": {"order": 1},
        "queue": "billing",
        "visible_at": now,
        "enqueued_at": now - timedelta(minutes=5),
        "finished_at": now - timedelta(minutes=1),
        "outcome": "succeeded",
        "attempts": 1,
        "seconds": 0.5,
    }
    return ArchivedMessage.objects.create(**{**facts, **fields})


def dead_letter(**fields):
    facts = {
        "outcome": "dead",
        "attempts": 5,
        "max_attempts": 5,
        "errors": [an_error("first"), an_error("card declined", 2)],
        "error_class": "shop.errors.CardDeclined",
        "error_fingerprint": "f1",
    }
    return archived(**{**facts, **fields})


def process(**fields):
    now = timezone.now()
    facts = {
        "kind": "worker",
        "name": "web-1",
        "host": "web-1.example.org",
        "pid": 4711,
        "types": ["mail.send"],
        "seats": 8,
        "busy": 3,
        "started_at": now - timedelta(hours=1),
        "heartbeat_at": now,
    }
    return Process.objects.create(**{**facts, **fields})
