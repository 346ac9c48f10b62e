"""What stops smtplog, said in one sentence. A fault in a log is never an error: it is a finding."""

from __future__ import annotations


class SmtplogError(Exception):
    """smtplog could not do what was asked; the command line prints the sentence and exits with 2."""


class UnreadableError(SmtplogError):
    """A source that cannot be opened, decoded or decompressed."""


class UnknownFormatError(SmtplogError):
    """No format declaration fits; the sentence names the nearest candidates."""


class UsageError(SmtplogError):
    """A word of the call that means nothing here: a rule code, a format name, an option."""


class StoppedError(SmtplogError):
    """A grammar of the user's that cannot go on in the middle of a log; the sentence leaves out where, which is ``line``."""

    def __init__(self, line: int, due: tuple[str, ...], grammar: str) -> None:
        self.line = line
        self.due = due  #: the terminals of which one would have let it go on
        super().__init__(
            f"the grammar {grammar} reads no such line here, only {listed(due)}; write a rule for it "
            f"(smtplog formats --check {grammar} LOG says more)"
        )


def listed(words: tuple[str, ...]) -> str:
    """``A, B or C``; of many the first few."""
    shown = words[:8] + (("others",) if len(words) > 8 else ())
    return " or ".join(filter(None, [", ".join(shown[:-1]), shown[-1] if shown else "nothing"]))
