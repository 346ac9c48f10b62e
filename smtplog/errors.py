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
