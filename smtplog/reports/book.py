"""The rule book as Markdown: a table of contents by family, then the manuals with their dialogs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from smtplog import reference
from smtplog.findings import Rule
from smtplog.manual import Manual

#: Family → what it is about; a family of a plug-in has its letters only.
FAMILIES = {
    "SEQ": "what may follow what",
    "SYN": "syntax of commands",
    "TEL": "typed by hand",
    "REP": "form of replies",
    "EXT": "extensions, offered or not",
    "DSN": "delivery status notifications",
    "SEC": "security",
    "DEL": "what became of the message",
}


_OTHERS = "What others call it"


def manual_of(rule: Rule) -> Manual:
    """The manual of a rule; a docstring that has not the form (a plug-in's) is all prose."""
    try:
        return Manual.of(rule)
    except ValueError:
        first, _, rest = rule.manual.partition("\n")
        return Manual(first, " ".join(rest.split()), (), (), rule.advice, "", rule.reference)


def markdown(rule: Rule, heading: str = "###") -> str:
    """One manual; without a heading for those who have their own."""
    manual = manual_of(rule)
    parts = [f"{heading} {rule.code} {rule.name}"] if heading else []
    fault = [f"fault of the {rule.party}"] if rule.party != "unknown" else []
    parts += [" · ".join([f"*{rule.severity}*", *fault, *(["off unless asked for"] if rule.extra else [])])]
    parts += [prose(manual.summary)]
    if manual.why:
        parts += [f"**Why it matters:** {prose(capital(manual.why))}"]
    parts += [f"**Flagged:**\n\n{fenced(dialog)}" for dialog in manual.flagged]
    parts += [f"**Fine:**\n\n{fenced(dialog)}" for dialog in manual.fine]
    parts += [f"**What to do:** {prose(capital(manual.advice))}"] if manual.advice else []
    parts += [f"**Servers:** {prose(capital(manual.servers))}"] if manual.servers else []
    parts += [f"**Reference:** {prose(manual.reference)}"] if manual.reference else []
    return "\n\n".join(parts)


def prose(text: str) -> str:
    """A sentence of a manual in Markdown: addresses in angle brackets are no HTML, stars and underscores no emphasis."""
    parts = re.split(r"(`[^`]*`)", text.replace("``", "`"))
    return "".join(part if i % 2 else re.sub(r"([\\<>*_\[\]#|])", r"\\\1", part) for i, part in enumerate(parts))


def capital(text: str) -> str:
    """A sentence that follows no colon any more."""
    return text[:1].upper() + text[1:]


def fenced(dialog: str) -> str:
    """A dialog as a code block; the fence is longer than any in it."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", dialog))])
    return f"{fence}smtp\n{dialog}\n{fence}"


def chapters(rules: Sequence[Rule]) -> Iterator[str]:
    """The whole book, paragraph by paragraph."""
    families: dict[str, list[Rule]] = {}
    for each in sorted(rules, key=lambda each: each.code):
        families.setdefault(each.family, []).append(each)
    yield "# The rule book of smtplog"
    stars = (
        " Those with a star are off unless `--all` or `--select` asks for them." if any(r.extra for r in rules) else ""
    )
    yield f"{len(rules)} rules, checked by `smtplog validate`.{stars}"
    for family, members in families.items():
        title = _title(family)
        lines = [f"- [{title}](#{anchor(title)})"]
        for each in members:
            link = f"[{each.code} {each.name}](#{anchor(f'{each.code} {each.name}')})"
            star = r" \*" if each.extra else ""
            lines.append(f"  - {link}{star}: {prose(manual_of(each).summary)}")
        yield "\n".join(lines)
    if len(families) > 1:
        yield f"- [{_OTHERS}](#{anchor(_OTHERS)})"
    for family, members in families.items():
        yield f"## {_title(family)}"
        for each in members:
            yield markdown(each)
    if len(families) > 1:
        yield from _peers(rules)


def _peers(rules: Sequence[Rule]) -> Iterator[str]:
    """The table of what Suricata and Zeek call the same faults."""
    names = {each.code: each.name for each in rules}
    yield f"## {_OTHERS}"
    yield "The events of Suricata and Zeek, the rules that tell of the same here, or why none does."
    lines = ["| event | of | rules | note |", "| --- | --- | --- | --- |"]
    for row in reference.table("peer_events"):
        codes = row["rules"].split()
        links = [f"[{code}](#{anchor(f'{code} {names[code]}')})" if code in names else code for code in codes]
        lines.append(f"| {prose(row.key)} | {prose(row['tool'])} | {', '.join(links)} | {prose(row['note'])} |")
    yield "\n".join(lines)


def _title(family: str) -> str:
    return f"{family}: {FAMILIES[family]}" if family in FAMILIES else family


def anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
