"""Types of tasks' messages, and ids of results: the message's number, signed, so nobody can guess another.

As in Celery an id may be shown to a browser: it tells nothing, and opens no other result.
"""

from __future__ import annotations

from django.core.signing import BadSignature, Signer, b62_decode, b62_encode

# A message of such a type is a task; what follows is its name.
PREFIX = "celery:"
# Constant, since people keep ids longer than releases last.
SALT = "django_letsgo_worker.contrib.celery.result"
LONGEST = 63


def id_of(message_id: int, step: int = 0) -> str:
    """Return the id of the result of a message, or of a later step of the chain that the message began."""
    number = b62_encode(message_id)
    return _signer().sign(f"{number}-{step}" if step else number)


def read(id: str) -> tuple[int, int] | None:
    """Return the number of the message, and the step, that an id names; None if it is none of ours."""
    # Text that cannot be ours is not worth checking, and a lone surrogate cannot be signed.
    if not isinstance(id, str) or len(id) > LONGEST or not id.isascii():
        return None
    try:
        number, _, step = _signer().unsign(id).partition("-")
        return b62_decode(number), int(step or 0)
    except (BadSignature, ValueError):
        return None


def _signer() -> Signer:
    # Made for each id: SECRET_KEY and SECRET_KEY_FALLBACKS may be others by now.
    return Signer(sep=".", salt=SALT)
