"""How often one address may post, counted in Django's cache.

A fixed window: at its edge twice the rate may pass. With a cache for each process each process counts
for itself, and a cache that is down lets everybody through: a contact form must not fail because of it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from ipaddress import ip_address, ip_network

from django.core.cache import cache

from .conf import Rate

logger = logging.getLogger("django_letsgo_worker.contact")


def seconds_to_wait(address: str, rate: Rate | None, now: float | None = None) -> int:
    """Count a post from an address; return 0 when it may pass, else in how many seconds the next may."""
    if rate is None:
        return 0
    now = time.time() if now is None else now
    window = int(now // rate.seconds)
    if _count(f"letsgo-contact:{_who(address)}:{rate.seconds}:{window}", rate.seconds) <= rate.posts:
        return 0
    return max(1, int((window + 1) * rate.seconds - now + 0.999))


def _count(key: str, seconds: int) -> int:
    try:
        if cache.add(key, 1, timeout=seconds + 1):
            return 1
        return int(cache.incr(key))
    except ValueError:  # it ran out between the two
        return 1
    except Exception as error:
        logger.warning("Contact forms are not throttled: the cache fails (%s).", type(error).__name__)
        return 0


def _who(address: str) -> str:
    """Return a name for an address that does not show it; a household's IPv6 addresses are one."""
    try:
        ip = ip_address(address)
    except ValueError:
        name = address
    else:
        name = str(ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)
    return hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=16).hexdigest()
