"""Explanations as a postmaster would give them, from ``data/`` and the manuals of the rules."""

from __future__ import annotations

import difflib
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
    """What a code, a reply line, a verb or command line, a keyword, a parameter, a mechanism or a rule means.

    Raises UsageError for what is none of these; it names what comes near.
    """
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    entries = _reply(words) or _status(words) or _rule(words) or _words(words)
    if not entries:
        raise UsageError(
            f"{words[:80]!r} is no code, verb, keyword, parameter or rule that is known here{_near(words)}"
        )
    return Explanation(words, entries)


def _reply(words: str) -> list[Entry]:
    code = speech.code_of(words)
    if not code and not (len(words) == 3 and words.isdigit()):
        return []
    code = code or int(words)
    if code // 100 not in reference.CLASSES:
        return []
    text = speech.words_of(words)
    entries = [_code(code)]
    status = speech.status_of(text)
    if status:
        entries += _status(status)
        if status[0] != str(code)[0]:
            entries[-1].fields["careful"] = (
                f"its class {status[0]} contradicts the code {code}; the code decides (RFC 2034 section 4)"
            )
    entries += [
        Entry(
            f"This text says: {row.key}",
            {"meaning": row["explanation"], "who": _who(row["who"]), "next": row["next"], "source": row.source},
        )
        for row in reference.situations(text)[:3]
    ]
    keyword = reference.extension(text.split(" ")[0]) if code == 250 and text else None
    return entries + ([_extension(keyword)] if keyword else [])


def _code(code: int) -> Entry:
    row = reference.reply_code(code)
    kind = {2: "success", 3: "intermediate", 4: "soft: temporary", 5: "hard: permanent"}[code // 100]
    fields = {
        "meaning": f"{reference.meaning(code)}.",
        "kind": f"{kind}. {reference.CLASSES[code // 100].capitalize()}.",
    }
    if row is not None:
        fields |= {"answers": row["commands"].replace(";", ", "), "who": _who(row["who"]), "next": row["next"]}
        fields |= {name: value for name, value in (("history", row["history"]), ("notes", row["notes"])) if value}
        fields["source"] = row.source
    else:
        fields["source"] = "RFC 5321 4.3.2: an unlisted code is judged by its first digit"
    return Entry(f"Reply code {code}", fields)


def _who(party: str) -> str:
    acts = {
        "client": "the sending side must act",
        "server": "the operator of the server must act",
        "operator": "the operator of the sending domain must act",
    }
    return acts.get(party, "nobody has to act")


def _status(words: str) -> list[Entry]:
    row = reference.enhanced(words) if speech.status_of(words) == words else None
    if row is None:
        return []
    kind = {"2": "success", "4": "soft: a persistent transient failure, try again", "5": "hard: a permanent failure"}[
        words[0]
    ]
    exact = row.key.removeprefix("X") == words[1:]
    title = row["title"] if exact else f"unregistered; of its kind: {row['title']}"
    fields = {
        "meaning": row["description"],
        "kind": kind,
        "who": _who(row["fault"]),
        "next": row["advice"],
        "source": row.source,
    }
    return [Entry(f"Enhanced status code {words}: {title}", fields)]


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
    names += [rule.code for rule in book().values()] + [rule.name for rule in book().values()]
    near = difflib.get_close_matches(words.upper()[:80], names, 3) or difflib.get_close_matches(
        words.lower()[:80], names, 3
    )
    return f"; near are {', '.join(dict.fromkeys(near))}" if near else "; try a code such as 550, or smtplog rules"
