"""The client's answers in an AUTH exchange (RFC 4954; RFC 4616 PLAIN; RFC 2195 CRAM-MD5; RFC 7628 bearer tokens)."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from smtplog.errors import UsageError

#: Where user, password and token are looked for.
USER, PASSWORD, TOKEN = "SMTPLOG_USER", "SMTPLOG_PASSWORD", "SMTPLOG_TOKEN"
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in, and with what."""

    user: str
    password: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"

    def initial(self, mechanism: str) -> str | None:
        """What goes behind ``AUTH MECHANISM``; None for a mechanism that waits for its prompt."""
        if mechanism == "PLAIN":
            return _encoded(f"\0{self.user}\0{self.password}")
        if mechanism == "XOAUTH2":
            return _encoded(f"user={self.user}\1auth=Bearer {self.token or self.password}\1\1")
        if mechanism == "OAUTHBEARER":
            return _encoded(f"n,a={self.user},\1auth=Bearer {self.token or self.password}\1\1")
        return None

    def answer(self, mechanism: str, prompt: str) -> str:
        """The answer to a 334 with this text; ``*``, which cancels (RFC 4954 section 4), where none is known."""
        asked = prompt_of(prompt)
        if mechanism == "LOGIN":
            return _encoded(self.password if "pass" in asked.casefold() else self.user)
        if mechanism == "CRAM-MD5":
            digest = hmac.new(self.password.encode(), asked.encode(), "md5").hexdigest()
            return _encoded(f"{self.user} {digest}")
        initial = self.initial(mechanism)
        return initial if initial is not None and not asked else "*"


def from_environment(user: str | None, ask: Callable[[str], str] | None) -> Credentials | None:
    """Credentials from SMTPLOG_USER and SMTPLOG_PASSWORD or SMTPLOG_TOKEN; the password is asked for where it is not set.

    None where no user is named. Raises UsageError where there is a user, no password, and nobody to ask.
    """
    user = user or os.environ.get(USER)
    if user is None:
        return None
    password, token = os.environ.get(PASSWORD), os.environ.get(TOKEN, "")
    if password is None and not token:
        if ask is None:
            raise UsageError(f"there is no password for {user}: set {PASSWORD}, or {TOKEN} for a bearer token")
        password = ask(f"Password of {user}")
    return Credentials(user, password or "", token)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def prompt_of(prompt: str) -> str:
    """What the text of a 334 asks for, decoded."""
    try:
        return base64.b64decode(prompt.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return prompt
