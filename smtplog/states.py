"""The SMTP state machine, all of it, as data (RFC 5321 section 4.1.4 and the extensions named below).

Rule 1: whatever moves a session from state to state stands in this file and nowhere else.
Rule 2: *the reply decides*. A refused command (4yz, 5yz) moves nothing, with the exceptions in ``AFTER``; an accepted
one leads to its state wherever it was accepted, so that a walk is in step again after any damage.
"""

from __future__ import annotations

from typing import NamedTuple

#: The values of ``state`` in every output, in the order a session meets them.
STATES = (
    "connected",  # no greeting yet
    "greeted",  # 220, nothing said yet; also after STARTTLS and XCLIENT
    "ready",  # EHLO, HELO or LHLO accepted, no transaction
    "mail",  # MAIL accepted, no recipient yet
    "rcpt",  # at least one recipient accepted
    "data",  # 354: message text follows
    "bdat",  # a chunk accepted, the last one not yet (RFC 3030)
    "failed",  # a chunk refused: undefined until RSET (RFC 3030 section 2)
    "auth",  # 334: the client owes an answer (RFC 4954)
    "closing",  # QUIT accepted, or 421 received
    "closed",
)
TRANSACTION_STATES = ("mail", "rcpt", "data", "bdat", "failed")
HELLO = ("EHLO", "HELO", "LHLO")

#: Codes that only a command gets, never the client that connects (RFC 5321 section 3.1, RFC 4954 section 6).
ANSWERS_A_COMMAND = (502, 503, 530, 534, 535, 538)

#: The verbs that open a transaction; the last three are of RFC 821 and obsolete (RFC 5321 appendix F.6).
MAIL = ("MAIL", "SEND", "SOML", "SAML")

_ALWAYS = ("RSET", "QUIT", "NOOP", "HELP", "VRFY", "EXPN")
_QUEUE = ("ETRN", "ATRN")
_PRIVATE = ("XCLIENT", "XFORWARD", "X-EXPS", "X-ANONYMOUSTLS")

#: state → verbs that RFC 5321 section 4.1.4 and the extensions permit there, the most useful first (that order is what
#: "legal here: …" shows). Verbs that no table knows are judged by SYN020.
ALLOWED: dict[str, tuple[str, ...]] = {
    "connected": (),
    "greeted": (*HELLO, *_ALWAYS, "XCLIENT"),
    "ready": ("MAIL", "STARTTLS", "AUTH", *_ALWAYS, *HELLO, *_QUEUE, *_PRIVATE, *MAIL[1:]),
    "mail": ("RCPT", *_ALWAYS, *HELLO),
    "rcpt": ("DATA", "RCPT", "BDAT", "BDAT LAST", "BURL", *_ALWAYS, *HELLO, "XEXCH50"),
    "data": (".",),
    "bdat": ("BDAT", "BDAT LAST", "BURL", *_ALWAYS, *HELLO),
    "failed": ("RSET", "MAIL", *HELLO, *_ALWAYS[1:]),
    "auth": ("AUTH-RESPONSE",),
    "closing": ("QUIT",),
    "closed": (),
}


class After(NamedTuple):
    """Where an answered command leads; None leaves a thing as it is."""

    transaction: str | None = None  #: ``none mail rcpt data bdat failed``
    hello: str | None = None  #: ``none`` or the verb that was accepted
    tls: bool | None = None
    authenticated: bool | None = None
    auth: bool | None = None  #: the client owes an answer to a 334
    closing: bool | None = None


#: (verb, first digit of the reply, or the whole code where only that code does it) → After.
#: ``BDAT LAST`` is a verb of its own. A whole code goes before its first digit.
AFTER: dict[tuple[str, int], After] = {
    ("EHLO", 2): After(transaction="none", hello="EHLO"),
    ("HELO", 2): After(transaction="none", hello="HELO"),
    ("LHLO", 2): After(transaction="none", hello="LHLO"),
    **{(verb, 2): After(transaction="mail") for verb in MAIL},
    ("RCPT", 2): After(transaction="rcpt"),
    ("DATA", 3): After(transaction="data"),
    (".", 2): After(transaction="none"),
    (".", 3): After(transaction="none"),  # 353 of PRDR: a reply for each recipient follows
    (".", 4): After(transaction="none"),
    (".", 5): After(transaction="none"),
    ("BDAT", 2): After(transaction="bdat"),
    ("BDAT", 4): After(transaction="failed"),
    ("BDAT", 5): After(transaction="failed"),
    ("BDAT LAST", 2): After(transaction="none"),
    ("BDAT LAST", 4): After(transaction="none"),
    ("BDAT LAST", 5): After(transaction="none"),
    ("BURL", 2): After(transaction="bdat"),
    ("RSET", 2): After(transaction="none"),
    ("STARTTLS", 2): After(transaction="none", hello="none", tls=True, authenticated=False),
    ("X-ANONYMOUSTLS", 2): After(transaction="none", hello="none", tls=True, authenticated=False),
    ("XCLIENT", 2): After(transaction="none", hello="none", authenticated=False),
    ("AUTH", 2): After(authenticated=True, auth=False),
    ("AUTH", 3): After(auth=True),
    ("AUTH", 4): After(auth=False),
    ("AUTH", 5): After(auth=False),
    ("AUTH-RESPONSE", 2): After(authenticated=True, auth=False),
    ("AUTH-RESPONSE", 3): After(auth=True),
    ("AUTH-RESPONSE", 4): After(auth=False),
    ("AUTH-RESPONSE", 5): After(auth=False),
    ("X-EXPS", 2): After(authenticated=True, auth=False),
    ("X-EXPS", 3): After(auth=True),
    ("QUIT", 2): After(closing=True),
}

#: Whatever the command was: 421 ends the session (RFC 5321 section 3.8).
AFTER_421 = After(closing=True)
_NOTHING = After()


def after(verb: str, code: int) -> After:
    """Where a verb with this reply leads; 421 ends the session whatever the verb, no reply (code 0) moves nothing."""
    if code == 421:
        return AFTER.get((verb, 4), _NOTHING)._replace(closing=AFTER_421.closing)
    return AFTER.get((verb, code)) or AFTER.get((verb, code // 100), _NOTHING)


def legal_in(state: str) -> tuple[str, ...]:
    """The verbs that would have been legal in a state, the most useful first, for "legal here: …"."""
    return ALLOWED[state]
