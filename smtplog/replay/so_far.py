"""A session as far as it went, read back and judged as any log is: what is wrong with a line before it is sent, and what a
reply has brought to light."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace

from smtplog import formats, judging
from smtplog.batches import Assembler, Part
from smtplog.dialogs import END_OF_DATA
from smtplog.findings import SEVERITIES, Finding, Rule, chosen
from smtplog.lines import read_blocks
from smtplog.model import Dialog
from smtplog.replay.recording import Recording
from smtplog.script import notation

#: A longer session is not judged as it goes; its log can be judged afterwards.
_MOST = 1 << 18
#: What a line is judged with that has no reply yet: many faults show in a refusal only.
_REFUSED, _ACCEPTED = "S: 500 5.5.2 Not sent yet\n", "S: 250 2.0.0 Not sent yet\n"
#: What a finding says of the reply that is none yet.
_ANSWERED = "; the server refused it"
#: Findings on a log that holds what this one never will, and on replies that are stand-ins.
_NOT_HERE = ("SEC002", "DEL", "TIM")


@dataclass(slots=True)
class SoFar:
    """Keeps the session, secrets included, in memory only."""

    recording: Recording = field(default_factory=lambda: Recording(show_secrets=True))
    rules: tuple[Rule, ...] = field(default_factory=chosen)
    _told: set[tuple[str, str]] = field(default_factory=set)  #: code, and the line that it was told of

    @property
    def text(self) -> str:
        """All of it, in the C:/S: notation."""
        stream = self.recording.stream
        assert isinstance(stream, io.StringIO)
        return stream.getvalue()

    def dialog(self, more: str = "") -> Dialog | None:
        """It as a dialog, with some more lines of the notation; None where it is too long to be read again and again."""
        text = self.text + more
        return None if len(text) > _MOST else dialog_of(text)

    def before(self, octets: bytes, verb: str) -> list[Finding]:
        """What is wrong with a line that is to be sent next; a line that ends message text is judged with all of it."""
        ends = verb == END_OF_DATA
        said = notation("C", octets)
        dialog = self.dialog(f"{said}\n{_ACCEPTED if ends else _REFUSED}")
        if dialog is None:
            return []
        line = self.text.count("\n") + 1
        if ends:
            line = 1 + next(
                (each.line for each in reversed(dialog.exchanges) if each.verb == "DATA" and each.line), line
            )
        found = [each for each in judging.check(dialog, self.rules) if each.line >= line]
        found = [each for each in found if each.party in ("client", "operator") and not each.code.startswith(_NOT_HERE)]
        self._told |= {(each.code, said) for each in found}
        return [replace(each, message=each.message.replace(_ANSWERED, "")) for each in found]

    def after(self) -> list[Finding]:
        """What the last reply has brought to light, beside what was told before its line was sent."""
        dialog = self.dialog()
        if dialog is None:
            return []
        lines = self.text.splitlines()
        found = []
        for each in judging.check(dialog, self.rules):
            place = (each.code, lines[each.line - 1] if each.line <= len(lines) else "")
            if place not in self._told and each.code != "SEC002" and SEVERITIES.index(each.severity) > 0:
                found.append(each)
                self._told.add(place)
        return found


def dialog_of(text: str) -> Dialog | None:
    """The last dialog of a text in the C:/S: notation."""
    declaration = formats.declaration("cs-dialog")
    reader = formats.reader(declaration, swapped=False, calendar=formats.calendar_of("-", None, None))
    assembler = Assembler(declaration.slug, content_absent=False)
    assembler.parts.append(Part("session", 1))
    lines, batches = 0, []
    for block in read_blocks(io.BytesIO(text.encode("utf-8", "replace"))):
        lines += len(block)
        batches.append(assembler.add(reader.read(block), lines))
    end = reader.finish()
    batches += [assembler.add(end, lines) if end is not None else None, assembler.finish()]
    dialogs = [dialog for batch in batches if batch is not None for dialog in batch.dialogs(None)]
    return dialogs[-1] if dialogs else None
