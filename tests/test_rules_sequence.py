"""The sequence family (SEQ): each manual's examples, then dialogs on which a rule must speak, be silent or weigh."""

from __future__ import annotations

from pathlib import Path

import pytest

import smtplog
from smtplog import findings, states
from smtplog.findings import Finding, Rule
from smtplog.manual import Manual

SEQ = findings.chosen(["SEQ"])

HELLO = """
S: 220 mx.example.net ESMTP ready
C: EHLO client.example.org
S: 250-mx.example.net
S: 250-PIPELINING
S: 250-CHUNKING
S: 250-STARTTLS
S: 250 AUTH PLAIN LOGIN
"""
ENVELOPE = """
C: MAIL FROM:<a@example.org>
S: 250 2.1.0 Ok
C: RCPT TO:<b@example.net>
S: 250 2.1.5 Ok
"""
TEXT = """
C: DATA
S: 354 Go ahead
C: Subject: one
C:
C: Hello
C: .
S: 250 2.0.0 Ok: queued as 4ABC
"""
LMTP = """
S: 220 mx.example.net LMTP ready
C: LHLO client.example.org
S: 250 mx.example.net
"""


def found(dialog: str, folder: Path) -> list[Finding]:
    """What the whole family, extra rules included, says about a dialog."""
    log = folder / "session.dialog"
    log.write_text("\n".join(line for line in dialog.splitlines() if line) + "\n")
    return list(smtplog.read(log, input_format="cs-dialog").check(SEQ))


def codes(dialog: str, folder: Path) -> list[str]:
    return [finding.code for finding in found(dialog, folder)]


def _examples(kind: str) -> list[object]:
    return [
        pytest.param(rule.code, dialog, id=f"{rule.code}-{number}")
        for rule in SEQ
        for number, dialog in enumerate(getattr(Manual.of(rule), kind), 1)
    ]


@pytest.mark.parametrize(("code", "dialog"), _examples("flagged"))
def test_a_flagged_example_gives_its_code(code: str, dialog: str, tmp_path: Path) -> None:
    assert code in codes(dialog, tmp_path)


@pytest.mark.parametrize(("code", "dialog"), _examples("fine"))
def test_a_fine_example_does_not_give_its_code(code: str, dialog: str, tmp_path: Path) -> None:
    assert code not in codes(dialog, tmp_path)


@pytest.mark.parametrize("rule", SEQ, ids=lambda rule: rule.code)
def test_a_manual_is_whole(rule: Rule) -> None:
    manual = Manual.of(rule)
    assert "\n" not in manual.summary and manual.summary.endswith(".")
    assert manual.flagged and manual.fine
    assert manual.why and manual.advice and manual.servers
    assert manual.reference == rule.reference


def test_the_family_is_complete() -> None:
    assert [rule.code for rule in sorted(SEQ, key=lambda rule: rule.code)] == [f"SEQ{n:03}" for n in range(1, 27)]
    assert {rule.code for rule in SEQ if rule.extra} == {"SEQ019", "SEQ021", "SEQ026"}


#: name → (dialog, the findings of the family). The names tell what is decided.
CASES: dict[str, tuple[str, list[str]]] = {
    "a message in order": (HELLO + ENVELOPE + TEXT + "C: QUIT\nS: 221 2.0.0 Bye\n*: close server", []),
    "a log that starts in mid-session": ("C: RCPT TO:<b@example.net>\nS: 250 Ok" + TEXT + "C: QUIT\nS: 221 Bye", []),
    "a log that starts with a refusal": ("C: DATA\nS: 503 5.5.1 Error: need RCPT command\nC: RSET\nS: 250 Ok", []),
    "a log that starts with a reply": ("S: 250 Ok\nC: NOOP\nS: 250 Ok", []),
    "in step after an answer of a log that starts in mid-session": (
        "C: EHLO x.example.org\nS: 250 mx\nC: DATA\nS: 503 5.5.1 Error: need RCPT command",
        ["SEQ003"],
    ),
    "hello missing, told once": (
        "S: 220 mx.example.net ESMTP\nC: MAIL FROM:<a@example.org>\nS: 503 5.5.1 hello first\n"
        "C: RCPT TO:<b@example.net>\nS: 503 5.5.1 hello first\nC: DATA\nS: 503 5.5.1 hello first",
        ["SEQ001"],
    ),
    "hello missing, the server does not mind": (
        "S: 220 mx.example.net ESMTP" + ENVELOPE + TEXT + ENVELOPE + "C: QUIT\nS: 221 Bye",
        ["SEQ001"],
    ),
    "hello refused in the group of the MAIL": (
        "S: 220 mx.example.net ESMTP\nC: EHLO x\nC: MAIL FROM:<a@example.org>\n"
        "S: 501 5.5.4 Bad name\nS: 503 hello first",
        [],
    ),
    "MAIL refused and not read": (
        HELLO + "C: MAIL FROM:<a@example.org>\nS: 550 5.7.1 No\nC: RCPT TO:<b@example.net>\nS: 503 5.5.1 need MAIL",
        ["SEQ002"],
    ),
    "a whole group behind a refused MAIL": (
        HELLO + "C: MAIL FROM:<a@example.org>\nC: RCPT TO:<b@example.net>\nC: DATA\n"
        "S: 550 5.7.1 No\nS: 503 5.5.1 need MAIL\nS: 503 5.5.1 need RCPT",
        [],
    ),
    "RCPT again and again without MAIL": (
        HELLO + "C: RCPT TO:<b@example.net>\nS: 503 need MAIL\nC: RCPT TO:<c@example.net>\nS: 503 need MAIL",
        ["SEQ002"],
    ),
    "BDAT in the group of its recipients": (
        HELLO + "C: MAIL FROM:<a@example.org>\nC: RCPT TO:<b@example.net>\nC: BDAT 0 LAST\n"
        "S: 250 Ok\nS: 550 5.1.1 Unknown\nS: 503 5.5.1 no recipients",
        [],
    ),
    "DATA after the end of a message": (HELLO + ENVELOPE + TEXT + "C: DATA\nS: 503 5.5.1 need RCPT", ["SEQ005"]),
    "RCPT and DATA after the end of a message are one fault": (
        HELLO + ENVELOPE + TEXT + "C: RCPT TO:<c@example.net>\nS: 503 need MAIL\nC: DATA\nS: 503 need RCPT",
        ["SEQ005"],
    ),
    "RCPT after the end of a message and RSET": (
        HELLO + ENVELOPE + TEXT + "C: RSET\nS: 250 Ok\nC: RCPT TO:<c@example.net>\nS: 503 need MAIL",
        ["SEQ002"],
    ),
    "an empty line after QUIT": (HELLO + "C: QUIT\nC:\nS: 221 Bye", []),
    "after QUIT one finding is enough": (
        HELLO
        + "C: QUIT\nS: 221 Bye\nC: RCPT TO:<b@example.net>\nC: DATA\nC: MAIL FROM:<a@example.org>\n*: close server",
        ["SEQ006"],
    ),
    "QUIT in a transaction": (HELLO + ENVELOPE + "C: QUIT\nS: 221 Bye", []),
    "closed with a transaction open": (HELLO + ENVELOPE + "*: close client", ["SEQ007"]),
    "closed by a client whose TLS handshake failed": (
        HELLO + "C: STARTTLS\nS: 220 Ready\n*: tls failed\n*: close client",
        [],
    ),
    "the log ends where TLS begins": (HELLO + "C: STARTTLS\nS: 220 Ready\n*: close server", []),
    "refused in the greeting and closed": ("S: 554 mx.example.net No\n*: close server", []),
    "several commands left without a reply": (
        HELLO + "C: MAIL FROM:<a@example.org>\nC: RCPT TO:<b@example.net>\nC: DATA\n*: close server",
        ["SEQ009"],
    ),
    "commands on their way when 421 came": (
        HELLO + "C: MAIL FROM:<a@example.org>\nC: RCPT TO:<b@example.net>\nS: 421 4.3.2 Shutting down\n*: close server",
        [],
    ),
    "end of a message left without a reply": (
        HELLO + ENVELOPE + TEXT.rsplit("S:", 1)[0] + "*: close server",
        ["SEQ009"],
    ),
    "a reply right after a gap": (HELLO + "*: gap 3 lines\nS: 250 Ok", []),
    "a command right before a gap": (HELLO + "C: NOOP\n*: gap 3 lines\n*: close server", []),
    "RCPT after a gap": (HELLO + "*: gap 3 lines\nC: RCPT TO:<b@example.net>\nS: 250 Ok" + TEXT, []),
    "NOOP and MAIL after TLS": (
        HELLO
        + "C: STARTTLS\nS: 220 Ready\n*: tls ok\nC: NOOP\nS: 250 Ok\nC: MAIL FROM:<a@example.org>\nS: 503 hello first",
        ["SEQ001"],
    ),
    "MAIL and RCPT after TLS are one fault": (
        HELLO + "C: STARTTLS\nS: 220 Ready\n*: tls ok\nC: MAIL FROM:<a@example.org>\nS: 503 hello first\n"
        "C: RCPT TO:<b@example.net>\nS: 503 hello first",
        ["SEQ011"],
    ),
    "STARTTLS on a connection that is TLS": (
        "*: tls active" + HELLO + "C: STARTTLS\nS: 503 5.5.1 TLS already active",
        ["SEQ012"],
    ),
    "STARTTLS again after a handshake that failed": (
        HELLO + "C: STARTTLS\nS: 220 Ready\n*: tls failed\nC: STARTTLS\nS: 454 4.7.0 Not now",
        [],
    ),
    "ETRN in a transaction": (HELLO + ENVELOPE + "C: ETRN example.org\nS: 503 5.5.1 In progress", ["SEQ013"]),
    "AUTH again after TLS": (
        HELLO + "C: AUTH PLAIN AHUAcA==\nS: 235 Ok\nC: STARTTLS\nS: 220 Ready\n*: tls ok\nC: EHLO client.example.org\n"
        "S: 250-mx.example.net\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AHUAcA==\nS: 235 Ok",
        [],
    ),
    "a message text after a refused DATA holds what looks like a verb": (
        HELLO + "C: MAIL FROM:<a@example.org>\nS: 250 Ok\nC: RCPT TO:<b@example.net>\nS: 550 5.1.1 Unknown\nC: DATA\n"
        "S: 554 5.5.1 no valid recipients\nC: Subject: mail\nS: 500 Unknown\nC: RCPT is a word here\nS: 500 Unknown\n"
        "C: .\nS: 500 Unknown\nC: RCPT TO:<c@example.net>\nS: 250 Ok" + TEXT,
        ["SEQ003", "SEQ016"],
    ),
    "a typing slip after a refused DATA is no text": (
        HELLO + "C: MAIL FROM:<a@example.org>\nS: 250 Ok\nC: DATA\nS: 503 need RCPT\n"
        "C: RCTP TO:<b@example.net>\nS: 500 What?",
        ["SEQ003"],
    ),
    "RCPT after a chunk": (
        HELLO + ENVELOPE + "C: BDAT 0\nS: 250 Ok\nC: RCPT TO:<c@example.net>\nS: 503 5.5.1 RCPT after BDAT",
        ["SEQ017"],
    ),
    "RCPT after a chunk out of order": (
        HELLO + "C: MAIL FROM:<a@example.org>\nS: 250 Ok\nC: BDAT 0 LAST\nS: 503 need RCPT\n"
        "C: RCPT TO:<b@example.net>\nS: 250 Ok",
        ["SEQ003"],
    ),
    "chunks on their way when one was refused": (
        HELLO + ENVELOPE + "C: BDAT 0\nC: BDAT 0\nC: BDAT 0 LAST\nS: 452 4.3.1 Full\nS: 503 No\nS: 503 No",
        [],
    ),
    "RSET after a refused chunk": (
        HELLO + ENVELOPE + "C: BDAT 0\nS: 452 4.3.1 Full\nC: RSET\nS: 250 Ok" + ENVELOPE + "C: BDAT 0 LAST\nS: 250 Ok",
        [],
    ),
    "EHLO after a refused chunk": (
        HELLO + ENVELOPE + "C: BDAT 0\nS: 452 4.3.1 Full\nC: EHLO client.example.org\nS: 250 mx.example.net",
        [],
    ),
    "EHLO throws a transaction away, and MAIL follows": (
        HELLO + ENVELOPE + "C: EHLO client.example.org\nS: 250 mx.example.net" + ENVELOPE,
        ["SEQ020"],
    ),
    "EHLO again after a message": (
        HELLO + ENVELOPE + TEXT + "C: EHLO client.example.org\nS: 250 mx.example.net",
        ["SEQ019"],
    ),
    "QUIT instead of HELO": (
        "S: 220 mx.example.net SMTP\nC: EHLO x\nS: 500 What?\nC: QUIT\nS: 221 Bye\n*: close client",
        [],
    ),
    "QUIT after 421": (HELLO + "S: 421 4.4.2 Timeout\nC: QUIT\nS: 221 Bye", []),
    "MAIL after 421 out of the blue": (
        HELLO + "S: 421 4.4.2 Timeout\nC: MAIL FROM:<a@example.org>\nS: 503 5.5.1 No",
        ["SEQ023"],
    ),
    "a host called lmtp": ("S: 220 LMTP ESMTP ready\nC: EHLO x.example.org\nS: 250 LMTP", []),
    "LHLO with a name that is refused": (
        "S: 220 mx.example.net ready\nC: LHLO\nS: 501 5.5.4 Syntax: LHLO hostname\n"
        "C: LHLO x.example.org\nS: 250 mx.example.net",
        [],
    ),
    "LMTP: the log stops before the second reply": (
        LMTP + ENVELOPE + "C: RCPT TO:<c@example.net>\nS: 250 Ok" + TEXT,
        [],
    ),
    "LMTP: one recipient named twice": (
        LMTP + ENVELOPE + "C: RCPT TO:<b@example.net>\nS: 250 Ok" + TEXT + "S: 250 Ok\nC: QUIT\nS: 221 Bye",
        [],
    ),
    "LMTP: a reply too many": (LMTP + ENVELOPE + TEXT + "S: 250 Ok\nC: QUIT\nS: 221 Bye", ["SEQ025"]),
    "PRDR: a reply a recipient after 353": (
        HELLO + ENVELOPE + TEXT.replace("250 2.0.0 Ok: queued as 4ABC", "353 PRDR") + "S: 250 b\n"
        "S: 250 Ok\nC: QUIT\nS: 221 Bye",
        [],
    ),
    "a log of the client's side only": (
        "C: EHLO x.example.org\nC: MAIL FROM:<a@example.org>\nC: QUIT\n*: close client",
        [],
    ),
    "a log that starts with a refusal that is no greeting": (
        "S: 535 5.7.8 No\nC: MAIL FROM:<a@example.org>\nS: 250 Ok",
        [],
    ),
    "RCPT after a MAIL whose answer the log lost": (
        HELLO + "C: MAIL FROM:<a@example.org>\nC: RCPT TO:<b@example.net>\nC: RSET",
        [],
    ),
    "what a program says after the end": (HELLO + "C: QUIT\nS: 221 Bye\nC: ^C", []),
    "greeted, and the log stops": ("S: 220 mx.example.net ESMTP ready", []),
    "inferred commands accuse nobody": (
        "S: 220 mx.example.net ESMTP\nC?: RCPT TO\nS: 503 need MAIL\nC?: DATA\n"
        "S: 503 need RCPT\nS: 250 Ok\n*: close client",
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_family_says(name: str, tmp_path: Path) -> None:
    dialog, expected = CASES[name]
    assert codes(dialog, tmp_path) == expected


#: name → (dialog, the one code, its severity, its party).
WEIGHTS: dict[str, tuple[str, str, str, str]] = {
    "no hello, refused": ("S: 220 mx\nC: MAIL FROM:<a@b.org>\nS: 503 hello first", "SEQ001", "error", "client"),
    "no hello, accepted": ("S: 220 mx\nC: MAIL FROM:<a@b.org>\nS: 250 Ok", "SEQ001", "warning", "client"),
    "closed": (HELLO + "*: close client", "SEQ007", "info", "client"),
    "closed in a transaction": (HELLO + ENVELOPE + "*: close client", "SEQ007", "warning", "client"),
    "a hello that reset": (
        HELLO + ENVELOPE + "C: EHLO x.org\nS: 250 mx" + ENVELOPE + "C: QUIT\nS: 221 Bye",
        "SEQ020",
        "warning",
        "client",
    ),
    "a hello that reset, and DATA": (
        HELLO + ENVELOPE + "C: EHLO x.org\nS: 250 mx\nC: DATA\nS: 503 need MAIL",
        "SEQ020",
        "error",
        "client",
    ),
    "MAIL as the answer to 334": (
        HELLO + "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: MAIL FROM:<a@b.org>\nS: 501 No",
        "SEQ015",
        "error",
        "client",
    ),
    "QUIT as the answer to 334": (
        HELLO + "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: QUIT\nS: 334 UGFzc3dvcmQ6",
        "SEQ015",
        "warning",
        "client",
    ),
    "LMTP that takes EHLO": ("S: 220 mx LMTP\nC: EHLO x.org\nS: 250 mx", "SEQ024", "error", "server"),
    "LMTP that refuses EHLO": ("S: 220 mx LMTP\nC: EHLO x.org\nS: 502 No", "SEQ024", "error", "client"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_how_a_finding_weighs(name: str, tmp_path: Path) -> None:
    dialog, code, severity, party = WEIGHTS[name]
    (finding,) = found(dialog, tmp_path)
    assert (finding.code, finding.severity, finding.party) == (code, severity, party)


def test_a_finding_tells_what_is_legal(tmp_path: Path) -> None:
    (finding,) = found("S: 220 mx\nC: MAIL FROM:<a@b.org>\nS: 503 hello first", tmp_path)
    assert "Legal here: EHLO, HELO, " in finding.message
    (finding,) = found(HELLO + "C: MAIL FROM:<a@b.org>\nS: 250 Ok\nC: DATA\nS: 503 need RCPT", tmp_path)
    assert "Legal here: RCPT, RSET, QUIT, " in finding.message


@pytest.mark.parametrize(("later", "severity"), [("", "info"), ("*: at 2024-01-01T12:00:01+00:00\n", "error")])
def test_a_group_that_a_log_does_not_show_is_given_the_benefit_of_the_doubt(
    later: str, severity: str, tmp_path: Path
) -> None:
    """The log of a server has the commands of one group one by one, each at the time of the reply before it."""
    refused = (
        "*: at 2024-01-01T12:00:00+00:00\nC: MAIL FROM:<a@example.org>\nS: 550 5.7.1 No\n"
        f"{later}C: RCPT TO:<b@example.net>\nS: 503 5.5.1 No\n"
    )
    told = found(HELLO + refused, tmp_path)
    assert [(each.code, each.severity) for each in told] == [("SEQ002", severity)]
    unoffered = HELLO.replace("PIPELINING", "DSN")
    assert [each.severity for each in found(unoffered + refused, tmp_path)] == ["error"]


def test_a_finding_spans_the_text_after_a_refused_data(tmp_path: Path) -> None:
    dialog = HELLO + "C: DATA\nS: 503 No\nC: Subject: x\nS: 500 What?\nC: Hello\nS: 500 What?\nC: .\nS: 500 What?"
    (finding,) = [each for each in found(dialog, tmp_path) if each.code == "SEQ016"]
    assert (finding.line, finding.end_line) == (10, 14)
    assert "3 lines of message text" in finding.message


def _all_dialogs() -> list[object]:
    dialogs = {f"{rule.code}-{n}": text for rule in SEQ for n, text in enumerate(Manual.of(rule).flagged, 1)}
    dialogs |= {name: dialog for name, (dialog, _) in CASES.items()}
    dialogs |= {name: dialog for name, (dialog, *_) in WEIGHTS.items()}
    return [pytest.param(dialog, id=name) for name, dialog in dialogs.items()]


@pytest.mark.parametrize("dialog", _all_dialogs())
def test_no_fault_hides_in_a_dialog_that_the_columns_find_in_order(dialog: str, tmp_path: Path) -> None:
    """With the rules that are on by default only dialogs that the columns find suspect are looked at (suspects.py)."""
    log = tmp_path / "session.dialog"
    core = [rule for rule in SEQ if not rule.extra]
    expected = [finding.code for finding in found(dialog, tmp_path) if not findings.BOOK[finding.code].extra]
    assert [finding.code for finding in smtplog.read(log, input_format="cs-dialog").check(core)] == expected


@pytest.mark.parametrize(
    ("verb", "code", "transaction", "closing"),
    [
        ("MAIL", 250, "mail", None),
        ("MAIL", 550, None, None),
        (".", 550, "none", None),
        ("BDAT", 452, "failed", None),
        ("BDAT LAST", 452, "none", None),
        ("RCPT", 421, None, True),
        (".", 421, "none", True),
        ("RCPT", 0, None, None),
    ],
)
def test_where_a_reply_leads(verb: str, code: int, transaction: str | None, closing: bool | None) -> None:
    led_to = states.after(verb, code)
    assert (led_to.transaction, led_to.closing) == (transaction, closing)


def test_the_accepted_verb_leads_to_one_state_wherever_it_was_said() -> None:
    assert set(states.ALLOWED) == set(states.STATES)
    allowed = {verb for verbs in states.ALLOWED.values() for verb in verbs}
    assert {verb for verb, _ in states.AFTER} <= allowed


def _rule(docstring: str) -> Rule:
    def body() -> list[findings.Hit]:
        return []

    body.__doc__ = docstring
    return Rule("SEQ999", "example", "error", "client", "dialog", "RFC 5321 4.1.4", "Do better.", False, body)


def test_a_manual_may_leave_out_what_the_rule_says() -> None:
    manual = Manual.of(
        _rule(
            "One line.\n\n    Why it matters: because\n    it does.\n\n    Flagged::\n\n        S: 220 a\n        C:\n"
        )
    )
    assert manual.why == "because it does."
    assert manual.flagged == ("S: 220 a\nC:",)
    assert (manual.fine, manual.advice, manual.reference) == ((), "Do better.", "RFC 5321 4.1.4")


def test_a_dialog_in_a_manual_must_be_indented() -> None:
    with pytest.raises(ValueError, match="must be indented"):
        Manual.of(_rule("One line.\n\n    Flagged::\n\n    S: 220 a\n"))
