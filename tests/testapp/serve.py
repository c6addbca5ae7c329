"""A site in one process, as a script that handles messages beside it."""

from __future__ import annotations

from wsgiref.simple_server import make_server

import django
from django.core.wsgi import get_wsgi_application

from django_letsgo_worker.embedded import running

if __name__ == "__main__":
    django.setup()
    with make_server("127.0.0.1", 0, get_wsgi_application()) as server, running(concurrency=2):
        print(f"Serving at http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
