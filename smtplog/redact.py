"""Secrets never leave: what follows AUTH is found by the state of the session and masked by value, raw and decoded,
wherever it occurs (RFC 4954; RFC 4616 section 2 for PLAIN)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from smtplog import events, reference
from smtplog.events import Strings
from smtplog.model import Content, Dialog, Event, Exchange, Reply

MASK = "********"
#: What programs write where a secret was (RE2): ``********``, ``<hidden>``, ``[credentials hidden]``.
HIDDEN = r"\*{2,}|<[^<>]*>|\[[^\[\]]*\]"
_ALREADY = re.compile(rf"^(?:{HIDDEN}|\*|=|)$")
_AT_ONCE = 500  # secrets in one expression
_AUTH_REPLIES = (235, 334, 535)  # a log may begin behind AUTH (RFC 4954 sections 4 and 6)
_AUTH = r"\b(?:AUTH|X-EXPS) [A-Z0-9_-]{1,20} "  # what comes before an initial response
_GIVEN = re.compile(rf"{_AUTH}([A-Za-z0-9+/=]{{4,}})", re.IGNORECASE)
_ASKED = re.compile(r"(?<![0-9])334\b")
_MARKS = " \t`'\">|<-*"
_LEAST = 4  # shorter values are masked in AUTH lines only


def redact(dialog: Dialog) -> Dialog:
    """The same dialog with every secret masked."""
    exchanges = tuple(_auth_masked(dialog.exchanges))
    pattern = masking(dialog)
    if pattern is None and exchanges == dialog.exchanges:
        return dialog
    return replace(
        dialog,
        exchanges=tuple(_everywhere(exchange, pattern) for exchange in exchanges),
        greeting=_reply(dialog.greeting, pattern),
        events=tuple(_event(event, pattern) for event in dialog.events),
        transactions=tuple(
            replace(
                each,
                content=_content(each.content, pattern),
                subject=mask(each.subject, pattern) if each.subject else None,
            )
            for each in dialog.transactions
        ),
    )


def secrets(dialog: Dialog) -> frozenset[str]:
    """The secrets of a session: AUTH answers as sent, what they decode to, and the passwords in them."""
    found: set[str] = set()
    for exchange, broken in zip(dialog.exchanges, _after_broken_auth(dialog.exchanges), strict=True):
        for value in _answers(exchange, broken):
            found |= meanings(value)
    for value in _in_no_command(dialog.exchanges):
        found |= meanings(value)
    return frozenset(found)


def _in_no_command(exchanges: tuple[Exchange, ...]) -> Iterator[str]:
    """What looks like the answer to AUTH in lines that are no command: another log that was pasted below this one."""
    asked = False
    for exchange in exchanges:
        line = exchange.command or ""
        if reference.verb(exchange.verb) is not None or not line:
            asked = False
            continue
        given = _GIVEN.findall(line)
        yield from (value for value in given if _is_base64(value))
        value = line.strip(_MARKS)
        if asked and " " not in value:
            yield value
        asked = _ASKED.search(line) is not None


def _is_base64(value: str) -> bool:
    """Whether no word is written so."""
    return any(c.isdigit() or c in "+/=" for c in value) or not (value.isupper() or value[1:].islower())


def meanings(answer: str) -> set[str]:
    """What an AUTH answer gives away wherever it is read: itself, what it decodes to, the password in it."""
    if hidden(answer):
        return set()
    return {value for value in (answer, *_decoded(answer)) if len(value) >= _LEAST}


def masking(dialog: Dialog, others: frozenset[str] = frozenset()) -> re.Pattern[str] | None:
    """The pattern that finds every secret of a session, and these others, in other texts, for :func:`mask`."""
    return _pattern(secrets(dialog) | others)


def hidden(value: str) -> bool:
    """Whether the log itself masks a value: ``***``, ``<hidden>``, ``[redacted]``."""
    return bool(_ALREADY.match(value))


def _is_auth(exchange: Exchange) -> bool:
    return exchange.verb in ("AUTH", "X-EXPS", "AUTH-RESPONSE")


def _answers(exchange: Exchange, broken: bool) -> Iterator[str]:
    command = exchange.command or ""
    if exchange.verb in ("AUTH", "X-EXPS"):
        yield exchange.argument.partition(" ")[2].strip()
    elif exchange.verb == "AUTH-RESPONSE" or broken:
        yield command.strip()


def _after_broken_auth(exchanges: tuple[Exchange, ...]) -> list[bool]:
    """Which lines are no command and follow AUTH though the log lost the 334 between them, or are answered
    as AUTH is."""
    found = []
    auth: int | None = None  # the last AUTH with nothing but such lines since
    for i, exchange in enumerate(exchanges):
        known = reference.verb(exchange.verb) is not None
        alone = exchange.command is not None and exchange.odd and " " not in exchange.command.strip() and not known
        owes = exchange.reply is not None and exchange.reply.code in _AUTH_REPLIES
        if auth is not None:
            owes |= exchanges[auth].severity in (0, 3) or i - auth < 3
        found.append(alone and owes)
        if _is_auth(exchange):
            auth = i
        elif not exchange.odd or known:
            auth = None
    return found


def _decoded(value: str) -> Iterator[str]:
    try:
        text = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        yield from (part for part in value.split(":")[1:] if part)  # typed in clear: user:password
        return
    parts = [part for part in re.split(r"[\x00\x01]", text) if part]
    yield text
    if len(parts) > 1:
        password = parts[-1].removeprefix("auth=").removeprefix("Bearer ")
        yield password
        yield base64.b64encode(password.encode()).decode()
    elif " " in text:
        yield text.rpartition(" ")[2]  # CRAM-MD5: user and digest


def _auth_masked(exchanges: tuple[Exchange, ...]) -> Iterator[Exchange]:
    for exchange, broken in zip(exchanges, _after_broken_auth(exchanges), strict=True):
        value = exchange.argument.partition(" ")[2].strip() if exchange.verb in ("AUTH", "X-EXPS") else ""
        if value and not _ALREADY.match(value):
            head, _, _ = (exchange.command or "").partition(value)
            argument = exchange.argument.partition(" ")[0]
            yield replace(exchange, command=head + MASK, argument=f"{argument} {MASK}")
        elif exchange.verb == "AUTH-RESPONSE" or broken:
            kept = exchange.command is None or _ALREADY.match(exchange.command.strip())
            yield exchange if kept else replace(exchange, command=MASK, argument="", verb=_verb(exchange))
        else:
            yield exchange


def _verb(exchange: Exchange) -> str:
    return exchange.verb if _is_auth(exchange) else "AUTH-RESPONSE"


def _pattern(values: frozenset[str]) -> re.Pattern[str] | None:
    if not values:
        return None
    return re.compile("|".join(re.escape(value) for value in sorted(values, key=lambda value: (-len(value), value))))


def mask(text: str, pattern: re.Pattern[str] | None) -> str:
    """A text with every secret in it masked."""
    return pattern.sub(MASK, text) if pattern and text else text


def masked_column(texts: Strings, values: Iterable[str]) -> Strings:
    """Lines of a log that belong to no session, with these secrets masked and whatever follows AUTH."""
    texts = events.rewritten(texts, rf"(?i)({_AUTH})[^ ]+", rf"\1{MASK}")
    known = sorted(values, key=lambda value: (-len(value), value))
    for start in range(0, len(known), _AT_ONCE):
        texts = events.rewritten(texts, "|".join(_quoted(value) for value in known[start : start + _AT_ONCE]), MASK)
    return texts


def _quoted(value: str) -> str:
    """A value as a regular expression of RE2."""
    return "".join(c if c.isalnum() or ord(c) > 127 else f"\\x{{{ord(c):x}}}" for c in value)


def _everywhere(exchange: Exchange, pattern: re.Pattern[str] | None) -> Exchange:
    reply = _reply(exchange.reply, pattern)
    if _is_auth(exchange):
        return replace(exchange, reply=reply)
    command = mask(exchange.command, pattern) if exchange.command else exchange.command
    argument = mask(exchange.argument, pattern)
    verb = mask(exchange.verb, pattern)
    return replace(
        exchange,
        command=command,
        argument=argument,
        verb=verb,
        reply=reply,
        content=_content(exchange.content, pattern),
    )


def _reply(reply: Reply | None, pattern: re.Pattern[str] | None) -> Reply | None:
    if reply is None or pattern is None or not any(pattern.search(line) for line in reply.raw):
        return reply
    text = tuple(mask(line, pattern) for line in reply.text)
    return replace(
        reply,
        text=text,
        raw=tuple(raw[: len(raw) - len(old)] + new for raw, old, new in zip(reply.raw, reply.text, text, strict=True)),
    )


def _content(content: Content | None, pattern: re.Pattern[str] | None) -> Content | None:
    if content is None or pattern is None:
        return content
    return replace(content, lines=tuple(mask(line, pattern) for line in content.lines))


def _event(event: Event, pattern: re.Pattern[str] | None) -> Event:
    return replace(event, text=mask(event.text, pattern))
