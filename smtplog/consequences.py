"""What an earlier fault makes unavoidable is not told again: one fault, one finding (rules.md, Cascade suppression)."""

from __future__ import annotations

import re

from smtplog import speech, states
from smtplog.findings import Hit, Rule
from smtplog.model import Dialog, Exchange
from smtplog.reference import verb

Told = list[tuple[Rule, Hit]]

#: rule → what is missing where it fires: the verbs one of which was meant by the command that failed before.
_MISSING: dict[str, tuple[str, ...]] = {
    "SEQ001": states.HELLO,
    "SEQ011": states.HELLO,
    "EXT004": states.HELLO,
    "SEQ002": ("MAIL",),
    "SEQ005": ("MAIL",),
    "SEQ017": ("MAIL", "RCPT"),
    "SEQ018": ("MAIL", "RCPT"),
    "SEQ003": ("MAIL", "RCPT"),
    "SEQ004": ("RSET",),
    "SEQ025": ("RCPT",),
    "SEC007": ("STARTTLS",),
}
#: Of these also where any command was refused, told of, and nothing was accepted since.
_AT_ONCE = ("SEQ002", "SEQ003", "SEQ005", "SEQ017", "SEQ018")
_CHANGES_NOTHING = ("NOOP", "HELP", "VRFY", "EXPN")
#: A new beginning: what failed before it is no excuse.
_BEGINS_ANEW = ("RSET", ".", "BDAT LAST")
#: A recipient that was out of place is none, even if the server took it.
_OUT_OF_PLACE = ("SEQ002", "SEQ005")
#: The reply was none that says yes or no.
_NO_ANSWER = ("REP001", "REP002")
#: These tell of message text, or of another protocol, that the server took for commands.
_OF_MISREAD_TEXT = ("EXT005", "SEQ016", "TEL006", "DAT004", "DAT005", "DAT009", "SEC012")
#: After these the replies are off by one, and the others say no more than that.
_OFF_BY_ONE = ("SEQ010", "REP004", "REP005")
_SAY_OFF_BY_ONE = ("REP005", "REP012", "SEQ015", "SEQ025", "TEL005")

#: What no line of SMTP holds and nobody types, unlike TAB, BS, CR, ESC and DEL.
_OCTETS = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f]")
_CONTROLS = re.compile(r"\x1b\[?[A-Z~]?|[^ -~]")


def without_consequences(hits: Told, dialog: Dialog) -> Told:
    """The hits, in the order of their lines, that an earlier one does not explain."""
    kept: Told = []
    lost = any(exchange.command is not None and exchange.reply is None for exchange in dialog.exchanges)
    for each, hit in hits:
        if not (_follows(each, hit, kept, dialog) or _is_out_of_step(each, kept, lost=lost)):
            kept.append((each, hit))
    return kept


def readable(hits: Told, dialog: Dialog) -> Told:
    """The hits, without those on octets of TLS that a recording at the wire has as if they were lines."""
    start = _ciphertext(dialog) if hits else None
    return hits if start is None else [(each, hit) for each, hit in hits if _line(hit, dialog) < start]


def _ciphertext(dialog: Dialog) -> int | None:
    """The line from which on a session is encrypted: behind the reply to a STARTTLS that was accepted, where octets that are
    no text follow, and the log tells of no handshake or leaves a gap for what it could not read (RFC 3207 section 4)."""
    accepted = None
    for i, exchange in enumerate(dialog.exchanges):
        reply = exchange.reply
        octets = any(_OCTETS.search(line) for line in (exchange.command or "", *(reply.raw if reply else ())))
        if accepted is not None and octets:
            return accepted
        if reply is not None and states.after(exchange.verb, reply.code).tls:
            later = {event.kind for event in dialog.events if event.before > i}
            accepted = reply.line + 1 if "gap" in later or "tls" not in later else None
            if accepted is not None and octets:
                return accepted
    return None


def _line(hit: Hit, dialog: Dialog) -> int:
    exchange = dialog.exchanges[hit.exchange] if hit.line is None and hit.exchange is not None else None
    return hit.line or (exchange.line if exchange is not None and exchange.line else dialog.line)


def _follows(each: Rule, hit: Hit, told: Told, dialog: Dialog) -> bool:
    index = hit.exchange
    if index is None:
        return False
    needs_refusal = each.code in ("SEQ001", "SEQ011")  # a server that takes the command shows that it was avoidable
    if needs_refusal and dialog.exchanges[index].severity in (2, 3):
        return False
    if each.code in _MISSING and any(_causes(one, by, each.code, index, dialog) for one, by in told):
        return True
    return (each.family in ("TEL", "SYN") or each.code == "EXT004") and _in_misread_text(told, index, dialog)


def _causes(each: Rule, by: Hit, code: str, index: int, dialog: Dialog) -> bool:
    """Whether what a rule has told of is why another one fires at an exchange."""
    at = _exchange_of(by, dialog)
    if at is None or at >= index or each.severity == "info" or each.family == "DEL":
        return False
    cause, between = dialog.exchanges[at], dialog.exchanges[at + 1 : index]
    accepted = [exchange.verb for exchange in between if exchange.severity in (2, 3)]
    failed = cause.severity not in (2, 3)
    if code in _AT_ONCE and cause.severity >= 4 and not any(name not in _CHANGES_NOTHING for name in accepted):
        return True
    meant = _meant(by, cause)
    if meant not in _MISSING[code]:
        return False
    if meant in (*states.HELLO, "STARTTLS"):
        return failed and not any(name in _MISSING[code] for name in accepted)
    if any(name in _BEGINS_ANEW for name in accepted):
        return False
    if code == "SEQ025":  # who counts as accepted is the question
        return each.code in (*_OUT_OF_PLACE, *_NO_ANSWER)
    return (failed or (code == "SEQ003" and each.code in _OUT_OF_PLACE)) and meant not in accepted


def _exchange_of(hit: Hit, dialog: Dialog) -> int | None:
    """The exchange a hit is about; of one that names a line only, that with this line in its reply."""
    if hit.exchange is not None or hit.line is None:
        return hit.exchange
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.reply is not None and exchange.reply.line <= hit.line <= exchange.reply.end_line:
            return i
    return None


def _meant(hit: Hit, exchange: Exchange) -> str:
    """The verb of a command as it was meant."""
    if verb(exchange.verb) is not None:
        return exchange.verb
    return speech.split(hit.corrected or _CONTROLS.sub("", exchange.command or ""))[0]


def _in_misread_text(told: Told, index: int, dialog: Dialog) -> bool:
    """Whether a line is one of a text that was told of already: from there on, or from a DATA that was mistyped, no
    command of SMTP stands, and nothing was accepted."""
    for each, hit in told:
        if hit.exchange is None or hit.exchange > index:
            continue
        typed_for_data = hit.exchange < index and _meant(hit, dialog.exchanges[hit.exchange]) == "DATA"
        if each.code in _OF_MISREAD_TEXT or typed_for_data:
            between = dialog.exchanges[hit.exchange : index + 1]
            if all(said.severity not in (2, 3) and (said.verb == "." or verb(said.verb) is None) for said in between):
                return True
    return False


def _is_out_of_step(each: Rule, told: Told, *, lost: bool) -> bool:
    """Whether a hit only repeats that the replies are off by one. ``lost``: there are fewer replies than commands, and where
    no group of commands was permitted, one of them is missing."""
    codes = {one.code for one, _ in told}
    if each.code in _SAY_OFF_BY_ONE and any(code in codes for code in _OFF_BY_ONE):
        return True
    return lost and "EXT004" in codes and (each.family in ("SEQ", "REP") or each.code == "TEL005")
