"""The ASGI entry point of a site that handles messages and fires schedules itself."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

from django_letsgo_worker.embedded import lifespan

application = lifespan(get_asgi_application(), concurrency=2)
