"""smtplog: replay and analysis of SMTP transcripts.

``smtplog.read("session.log")`` opens any saved dialog with a mail server; its words are those of the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smtplog.explain import explain
    from smtplog.transcript import Transcript, read

__all__ = ["Transcript", "explain", "read"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The names of the library, imported when first asked for: the command line starts without them."""
    homes = {"read": "smtplog.transcript", "Transcript": "smtplog.transcript", "explain": "smtplog.explain"}
    if name in homes:
        from importlib import import_module

        return getattr(import_module(homes[name]), name)
    raise AttributeError(f"module 'smtplog' has no attribute {name!r}")
