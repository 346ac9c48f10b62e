"""What a log can hold of a session whose truth is known.

A sidecar tells what went over the wire; no log holds all of it. The difference is derived here by named rules and by nothing
else: each rule looks at the truth and at the raw lines of the log, never at the name of a file, and every use is counted. A
session that is equal as it stands uses none.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

#: A command line, the code of its reply, the text of the reply (lines joined by ``\n``, codes removed). ``None`` as the
#: command: a greeting, or a reply nobody asked for; ``None`` as the code: no reply came.
Said = tuple[str | None, int | None, str | None]

#: Octets of the longest line that Postfix logs (its own limit on one syslog record).
POSTFIX_LINE = 2040


#: The prefix of a line: Postfix's up to the peer, or the three characters of swaks and a blank.
_PREFIX = re.compile(r".*?\]: [<>] [^\s\[]*\[[^\]]*\](?::[0-9]+)?: |[ <>~*-]{3} ")


#: A line of a dump: an offset, octets in hexadecimal digits, and mostly the same as text.
_DUMPED = re.compile(r"(?:.{0,40}[\s>])?[0-9a-fA-F]{4,8}:?\s{1,3}((?:[0-9a-fA-F]{2} {1,2}){1,16})")


def words(line: str) -> str:
    """A line without its prefix."""
    return _PREFIX.sub("", line, count=1) if _PREFIX.match(line) else line


@dataclass(frozen=True)
class Log:
    """The raw log, as far as a rule may ask what stands in it; no reader of smtplog has touched it."""

    lines: tuple[str, ...]
    written_by: str  #: ``server``, ``client``, ``wire`` (what was said, as it went by) or ``terminal``
    postfix: bool

    @cached_property
    def text(self) -> str:
        """All of it; octets that are dumped in hexadecimal digits once more as text."""
        return "\n".join([*self.lines, *_undumped(self.lines)])

    @cached_property
    def words(self) -> frozenset[str]:
        """What stands in the lines behind their prefixes."""
        return frozenset(words(line) for line in self.lines)

    @cached_property
    def processes_shared(self) -> bool:
        """Whether one process (of sendmail) opened more than one connection."""
        openings = [line for line in self.lines if re.match("[0-9]+ === (?:CONNECT|EXEC) ", line)]
        return len({line.split()[0] for line in openings}) < len(openings)

    @cached_property
    def full(self) -> tuple[str, ...]:
        """The lines that are as long as Postfix lets them be."""
        return tuple(line for line in self.lines if len(line.encode("utf-8", "surrogateescape")) == POSTFIX_LINE)

    def holds_command(self, command: str) -> bool:
        """Whether a line holds it as its last words, but for what a program puts behind them."""
        if command in self.words or self.postfix:
            return command in self.words
        return any(self._stands(form) for form in _forms(command))

    def _stands(self, form: str) -> bool:
        """Whether it stands anywhere as words of its own; a large log is searched for the octets first."""
        first = self.text.find(form)
        alone = re.compile(rf"(?<![\w.]){re.escape(form)}(?![^\s'\"\\\[])")
        return first >= 0 and alone.search(self.text, first) is not None

    def holds_reply(self, said: Said) -> bool:
        _, code, text = said
        first = (text or "").split("\n")[0]
        return code is not None and any(f"{code}{mark}{first}" in self.text for mark in " -")

    def holds_text(self, said: Said) -> bool:
        """Whether it holds a line of a reply in whatever form."""
        return self.holds_reply(said) or any(line in self.text for line in (said[2] or "").split("\n") if len(line) > 3)


def _forms(command: str) -> set[str]:
    """A command as it stands, and with what is not printable as Python's escapes."""
    octets = [command.encode("utf-8", "surrogateescape")]
    if all(ord(c) < 256 for c in command):
        octets.append(command.encode("latin-1"))
    return {command, *(repr(each)[2:-1] for each in octets)}


def _undumped(lines: Sequence[str]) -> list[str]:
    """The lines that stand in the dumps of a log, if there are any; on the wire only CRLF ends one."""
    octets = b"".join(
        bytes.fromhex(match[1]) if (match := _DUMPED.match(line)) else b"" for line in lines if line[:60].count(" ") > 1
    )
    return octets.decode("latin-1").replace("\r\n", "\0").replace("\n", ".").split("\0") if octets else []


@dataclass(frozen=True)
class Context:
    """What a rule knows beside the truth of the session."""

    log: Log
    dialog: Sequence[Said]  #: what smtplog read
    client: str = ""  #: address and port of the client, from the sidecar
    bodies: int = 0  #: messages of which the recorder saw the end


@dataclass
class Comparison:
    """Whether a session was read as it was held."""

    equal: bool
    rules_used: Counter[str] = field(default_factory=Counter)  #: exchanges that each rule changed
    difference: str = ""  #: the first one, in words


Derivation = Callable[[list[Said], Context], tuple[list[Said], int]]

#: In the order in which they apply. The first line of a rule's docstring is its reason.
RULES: list[Derivation] = []


def rule(derivation: Derivation) -> Derivation:
    """Register a rule: it gives the truth as the log can hold it, and how many exchanges it changed."""
    RULES.append(derivation)
    return derivation


def compare(dialog: Sequence[Said], truth: Sequence[Said], context: Context) -> Comparison:
    """Compare what was read with what the log can hold of the truth."""
    read, expected = list(dialog), list(truth)
    used: Counter[str] = Counter()
    if read == expected:
        return Comparison(True)
    for derive in RULES:
        expected, changed = derive(expected, context)
        if changed:
            used[derive.__name__] += changed
    equal = read == expected
    return Comparison(equal, used, "" if equal else difference(read, expected))


def difference(read: Sequence[Said], expected: Sequence[Said]) -> str:
    """The first place where two dialogs differ."""
    at = next(
        (i for i, (a, b) in enumerate(zip(read, expected, strict=False)) if a != b), min(len(read), len(expected))
    )

    def there(dialog: Sequence[Said]) -> str:
        return repr(dialog[at]) if at < len(dialog) else "nothing more"

    return f"exchange {at} of {len(expected)}: held {there(expected)}, read {there(read)}"


# -- what the recorder of the truth could not see


@rule
def truth_stops_at_starttls(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The recorder stood between client and server and could not look into TLS: what follows STARTTLS is not compared."""
    if truth and (truth[-1][0] or "").startswith("(TLS starts"):
        before = truth[:-1]
        return before + list(context.dialog[len(before) :]), 1
    return truth, 0


@rule
def recorder_stayed_in_data(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The message ended with bare line feeds, which the recorder did not take for its end: it saw replies without commands."""
    start = next((i + 1 for i, (_, code, _) in enumerate(truth) if code == 354), len(truth))
    seen = any(command is not None or code is None for command, code, _ in truth[start:])
    if context.bodies or seen or not truth[start:]:
        return truth, 0
    _, code, text = truth[start]
    tail: list[Said] = [(".", code, text)]
    for i, (_, code, text) in enumerate(truth[start + 1 :], start + 1):
        typed = context.dialog[i][0] if i < len(context.dialog) else None
        tail.append((typed if typed and context.log.holds_command(typed) else None, code, text))
    return truth[:start] + tail, len(tail)


@rule
def octets_ahead_of_command(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The driver sent Telnet negotiation (three octets each) ahead of a command and recorded the command alone; servers log
    the octets as ``?``, as they are, or as what stands for an octet that is no UTF-8."""

    def logged(command: str) -> str:
        ahead = [said[0][: -len(command)] for said in context.dialog if (said[0] or "").endswith(command) and said[0]]
        octets = (each for each in ahead if each and len(each) % 3 == 0 and not re.search(r"[ ->@-~]", each))
        return next(octets, "") + command

    if context.log.written_by != "server":
        return truth, 0
    out = [
        (logged(command) if command and code in (500, 502) else command, code, text) for command, code, text in truth
    ]
    return _changed(truth, out)


@rule
def sent_to_a_closed_connection(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A command cut off or never read, seen from the client: after a 421 it still sends QUIT, which no recorder reads."""
    if context.log.written_by == "client" and truth and truth[-1][1] == 421 and context.log.holds_command("QUIT"):
        return [*truth, ("QUIT", None, None)], 1
    return truth, 0


# -- what the program that wrote the log left out


@rule
def peer_not_logged(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """Postfix with debug_peer_list logs the words of listed peers only: no line of the log has a word of this address."""
    address = context.client.rpartition(":")[0]
    words = re.compile(rf"\]: [<>] [^\s\[]*\[{re.escape(address)}\]")
    if context.log.postfix and context.log.written_by == "server" and not words.search(context.log.text):
        return [], len(truth)
    return truth, 0


@rule
def message_cut_off(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The connection broke inside a message: the sidecar has an entry without command and reply, a log has nothing."""
    return _changed(truth, [said for said in truth if said != (None, None, None)])


@rule
def never_read(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A command cut off or never read by the server: the connection was closed before, or the line has no end."""
    if context.log.written_by != "server":
        return truth, 0
    out: list[Said] = []
    closed = False
    for said in truth:
        command, code, text = said
        if command is not None and code is None and (closed or not context.log.holds_command(command)):
            continue
        closed = closed or code in (221, 421, 521) or (text or "").startswith("Clos")
        closed = closed or (len(out) == len(truth) - 2 and (code or 0) >= 500)  # it says so and hangs up
        out.append(said)
    return _changed(truth, out)


@rule
def sent_as_text(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The driver broke a message off with a command: for the server, and for its log, that was message text."""
    cut_off = len(truth) > 1 and truth[-2][1] == 354 and truth[-1][0] not in (None, ".") and truth[-1][1] is None
    return (truth[:-1], 1) if cut_off and context.log.written_by == "server" else (truth, 0)


@rule
def masked_by_the_log(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """aiosmtpd writes stars for what follows AUTH and its mechanism."""
    out = []
    for command, code, text in truth:
        masked = re.sub(r"(?i)^(AUTH [A-Z0-9-]+ ).+", r"\1********", command or "")
        told = masked != command and command and not context.log.holds_command(command) and masked in context.log.text
        out.append((masked if told else command, code, text))
    return _changed(truth, out)


@rule
def nobody_was_answered(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A 421 that answers nobody: the truth pairs it with a command that the server never read, so the log has no such line."""
    out = [
        (None, code, text)
        if code == 421 and command and context.log.written_by == "server" and not context.log.holds_command(command)
        else (command, code, text)
        for command, code, text in truth
    ]
    return _changed(truth, out)


@rule
def crossed_a_421(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A 421 that answers nobody crossed a command on the wire: the log holds both, the truth takes one for the other's reply."""
    out: list[Said] = []
    for i, (command, code, text) in enumerate(truth):
        crossed = [(None, code, text), (command, None, None)]
        out += crossed if code == 421 and command and list(context.dialog[i : i + 2]) == crossed else [truth[i]]
    return _changed(truth, out)


@rule
def sealed_by_tls(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The log holds octets of the wire, and after STARTTLS they are sealed: words behind it stand nowhere in it."""
    start = next((i + 1 for i, said in enumerate(truth) if said[:2] == ("STARTTLS", 220)), len(truth))
    known = {command for command, _, _ in truth[:start]}
    later = {command for command, _, _ in truth[start:] if command} - known
    if context.log.written_by != "wire" or all(context.log.holds_command(command) for command in later):
        return truth, 0
    return truth[:start], len(truth) - start


@rule
def begins_later(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The log begins in mid-session (swaks --silent prints nothing before the first error): its first reply has no command."""
    log = context.log
    held = [i for i, said in enumerate(truth) if log.holds_reply(said)]
    start = held[0] if held else 0
    if start and not any(log.holds_command(command) for command, _, _ in truth[: start + 1] if command):
        _, code, text = truth[start]
        return [(None, code, text), *truth[start + 1 :]], start + 1
    return truth, 0


@rule
def read_by_the_program(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """openssl s_client -starttls holds the dialog up to TLS itself: of that the log has the last line of the reply to its EHLO."""
    tls = next((i for i, (command, code, _) in enumerate(truth) if command == "STARTTLS" and code == 220), 0)
    if not tls or context.log.holds_command("STARTTLS") or context.log.holds_reply(truth[tls]):
        return truth, 0
    _, code, text = truth[tls - 1]
    return [(None, code, (text or "").split("\n")[-1]), *truth[tls + 1 :]], tls + 1


@rule
def echoed_in_carets(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A terminal echoes a control character that was typed as a caret and a letter: ESC as ``^[``."""
    out = list(truth)
    for i, (command, code, text) in enumerate(truth):
        shown = re.sub(r"[\x00-\x1f]", lambda match: "^" + chr(ord(match[0]) + 64), command or "")
        if command and shown != command and context.log.holds_command(shown):
            out[i] = (shown, code, text)
    return _changed(truth, out)


@rule
def server_only(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The log has no line of the client: the verbs are inferred, and all replies compared."""
    commands = [command for command, _, _ in truth if command and command != "."]
    if not commands or any(context.log.holds_command(command.rstrip("\r\0")) for command in commands):
        return truth, 0
    return _changed(truth, [(_verb(command), code, text) for command, code, text in truth])


@rule
def client_only(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The log has no line of the server (a word of a message apart): all commands are compared; the end of a message is none
    where no line is a dot. Error messages may repeat what was refused."""
    commands = any(command and context.log.holds_command(command) for command, _, _ in truth)
    done = {said[1:] for said in truth if said[1] and (said[1] < 400 or not commands)}
    held = sum(context.log.holds_reply((None, *reply)) for reply in done)
    greeted = bool(truth) and truth[0][0] is None and context.log.holds_reply(truth[0])
    if greeted or 2 * held > len(done):
        return truth, 0
    dots = re.search(r"(?m)[ '\"]\.(?:\\r\\n)?['\"]?$", context.log.text)
    said = [command for command, _, _ in truth if command is not None]
    told = [command for command in said if (dots if command == "." else context.log.holds_command(command))]
    return [(command, None, None) for command in told], len(truth)


@rule
def said_after_the_log(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A client that keeps its connection for what may follow (curl) says QUIT when its log is closed."""
    if context.log.written_by != "client" or not truth or truth[-1][0] != "QUIT":
        return truth, 0
    if context.log.holds_command("QUIT") or context.log.holds_reply(truth[-1]):
        return truth, 0
    return truth[:-1], 1


@rule
def reply_not_awaited(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A client that hangs up, after QUIT (Postfix smtp) or in the middle of pipelined commands (msmtp), never reads, and never
    logs, the replies still to come."""
    if context.log.written_by != "client":
        return truth, 0
    out = list(truth)
    while out:
        command, code, _ = said = out[len(out) - 1]
        if command is None or code is None or context.log.holds_text(said) or not context.log.holds_command(command):
            break
        del out[len(out) - 1]
    left = len(truth) - len(out)
    return [*out, *((command, None, None) for command, _, _ in truth[len(out) :])], left


@rule
def connection_kept(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A client that keeps one connection while it talks over another (sendmail) writes both under one process id: whose
    the last QUIT is, the log does not tell."""
    read = list(context.dialog)
    if context.log.processes_shared and truth and truth[-1][:2] == ("QUIT", 221) and read == truth[:-1]:
        return truth[:-1], 1
    return truth, 0


# -- how it wrote the rest


@rule
def secret_replaced(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The client writes something else for a secret (stars, words in brackets, a secret of its own in base64): the log does
    not hold what was sent, and there it has another line of AUTH."""
    out, asked = list(truth), False
    for i, (command, code, text) in enumerate(truth):
        logged = context.dialog[i][0] if i < len(context.dialog) else None
        initial = bool(command and re.match(r"(?i)AUTH \S+ \S", command))
        held = command != "*" and bool(command) and context.log.holds_command(command or "")
        if command and logged and (asked or initial) and logged != command and not held:
            out[i] = (logged, code, text)
        asked = code == 334
    return _changed(truth, out)


@rule
def decoded_auth(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """swaks --auth-plaintext shows both sides of an AUTH exchange decoded from base64."""
    out: list[Said] = []
    asked = False
    for command, code, text in truth:
        shown = _decoded(command, context.log) if asked and command else command
        out.append((shown, code, _decoded(text, context.log) if code == 334 and text else text))
        asked = code == 334
    return _changed(truth, out)


@rule
def not_printable(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """Postfix writes ``?`` for each octet that is not printable and not valid UTF-8."""
    if not context.log.postfix:
        return truth, 0
    return _changed(truth, [(_printable(command), code, _printable(text)) for command, code, text in truth])


@rule
def replaced_octets(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """What is no UTF-8 stands in a log of Node.js or Java as U+FFFD, the replacement character."""
    if "\ufffd" not in context.log.text:
        return truth, 0

    def written(text: str | None) -> str | None:
        return text and re.sub("[\ud800-\udfff]", "\ufffd", text)

    return _changed(truth, [(written(command), code, written(text)) for command, code, text in truth])


@rule
def command_not_logged(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The server refused without logging what: the line was too long, or stood in one packet behind a message. The
    log has the reply alone."""
    read = {command for command, _, _ in context.dialog}
    out = [
        (None, code, text)
        if command
        and command not in read
        and context.log.written_by == "server"
        and (((code or 0) >= 400 and not context.log.holds_command(command)) or re.search("(?i)pipelin", text or ""))
        else (command, code, text)
        for command, code, text in truth
    ]
    return _changed(truth, out)


@rule
def said_to_nobody(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """The client was gone when the server said 421 (and answered half a line before): no recorder heard it."""
    tail = list(context.dialog[len(truth) :])
    if context.log.written_by != "server" or not 1 <= len(tail) <= 2:
        return truth, 0
    command, code, text = tail[-1]
    gone = command in (None, ".") and code == 421 and re.search("(?i)lost|unexpected close|I/O error", text or "")
    return ([*truth, *tail], len(tail)) if gone else (truth, 0)


@rule
def trailing_blanks(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A server that takes the blanks off the end of a line before it logs it (Exim): the line ends without them."""
    out = list(truth)
    for i, (command, code, text) in enumerate(truth):
        bare = command.rstrip(" ") if command else ""
        if bare and bare != command and command not in context.log.text and bare in context.log.text:
            out[i] = (bare, code, text)
    return _changed(truth, out)


@rule
def one_to_one(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A line that is no UTF-8 is decoded octet by octet; the sidecar has lone surrogates for what was none."""

    def decoded(text: str | None) -> str | None:
        if not text or not re.search("[\ud800-\udfff]", text):
            return text
        return text.encode("utf-8", "surrogateescape").decode("latin-1")

    return _changed(truth, [(decoded(command), code, text) for command, code, text in truth])


@rule
def cut_in_the_log(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """A program cuts the long lines of its log (Exim 2,000 octets of one message)."""
    out = list(truth)
    for i, ((command, code, text), (logged, _, _)) in enumerate(zip(truth, context.dialog, strict=False)):
        if command and logged and len(logged) > 900 and command.startswith(logged) and not context.log.postfix:
            out[i] = (logged, code, text)
    return _changed(truth, out)


@rule
def cut_at_2040(truth: list[Said], context: Context) -> tuple[list[Said], int]:
    """Postfix cuts its log lines at 2,040 octets."""
    return _changed(truth, [(_cut(command, context), code, text) for command, code, text in truth])


def _changed(before: list[Said], after: list[Said]) -> tuple[list[Said], int]:
    if len(before) != len(after):
        return after, abs(len(before) - len(after))
    return after, sum(a != b for a, b in zip(before, after, strict=True))


def _verb(command: str | None) -> str | None:
    """The verb of a command, as an inferred command has it."""
    return command.strip().upper().split()[0].rstrip("\r\0") if command else command


def _decoded(text: str, log: Log) -> str:
    """The decoded text, where the log holds that and not the encoded one."""
    try:
        plain = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return text
    return plain if plain in log.text and text not in log.text else text


def _printable(text: str | None) -> str | None:
    """Octets that were no UTF-8 stand in a sidecar as lone surrogates, one each."""
    if text is None:
        return None
    return "".join("?" if _odd(c) else c for c in text)


def _odd(c: str) -> bool:
    return (ord(c) < 32 and c != "\n") or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000


def _cut(command: str | None, context: Context) -> str | None:
    if command is None:
        return None
    address, _, port = context.client.rpartition(":")
    own = (line for line in context.log.full if f"[{address}]: " in line or f"[{address}]:{port}: " in line)
    return next((words(line) for line in own if command.startswith(words(line))), command)
