"""What the app tells the world, as Django signals; logs and metrics hang on them.

All are sent with send_robust, after the fact is in the database: a broken receiver breaks nothing.
"""

from django.dispatch import Signal

# sender=Message, message=Message, using=str. In the caller's transaction, which may still roll back.
message_enqueued = Signal(use_caching=True)

# sender=Delivery, delivery=Delivery. On the handler's thread, before its first line.
delivery_started = Signal(use_caching=True)

# sender=Delivery, delivery=Delivery, outcome=str, seconds=float, exception=BaseException, delay=float | None.
# Where the handler raised it, inside its context and on its thread, before anything is written: for logs and
# error trackers. `outcome` is what was decided, retry or dead; the database may still say otherwise.
delivery_failed = Signal(use_caching=True)

# sender=Delivery, delivery=Delivery, outcome=str, seconds=float, exception=BaseException | None,
# result=object, delay=float | None. `outcome` is succeeded, retry, snoozed, dead, expired or released.
delivery_finished = Signal(use_caching=True)

# sender=Delivery, delivery=Delivery. What it did was not recorded: somebody else may hold the message.
lease_lost = Signal(use_caching=True)

# sender=ScheduledJob, occurrence=Occurrence, message=Message | None, schedule=ScheduledJob.
occurrence_fired = Signal(use_caching=True)

# sender=Message, queue=str, type=str. Messages wait whose type a worker does not know; once a minute each.
unknown_type = Signal(use_caching=True)

# sender=ScheduledJob, schedule=ScheduledJob, problem=str. After the commit, when its problem is another.
schedule_failed = Signal(use_caching=True)

# sender=Message, message_id=int, type=str, queue=str, errors=list, delivery=Delivery | None. Lost if the
# process is killed between the commit and this: what must follow a death is on_dead of its handler.
message_died = Signal(use_caching=True)
