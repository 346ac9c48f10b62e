"""What may come next in a line that is being typed: verbs that are legal here, parameters and mechanisms that are offered."""

from __future__ import annotations

from smtplog import reference, speech
from smtplog.replay.standing import Standing

#: How a command goes on behind its verb.
_GOES_ON = {"MAIL": " FROM:<", "RCPT": " TO:<", "EHLO": " ", "HELO": " ", "LHLO": " ", "VRFY": " ", "EXPN": " "}
_GOES_ON |= {"AUTH": " ", "BDAT": " ", "BDAT LAST": "", "ETRN": " ", "BURL": " "}
#: Words for the program itself.
OWN = (":auth ", ":legal", ":explain ", ":close", ":help")


def completions(standing: Standing, text: str) -> list[str]:
    """The words that may stand in place of the last one of a line, the most useful first; none in message text."""
    if standing.state in ("data", "auth"):
        return []
    before, _, last = text.rpartition(" ")
    if text.startswith(":"):
        words = _mechanisms(standing) if before == ":auth" else [] if before else list(OWN)
    elif not before:
        verbs = [verb for verb in standing.legal if verb not in ("BDAT LAST", ".")]
        words = [verb + _GOES_ON.get(verb, "") for verb in verbs]
    else:
        words = _arguments(standing, before)
    return [word for word in words if word.upper().startswith(last.upper())]


def _arguments(standing: Standing, before: str) -> list[str]:
    verb, argument = speech.split(before)
    if verb == "AUTH" and not argument:
        return _mechanisms(standing)
    if verb in ("MAIL", "RCPT") and not argument:
        return [_GOES_ON[verb].strip()]
    if verb == "BDAT" and argument.isdigit():
        return ["LAST"]
    used = {word.partition("=")[0].upper() for word in argument.split()}
    rows = [row for row in reference.table("mail_parameters") if verb in row["command"].split(";")]
    return [
        row.key + ("=" if "=" in row["example"] else "")
        for row in rows
        if row.key not in used and any(name in standing.extensions for name in row["extension"].split(";"))
    ]


def _mechanisms(standing: Standing) -> list[str]:
    return standing.extensions.get("AUTH", "").upper().split()
