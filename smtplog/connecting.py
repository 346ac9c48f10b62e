"""What the commands that talk over the network have in common: their options, their questions, their bounds."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from smtplog.errors import UsageError

if TYPE_CHECKING:
    from smtplog.model import Dialog
    from smtplog.replay.credentials import Credentials
    from smtplog.replay.turns import Play
    from smtplog.replay.wire import Address

#: Of a client.
Auth = Annotated[
    str | None,
    typer.Option("--auth", help="Log in as this user; the password from SMTPLOG_PASSWORD, or asked for."),
]
Tls = Annotated[bool, typer.Option("--tls", help="TLS from the first octet (port 465).")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Take any certificate.")]
Trust = Annotated[Path | None, typer.Option(help="PEM of certificates to trust, in place of the system's.")]

DAY = 86400  #: seconds that any wait may take at most


def for_client(insecure: bool, trust: Path | None) -> Any:
    """TLS as ``--insecure`` and ``--trust`` want it. Raises UsageError."""
    from smtplog.replay.wire import for_clients

    return for_clients(insecure=insecure, trusted=str(trust) if trust else None)


def for_server(certificate: Path | None, key: Path | None) -> Any:
    """TLS with the certificate of the user, or with one that is made for this run. Raises UsageError."""
    from smtplog.replay import wire
    from smtplog.replay.certificate import ephemeral

    if certificate is not None:
        return wire.for_servers(str(certificate), str(key) if key else None)
    return ephemeral("localhost", "127.0.0.1", "::1")[0]


def listening_on(words: str, any_host: bool, reached: str) -> Address:
    """The address to listen on, loopback unless ``--any-host`` allows more: whoever reaches it can talk to ``reached``.

    Raises UsageError.
    """
    from smtplog.replay import wire

    at = wire.address(words, 2525)
    if not any_host and not wire.is_loopback(at.host):
        wire.resolved(at)
        raise UsageError(f"{at.host} is not loopback: whoever reaches it can talk to {reached}; --any-host allows it")
    return at


def written(output: Path | None) -> contextlib.AbstractContextManager[TextIO | None]:
    """Where a new session is written, nowhere without a file. Raises UsageError."""
    if output is None:
        return contextlib.nullcontext()
    try:
        return open(output, "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}; name another file with -o") from None


def _password(what: str) -> str:
    """A secret that is typed and not shown."""
    return str(typer.prompt(what, hide_input=True, err=True))


def credentials(user: str | None, *, ask: bool | None = None) -> Credentials | None:
    """Who logs in; the password is asked for, by default where standard input is a terminal. None where no user is named.

    Raises UsageError.
    """
    from smtplog.replay.credentials import from_environment

    return from_environment(user, _password if (sys.stdin.isatty() if ask is None else ask) else None)


def plays(dialogs: Iterable[Dialog]) -> list[Play]:
    """The dialogs that can be played."""
    from smtplog.replay.turns import play

    return [part for dialog in dialogs if (part := play(dialog)).turns]


def nothing(errors: Iterable[str], why: str) -> UsageError:
    """Why there is nothing to play: the first thing that could not be read, else that."""
    return UsageError(next(iter(errors), why))
