"""Tasks of many kinds: plain, bound, retrying by themselves and by hand, in a chain, with a base class."""

from celery import Task, shared_task
from celery.exceptions import MaxRetriesExceededError

from .celery import app

# What the tasks did, for the tests.
DONE = []


class Unreachable(Exception):
    pass


class NotFound(Unreachable):
    pass


@shared_task
def add(x, y):
    return x + y


@shared_task
def times(x, factor=2):
    return x * factor


@shared_task(name="celeryapp.tasks.tidy", ignore_result=True)
def tidy(days=30):
    DONE.append(("tidy", days))
    return days


@app.task
def poll():
    DONE.append("poll")


@shared_task(bind=True)
def whoami(self, *args, **kwargs):
    request = self.request
    return {
        "id": request.id,
        "name": self.name,
        "retries": request.retries,
        "args": list(request.args),
        "kwargs": dict(request.kwargs),
        "eager": request.is_eager,
    }


@shared_task(bind=True, max_retries=2, default_retry_delay=0)
def fetch(self, failures):
    """Fail so many times, then succeed: retried by hand."""
    DONE.append(("fetch", self.request.retries))
    if self.request.retries < failures:
        try:
            raise Unreachable(f"attempt {self.request.retries}")
        except Unreachable as error:
            raise self.retry(exc=error) from error
    return self.request.retries


@shared_task(bind=True, max_retries=1)
def give_up(self):
    try:
        self.retry(countdown=0)
    except MaxRetriesExceededError:
        DONE.append("gave up")
        return "gave up"


@shared_task(
    autoretry_for=(Unreachable,),
    dont_autoretry_for=(NotFound,),
    retry_kwargs={"max_retries": 2},
    retry_backoff=True,
    retry_jitter=False,
)
def call(error):
    DONE.append(("call", error))
    if error:
        raise {"unreachable": Unreachable, "not found": NotFound, "value": ValueError}[error](error)
    return "called"


class Noisy(Task):
    def on_success(self, retval, task_id, args, kwargs):
        DONE.append(("success", retval))

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        DONE.append(("failure", str(exc)))


@shared_task(base=Noisy)
def divide(x, y):
    return x / y


@shared_task
def after(moment, price=None):
    """Take what JSON does not have, and Celery's serializer does."""
    return [type(moment).__name__, type(price).__name__, moment]
