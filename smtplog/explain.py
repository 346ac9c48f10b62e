"""Explanations as a postmaster would give them, from ``data/`` and the manuals of the rules."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import Any

from smtplog import reference, speech
from smtplog.errors import UsageError
from smtplog.reference import Row


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing explained: a title and named paragraphs."""

    title: str
    fields: dict[str, str]
    manual: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that some words can mean."""

    words: str
    entries: list[Entry] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The object of ``explain --output-format json``."""
        entries = [{"title": e.title, **e.fields, **({"manual": e.manual} if e.manual else {})} for e in self.entries]
        return {"words": self.words, "entries": entries}


def explain(words: str) -> Explanation:
    """What a code, a reply line, a verb or command line, a keyword, a parameter, a mechanism, a rule or an event of
    Suricata or Zeek means.

    Raises UsageError for what is none of these; it names what comes near.
    """
    words = " ".join("".join(c if c.isprintable() else " " for c in words[:_LONGEST]).split())
    entries = _reply(words) or _status(words) or _rule(words) or _peer_event(words) or _words(words) or _quoted(words)
    if not entries:
        raise UsageError(
            f"{words[:80]!r} is no code, verb, keyword, parameter or rule that is known here{_near(words)}"
        )
    return Explanation(words, entries)


#: Of what a person pastes, so much is read.
_LONGEST = 8192
#: The answer to "is it for good?", by the first digit of a code (RFC 5321 section 4.2.1, RFC 3463 section 2).
_KINDS = {
    2: "success: done. The server has done what was asked.",
    3: "go on: intermediate. The server waits for what comes next.",
    4: "soft: temporary. The same may work later; what is in a queue is tried again by itself.",
    5: "hard: permanent. The same will be refused again; what is in a queue goes back as a bounce.",
}
#: Who must act, by the word of the column ``who`` or ``fault``.
_PARTIES = {
    "client": "the sender must act: the person or program that sent it",
    "operator": "the operator of the sending side must act: mail server, DNS, account",
    "server": "the receiving side must act: the recipient or the operator of that server",
    "unknown": "the code alone does not tell who must act; the text may",
}
#: So many readings of a text are told at most, and so many if no provider is recognised.
_SITUATIONS, _GENERAL = 3, 2


def _reply(words: str) -> list[Entry]:
    """A reply code, or a reply line: the situation that its text describes, its enhanced code, its code."""
    code = speech.code_of(words) or (int(words) if len(words) == 3 and words.isascii() and words.isdigit() else 0)
    if code // 100 not in reference.CLASSES:
        return []
    return _heard(code, _joined(code, words))


def _joined(code: int, words: str) -> str:
    """The text of a reply; the lines of one that was pasted as a whole are joined (RFC 5321 section 4.2.1)."""
    if words[3:4] != "-":
        return words[4:]
    first, *rest = re.split(rf" {code}(?:[ -]|$)", words[4:])
    status = speech.status_of(first) or ""
    return " ".join([first, *(line.removeprefix(status).strip() if status else line for line in rest)]).strip()


def _heard(code: int, text: str) -> list[Entry]:
    """Code and text of a reply, the most specific first; what was answered above is not answered again below."""
    severity = code // 100
    entries = _situations(text, severity)
    recognised = bool(entries) and not entries[0].title.startswith(_ANYBODY)
    status = speech.status_of(text)
    if status:
        (entry,) = _status(status, severity)
        if status[0] != str(severity):
            entry.fields["careful"] = (
                f"its class {status[0]} contradicts the code {code}; the code decides (RFC 2034 section 4)"
            )
        entries.append(_without(entry, "who", "next") if recognised else entry)
    told = bool(entries) and status not in ("4.0.0", "5.0.0")
    entries.append(_without(_code(code), "who", "next") if told else _code(code))
    keyword = reference.extension(text.split(" ")[0]) if code == 250 and text else None
    entries += [_extension(keyword)] if keyword else []
    return [entries[0], *(_without(entry, "kind") for entry in entries[1:])]


_ANYBODY = "This text says: "


def _situations(text: str, severity: int = 0) -> list[Entry]:
    """What the text of a reply says: once for each provider that is recognised; if there is none, in general."""
    rows = reference.situations(text, severity)
    providers = {row["provider"]: row for row in reversed(rows) if row["provider"]}
    found = list(reversed(providers.values())) or list(rows[:_GENERAL])
    kind = _KINDS.get(severity, "the text alone does not tell: 4 at the start of the reply code is soft, 5 is hard")
    return [
        Entry(
            f"{row['provider']} says: {row.key}" if row["provider"] else _ANYBODY + row.key,
            {
                "kind": kind,
                "who": _who(row["who"], severity),
                "next": row["next"],
                "meaning": row["explanation"],
                "source": row.source,
            },
        )
        for row in found[:_SITUATIONS]
    ]


def _without(entry: Entry, *names: str) -> Entry:
    return Entry(entry.title, {name: value for name, value in entry.fields.items() if name not in names})


def _quoted(words: str) -> list[Entry]:
    """A reply inside a line of a log or a bounce (``said: 550 …``), an enhanced code inside it, or its words alone."""
    parts = words.split(" ")
    for i, part in enumerate(parts):
        bare = part.lstrip("(<\"'")
        code = speech.code_of(bare[:4])
        follows = bool(i) and parts[i - 1].endswith((":", "said", ">", "=", "smtp;"))
        if code // 100 in (4, 5) and (follows or speech.status_of(" ".join([bare[4:], *parts[i + 1 : i + 2]]).strip())):
            return _reply(" ".join([bare, *parts[i + 1 :]]))
    statuses = (part for part in re.split(r"[^0-9.]+", words) if part[:1] in ("4", "5"))
    status = next((part for part in statuses if speech.status_of(part) == part), "")
    told = _situations(words, int(status[:1] or 0))
    general = _status(status) if status else []
    return told + [_without(entry, "kind", "who", "next") if told else entry for entry in general]


def _code(code: int) -> Entry:
    row = reference.reply_code(code)
    severity = code // 100
    fields = {
        "kind": _KINDS[severity],
        "who": _who(row["who"] if row else "unknown", severity),
        "next": row["next"] if row else _UNLISTED[severity],
        "meaning": f"{reference.meaning(code)}.",
    }
    if row is None:
        fields["source"] = "RFC 5321 4.3.2: an unlisted code is judged by its first digit"
    else:
        fields["answers"] = row["commands"].replace(";", ", ")
        fields |= {name: row[name] for name in ("history", "notes") if row[name]}
        fields["source"] = row.source
    return Entry(f"Reply code {code}", fields)


_UNLISTED = {
    2: "Nothing to do; read the text.",
    3: "Send what the text asks for.",
    4: "Keep the message and try again later; the text should tell why.",
    5: "Do not repeat it as it is; the text should tell why.",
}


def _who(party: str, severity: int = 5) -> str:
    if severity in (2, 3):
        return "the client goes on" if party == "client" else "nobody has to act"
    return _PARTIES.get(party, "nobody has to act")


def _status(words: str, severity: int = 0) -> list[Entry]:
    """An enhanced status code; severity is the first digit of the reply code, which decides where there is one."""
    row = reference.enhanced(words) if speech.status_of(words) == words else None
    if row is None:
        return []
    severity = severity or int(words[0])
    title = row["title"] if _is_exact(row.key, words) else f"unregistered; of its kind: {row['title']}"
    fields = {
        "kind": _KINDS.get(severity, _KINDS[2]),
        "who": _who(row["fault"] if severity > 3 else "nobody"),
        "next": _advice(row, severity),
        "meaning": row["description"],
        "in practice": row["in_practice"],
        "source": row.source,
    }
    return [Entry(f"Enhanced status code {words}: {title}", {name: value for name, value in fields.items() if value})]


def _is_exact(key: str, words: str) -> bool:
    """Whether a row is for this code, and not for its subject or class."""
    return "-" in key or key.partition(".")[2] == words.partition(".")[2]


def _advice(row: Row, severity: int) -> str:
    """What to do next: after a success nothing, after a soft refusal to wait first, after a hard one to act."""
    if severity < 4:
        return "Nothing to do."
    if severity == 4:
        return row["soft"] or f"Leave it in the queue, it is tried again. If it lasts: {_small(row['advice'])}"
    return row["advice"]


def _small(sentence: str) -> str:
    """A sentence as the second half of another; abbreviations and names in capitals stay."""
    return sentence[0].lower() + sentence[1:] if sentence[1:2].islower() else sentence


def _rule(words: str) -> list[Entry]:
    from smtplog.findings import book

    for rule in book().values():
        if words.upper() == rule.code or words.lower() == rule.name:
            fields = {
                "severity": rule.severity,
                "fault": f"of the {rule.party}",
                "do": rule.advice,
                "source": rule.reference,
            }
            return [Entry(f"{rule.code} {rule.name}", fields, rule.manual)]
    return []


def _peer_event(words: str) -> list[Entry]:
    """What Suricata or Zeek calls a fault, and the rules that tell of it here."""
    row = reference.peer_event(words)
    if row is None:
        return []
    codes = row["rules"].split()
    fields = {"here": ", ".join(codes) or "no rule", "why": row["note"], "source": row.source}
    title = f"{row['tool']}: {row.key}"
    rules = [_without(entry, "manual") for code in codes for entry in _rule(code)]
    return [Entry(title, {name: value for name, value in fields.items() if value}), *rules]


def _words(words: str) -> list[Entry]:
    first, argument = speech.split(words)
    name = first.partition("=")[0]
    entries = []
    row = reference.verb(first)
    if row is not None:
        entries.append(_verb(row))
        entries += [
            _parameter(each)
            for part in argument.split()[1:]
            for each in reference.parameter(part.partition("=")[0])[:1]
        ]
    keyword = reference.extension(first) if not argument or row is None else None
    if keyword is not None:
        entries.append(_extension(keyword))
    if not argument:
        entries += [_parameter(each) for each in reference.parameter(name)]
        mechanism = reference.mechanism(first)
        entries += [_mechanism(mechanism)] if mechanism is not None else []
    return entries


def _verb(row: Row) -> Entry:
    fields = {
        "does": row["name"],
        "written": f"{row.key} {row['arguments']}".replace(" none", ""),
        "allowed in": row["states_allowed"].replace(";", ", "),
        "success": row["success"],
        "refusals": row["errors"].replace(";", ", "),
        "effect": row["effect"],
        "source": row.source,
    }
    if row["extension_keyword"] not in ("-", ""):
        fields["offered as"] = f"EHLO keyword {row['extension_keyword']}"
    return Entry(f"Command {row.key}", {name: value for name, value in fields.items() if value not in ("-", "")})


def _extension(row: Row) -> Entry:
    fields = {
        "is": row["name"],
        "meaning": row["description"],
        "verbs": row["verbs"],
        "on MAIL": row["mail_parameters"],
        "on RCPT": row["rcpt_parameters"],
        "status": row["status"],
        "source": row.source,
    }
    return Entry(f"EHLO keyword {row.key}", {name: value for name, value in fields.items() if value not in ("-", "")})


def _parameter(row: Row) -> Entry:
    fields = {
        "meaning": row["description"],
        "example": row["example"],
        "offered as": f"EHLO keyword {row['extension'].replace(';', ' or ')}",
        "refusals": row["errors"],
        "source": row.source,
    }
    return Entry(
        f"Parameter {row.key} of {row['command'].replace(';', ' and ')}", {k: v for k, v in fields.items() if v}
    )


def _mechanism(row: Row) -> Entry:
    fields = {"exchange": row["exchange"], "status": row["status"], "notes": row["notes"], "source": row.source}
    return Entry(f"AUTH mechanism {row.key}", {name: value for name, value in fields.items() if value})


def _near(words: str) -> str:
    from smtplog.findings import book

    names = [
        row.key
        for table in ("command_verbs", "smtp_extensions", "mail_parameters", "auth_mechanisms")
        for row in reference.table(table)
    ]
    names += [row.key.upper() for row in reference.table("peer_events")]
    names += [rule.code for rule in book().values()] + [rule.name for rule in book().values()]
    near = difflib.get_close_matches(words.upper()[:80], names, 3) or difflib.get_close_matches(
        words.lower()[:80], names, 3
    )
    return f"; near are {', '.join(dict.fromkeys(near))}" if near else "; try a code such as 550, or smtplog rules"
