"""`letsgo prune`: the housekeeping's deleting of what is old, at once and by hand.

How old is too old stands in the settings.
"""

from __future__ import annotations

from ... import messages
from .call import Call, Verbs


def add_to(verbs: Verbs) -> None:
    verbs.add("prune", prune, "deletes archived messages and occurrences that are old")


def prune(call: Call) -> None:
    deleted = 0
    with call.out.progress("prune") as advance:
        while batch := messages.prune_batch(using=call.using):
            deleted += batch
            advance(batch)
    if call.out.as_json:
        call.out.document({"deleted": deleted})
    else:
        call.out.line(f"deleted {deleted}")
