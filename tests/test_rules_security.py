"""The SEC rules: what they say of a session that is a little different, and that no secret is in what they say."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog import read
from smtplog.findings import BOOK, book
from smtplog.negotiated import host

SECURITY = {code for code in book() if code.startswith("SEC")}
GREETING = "S: 220 mx.example.net ESMTP ready\n"
HELLO = "C: EHLO client.example.org\nS: 250-mx.example.net\n"
STARTTLS = GREETING + HELLO + "S: 250 STARTTLS\n"
AUTH = HELLO + "S: 250 AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2\n"
PLAIN = "C: AUTH PLAIN AGEAc2VjcmV0\nS: 235 2.7.0 Ok\n"
MESSAGE = (
    "C: MAIL FROM:<x@spam.example>\nS: 250 Ok\nC: RCPT TO:<v@other.example>\nS: 250 Ok\n"
    "C: DATA\nS: 354 Go ahead\nC: Hello\nC: .\nS: 250 Ok\n"
)
EMPTY = GREETING + "C: EHLO client.example.org\nS: 250 mx.example.net\n"


def told(text: str, folder: Path) -> dict[str, str]:
    """Code and severity of the SEC findings, which are the same in a batch and of dialogs one by one."""
    path = folder / "example.dialog"
    path.write_text(text, encoding="utf-8")
    rules = tuple(rule for rule in BOOK.values() if rule.code in SECURITY)
    log = read(path, input_format="cs-dialog")
    found = {finding.code: finding.severity for finding in log.check(rules)}
    counted = {code: severity for code, _, severity in log.summary(rules).findings}
    assert found == counted
    return found


@pytest.mark.parametrize("code", [f"SEC{n:03}" for n in range(1, 14)])
def test_the_rule_is_in_the_book(code: str) -> None:
    assert code in SECURITY


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        # secrets
        (GREETING + AUTH + PLAIN, {"SEC001": "error", "SEC002": "warning", "SEC003": "warning"}),
        ("*: tls active\n" + GREETING + AUTH + PLAIN, {"SEC002": "warning"}),
        ("*: connect 192.0.2.7:5 -> 192.0.2.8:465\n" + GREETING + AUTH + PLAIN, {"SEC002": "warning"}),
        ("*: connect 127.0.0.1:5 -> 127.0.0.1:25\n" + GREETING + AUTH, {"SEC003": "info"}),
        (
            "*: connect localhost[127.0.0.1]:5 -> 192.0.2.8:25\n" + GREETING + AUTH + PLAIN,
            {"SEC002": "warning", "SEC003": "info"},
        ),
        (AUTH + PLAIN, {"SEC002": "warning"}),  # the beginning is not in the log: TLS may have been active
        (GREETING + "*: gap 20 lines\n" + AUTH + PLAIN, {"SEC002": "warning"}),
        ("S: 220 2.0.0 Ready to start TLS\n" + AUTH + PLAIN, {"SEC002": "warning"}),
        (GREETING + AUTH + "C: AUTH LOGIN\nS: 530 5.7.0 Must issue STARTTLS\n", {"SEC003": "warning"}),
        (GREETING + AUTH + "C: AUTH PLAIN <hidden>\nS: 235 Ok\n", {"SEC001": "error", "SEC003": "warning"}),
        (GREETING + AUTH + "C: AUTH PLAIN ********\nS: 235 Ok\n", {"SEC001": "error", "SEC003": "warning"}),
        (GREETING + AUTH + "C: AUTH PLAIN XXXXXXXX\nS: 535 no\n", {"SEC001": "error", "SEC003": "warning"}),
        (GREETING + AUTH + "C: AUTH CRAM-MD5\nS: 334 PDFAeD4=\nC: YSAwMTIz\nS: 235 Ok\n", {"SEC003": "warning"}),
        (STARTTLS.replace("250 S", "250-S") + "S: 250 AUTH PLAIN\n", {"SEC003": "info"}),
        # TLS
        (STARTTLS + MESSAGE, {"SEC005": "info", "SEC010": "warning"}),
        (
            "*: connect 192.0.2.7:5 -> 192.0.2.8:587\n" + STARTTLS + PLAIN,
            {"SEC001": "error", "SEC002": "warning", "SEC005": "warning"},
        ),
        (STARTTLS + "C: STARTTLS\nS: 454 4.7.0 no\n" + MESSAGE, {"SEC007": "warning", "SEC010": "warning"}),
        (
            "*: connect 192.0.2.7:5 -> 192.0.2.8:25\n"
            + STARTTLS
            + "C: STARTTLS\nS: 454 no\nC: MAIL FROM:<>\nS: 250 Ok\n",
            {"SEC007": "info"},
        ),
        (STARTTLS + "C: STARTTLS\nS: 454 no\nC: STARTTLS\nS: 220 go\n*: tls ok\n" + EMPTY[len(GREETING) :], {}),
        (STARTTLS + "C: STARTTLS\nS: 220 go\n*: tls failed\nC: MAIL FROM:<>\nS: 250 Ok\n", {"SEC007": "warning"}),
        (STARTTLS + "C: STARTTLS\nS: 454 no\nC: MAIL FROM:<>\nS: 530 5.7.0 Must issue STARTTLS\n", {}),
        (STARTTLS + "C: STARTTLS\nC: EHLO a.example\nS: 220 go\n*: tls ok\nS: 250 mx\n", {"SEC006": "error"}),
        (STARTTLS + "C: STARTTLS\nS: 502 5.5.1 no\n", {"SEC004": "warning"}),
        (GREETING + HELLO + "S: 250-********\nS: 250 SIZE\n", {"SEC004": "warning"}),
        (STARTTLS.replace("S: 250 S", "S: 250-XXXXXXXA\nS: 250 S"), {}),
        # abuse
        (EMPTY + "C: VRFY a\nS: 252 2.0.0 a\n" * 4, {}),
        (EMPTY + "C: VRFY a\nS: 252 2.0.0 a\n" * 3 + "C: EXPN b\nS: 502 no\n" * 2, {"SEC008": "warning"}),
        (EMPTY + "C: MAIL FROM:<>\nS: 250 Ok\n" + "C: RCPT TO:<a@b.example>\nS: 550 5.7.1 no\n" * 6, {}),
        (EMPTY + "C: MAIL FROM:<>\nS: 250 Ok\n" + "C: RCPT TO:<a@b.example>\nS: 450 4.2.0 later\n" * 6, {}),
        (
            EMPTY + "C: MAIL FROM:<>\nS: 250 Ok\n" + "C: RCPT TO:<a@b.example>\nS: 550 no such user\n" * 6,
            {"SEC008": "warning"},
        ),
        (EMPTY + MESSAGE.replace("v@other.example", "v@example.net"), {}),
        (
            EMPTY
            + MESSAGE.replace("S: 250 Ok\nC: DATA", "S: 250 Ok\nC: DATA").replace(
                "spam.example>", "spam.example> SIZE=9"
            ),
            {},
        ),
        (EMPTY + MESSAGE[: -len("250 Ok\n")] + "550 5.7.1 no\n", {}),
        ("*: connect 10.1.2.3:5 -> 192.0.2.8:25\n" + EMPTY + MESSAGE, {}),
        (EMPTY + MESSAGE.replace("x@spam.example", ""), {}),
        (
            GREETING + AUTH.replace("PLAIN LOGIN CRAM-MD5 XOAUTH2", "CRAM-MD5") + "C: AUTH NTLM ****\nS: 535 no\n" * 2,
            {},
        ),
        (EMPTY + "C: AUTH NTLM ****\nS: 535 no\n" * 3, {"SEC011": "warning"}),
        # probes
        (EMPTY + "C: MAIL FROM:<|/bin/sh@example.org>\nS: 501 no\n", {"SEC012": "warning"}),
        (EMPTY + "C: RCPT TO:<a!b!c@example.org>\nS: 503 no\n", {"SEC012": "warning"}),
        (EMPTY + "C: RCPT TO:<b@example.net;c@example.net>\nS: 503 no\n", {}),
        (EMPTY + "C: RCPT TO:&lt;b@example.net&gt;\nS: 501 no\n", {}),
        (EMPTY + 'C: RCPT TO:<"b!c"@example.net>\nS: 503 no\n', {}),
        (EMPTY + "C: RCPT TO:<100%@example.net>\nS: 503 no\n", {}),
        (EMPTY + "C: MAIL FROM:<prvs=0123=a@example.org> SIZE=1 AUTH=<>\nS: 250 Ok\n", {}),
        (GREETING + "C: GET\nS: 502 no\n", {}),
        (GREETING + "C: CONNECT 192.0.2.1:80 HTTP/1.0\nC: Host: x\nS: 502 no\nS: 502 no\n", {"SEC012": "warning"}),
        (GREETING + "C: SSH-2.0-Go\nS: 500 no\n", {"SEC012": "warning"}),
        (STARTTLS + "C: STARTTLS\nS: 220 go\nC!: \\x16\\x03\\x01\\x00\\r\\n\n", {}),
        # what is told
        (EMPTY + "C: VRFY a\nS: 250 Ok\n", {}),
        (EMPTY + "C: VRFY a\nS: 251 User not local; will forward to <a@example.org>\n", {"SEC009": "info"}),
        ("S: 220 mx.example.net ESMTP Sendmail 8.17.1/8.17.1; Mon, 1 Jan 2024\n", {"SEC013": "info"}),
        ("S: 220 mx.example.net Microsoft ESMTP MAIL Service ready at Fri, 5 Aug 2016 16:24:41 -0700\n", {}),
    ],
)
def test_told(text: str, codes: dict[str, str], tmp_path: Path) -> None:
    assert told(text, tmp_path) == codes


@given(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\r\n\0\x01", exclude_categories=["Cs"]),
        min_size=4,
        max_size=12,
    ),
    st.sampled_from(["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"]),
    st.booleans(),
)
def test_no_secret_in_what_is_said(tmp_path_factory: pytest.TempPathFactory, secret: str, name: str, ok: bool) -> None:
    """Law 9: message, excerpt and advice hold neither the secret nor its base64."""
    plain = {"PLAIN": f"\0u\0{secret}", "LOGIN": secret}.get(name, f"user=u\x01auth=Bearer {secret}\x01\x01")
    code = base64.b64encode(plain.encode()).decode()
    steps = f"C: AUTH {name} {code}\n"
    if name == "LOGIN":
        steps = f"C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dXNlcg==\nS: 334 UGFzc3dvcmQ6\nC: {code}\n"
    path = tmp_path_factory.mktemp("secret") / "a.dialog"
    path.write_text(GREETING + AUTH + steps + ("S: 235 Ok\n" if ok else "S: 535 no\n"), encoding="utf-8")
    rules = tuple(rule for rule in BOOK.values() if rule.code in SECURITY)
    for finding in read(path, input_format="cs-dialog").check(rules):
        for said in (finding.message, finding.excerpt):
            assert code not in said
            assert secret not in said or secret in GREETING + AUTH


@pytest.mark.parametrize(
    ("end", "name"),
    [
        ("192.0.2.7:25", "192.0.2.7"),
        ("[2001:db8::7]:25", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("mx.example.net[192.0.2.7]:25", "192.0.2.7"),
        ("localhost", "localhost"),
        ("[IPv6:::1]:25", "::1"),
    ],
)
def test_host(end: str, name: str) -> None:
    assert host(end) == name
