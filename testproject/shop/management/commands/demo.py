"""`manage.py demo`: the shop at work, with orders, a worker, a scheduler and the site.

With --once everything is handled and counted, and the command ends; otherwise it runs until Ctrl-C.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count, Max, Q, Sum
from django.urls import reverse
from django.utils import timezone

from django_letsgo_worker import schedules
from django_letsgo_worker.models import ArchivedMessage, Message, Occurrence, ScheduledJob
from testproject.shop import orders, outside
from testproject.shop.management import side_by_side
from testproject.shop.models import Article, Invoice, Mail, Order, Report

SCHEDULE = "sales report"
# The last one's address cannot exist: its mail becomes a dead letter.
CUSTOMERS = ["ada", "grace", "edsger", "barbara", "donald"]
NOBODY = "nobody@shop.invalid"
# Retries come after a second, but the lease of a worker that was killed has to lapse first.
PATIENCE_SECONDS = 90.0


class Command(BaseCommand):
    help = "Shows the shop at work, until Ctrl-C; with --once it handles everything and reports the results."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="handle everything, count, and end")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        self._prepare()
        if once:
            self._once()
        else:
            self._stay()

    def _prepare(self) -> None:
        self.stdout.write("Migrating the database.")
        call_command("migrate", verbosity=0)
        users = get_user_model().objects
        admin = users.filter(username="admin").first() or users.create_superuser("admin", password="admin")
        self._login = "admin / admin" if admin.check_password("admin") else "admin, with the password you set"
        self.stdout.write(f"To log in to the admin: {self._login}.")
        if not ScheduledJob.objects.filter(name=SCHEDULE).exists():
            schedules.add(SCHEDULE, "rate(1 minute)", "report:sales")

    def _place_orders(self) -> list[Order]:
        addresses = [f"{name}@example.com" for name in CUSTOMERS] + [NOBODY]
        placed = [
            orders.place(Order(article=Article.values[place % len(Article)], customer=address))
            for place, address in enumerate(addresses)
        ]
        self.stdout.write(f"Placed {len(placed)} orders, the last of them with an address that cannot exist.")
        return placed

    # -- once ----------------------------------------------------------------------------------------------

    def _once(self) -> None:
        before = _newest_message_id()
        placed = self._place_orders()
        planned_at = self._fire_schedule()
        self._work_off(before)
        self._show(before)
        self._check(placed, planned_at)
        self.stdout.write("Everything is as promised.")

    def _fire_schedule(self) -> datetime:
        """Plan the report for now, and fire twice: one planned time makes one message."""
        job = ScheduledJob.objects.get(name=SCHEDULE)
        job.enabled, job.next_run_at = True, timezone.now()
        job.save()
        schedules.fire_due()
        schedules.fire_due()
        self.stdout.write(f"Fired the schedule {SCHEDULE!r}.")
        return job.next_run_at

    def _work_off(self, before: int) -> None:
        """Run workers until none of our messages is live, retries included."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        ours = Message.objects.filter(pk__gt=before).order_by("visible_at")
        while True:
            if not side_by_side.run("worker", "runworker", "--until-empty", write=self.stdout.write):
                raise CommandError("The worker failed; see its output above.")
            visible_at = ours.values_list("visible_at", flat=True).first()
            if visible_at is None:
                return
            if time.monotonic() > give_up:
                raise CommandError(f"{ours.count()} messages are live after {PATIENCE_SECONDS:g} seconds.")
            time.sleep(max(0.05, (visible_at - timezone.now()).total_seconds()))

    def _show(self, before: int) -> None:
        ended = ArchivedMessage.objects.filter(pk__gt=before).values("type").order_by("type")
        rows = ended.annotate(
            messages=Count("pk"),
            used=Sum("attempts"),
            succeeded=Count("pk", filter=Q(outcome="succeeded")),
            dead=Count("pk", filter=Q(outcome="dead")),
        )
        line = "{:<14}{:>10}{:>10}{:>11}{:>6}"
        self.stdout.write("\n" + line.format("type", "messages", "attempts", "succeeded", "dead"))
        for row in rows:
            self.stdout.write(line.format(*row.values()))
        self.stdout.write("")

    def _check(self, placed: list[Order], planned_at: datetime) -> None:
        """Print what was promised and what was found; CommandError if they differ."""
        invoices = Invoice.objects.filter(order__in=placed)
        keys = [f"mail-{invoice.mail_message_id}" for invoice in invoices]
        mails = Mail.objects.filter(idempotency_key__in=keys)
        dead = ArchivedMessage.objects.filter(
            outcome="dead", pk__in=invoices.values_list("mail_message_id", flat=True)
        )
        runs = Occurrence.objects.filter(scheduled_job__name=SCHEDULE, planned_at=planned_at)
        reachable = [order for order in placed if order.customer != NOBODY]
        facts = [
            ("invoices", len(placed), invoices.count()),
            ("orders with an invoice", len(placed), invoices.values("order").distinct().count()),
            ("mails sent", len(reachable), mails.count()),
            (
                "mails requested twice",
                sum(order.pk % 3 == 0 for order in reachable),
                mails.filter(requests=2).count(),
            ),
            ("dead letters", 1, dead.count()),
            ("runs of the schedule", 1, runs.filter(message_id__isnull=False).count()),
            ("sales reports", 1, Report.objects.filter(until=planned_at).count()),
        ]
        line = "{:<24}{:>10}{:>10}"
        self.stdout.write(line.format("", "promised", "found"))
        for fact in facts:
            self.stdout.write(line.format(*fact))
        self.stdout.write("")
        if wrong := [name for name, promised, found in facts if promised != found]:
            raise CommandError(f"Not as promised: {', '.join(wrong)}.")

    # -- stay ----------------------------------------------------------------------------------------------

    def _stay(self) -> None:
        self._place_orders()
        wanted = int(os.environ.get("PORT") or 8000)
        port = _free_port(wanted)
        if port != wanted:
            self.stdout.write(f"Port {wanted} is taken; this is port {port}.")
        site = f"http://127.0.0.1:{port}"
        # What is already set points elsewhere on purpose.
        for name, value in outside.environment(site).items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("DJANGO_RUNSERVER_HIDE_WARNING", "true")
        commands = {
            "site": ["runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}"],
            "worker": ["runworker"],
            "scheduler": ["runscheduler"],
        }
        self.stdout.write(
            "Starting the site, a worker and a scheduler. Every third mail fails at first, on purpose."
        )
        together = side_by_side.SideBySide(
            commands, self.stdout.write, lambda pids: self.stdout.write(self._what_to_try(site, pids))
        )
        if not together.run():
            raise CommandError("One of them failed; see its output above.")

    def _what_to_try(self, site: str, pids: Mapping[str, int]) -> str:
        """Return the last text on the screen: where everything is, and what to try there."""
        schedules_page = reverse("admin:django_letsgo_worker_scheduledjob_changelist")
        return f"""
Try this:
  1. Order with the address {NOBODY}. Its mail cannot be sent: follow "dead" in the
     shop, read why, and press "Redrive". It runs again, and dies again.
  2. Kill the worker: kill -9 {pids["worker"]}. Orders wait until a new one has taken its place;
     what it had in hand is handled again within half a minute.
  3. Switch the sales report off, and its line, once a minute, no longer appears:
     {site}{schedules_page}

  The shop       {site}/
  The admin      {site}/admin/    {self._login}
  Slack & co.    {site}/outside/
  To stop        Ctrl-C
"""


def _newest_message_id() -> int:
    newest = [model.objects.aggregate(id=Max("pk"))["id"] for model in (Message, ArchivedMessage)]
    return max(id or 0 for id in newest)


def _free_port(wanted: int) -> int:
    """Return the wanted port if it is free, otherwise any free one."""
    for port in (wanted, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise CommandError("There is no free port.")
