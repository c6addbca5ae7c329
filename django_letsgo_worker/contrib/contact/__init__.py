"""The receiving end of a contact form: POST v1/contact becomes a message; an optional app.

Include `django_letsgo_worker.contrib.contact.urls` in the project's urls.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .views import ContactView as ContactView

__all__ = ["ContactView"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".views", __name__), name)
