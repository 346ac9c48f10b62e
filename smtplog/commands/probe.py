"""Try a server step by step, as with Telnet: hello, sender, recipients; no message unless it is asked for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smtplog.connecting import DAY, Auth, Insecure, Tls, Trust, credentials, for_client, written
from smtplog.errors import UsageError
from smtplog.output import Output, OutputFormat, Page, ShowSecrets, comma, leave, one_of

if TYPE_CHECKING:
    from smtplog.findings import Finding
    from smtplog.model import Dialog
    from smtplog.replay.probe import Plan, Probe
    from smtplog.replay.wire import Address

_HOST = typer.Argument(help="HOST[:PORT] of the server; mx:DOMAIN is the first mail exchanger of a domain.")
_NOTIFY = typer.Option(help="NOTIFY of each recipient: success,failure,delay or never.")


def command(
    host: Annotated[str, _HOST],
    mail_from: Annotated[str, typer.Option(help="The sender; <> is the null reverse-path.")],
    rcpt_to: Annotated[list[str], typer.Option(help="A recipient; may be repeated, or listed with commas.")],
    output_format: OutputFormat = "text",
    output: Output = None,
    show_secrets: ShowSecrets = False,
    notify: Annotated[str, _NOTIFY] = "",
    ehlo: Annotated[str | None, typer.Option(help="The name in EHLO; default: that of this machine.")] = None,
    starttls: Annotated[bool, typer.Option("--starttls", help="Start TLS; it must be offered.")] = False,
    tls: Tls = False,
    insecure: Insecure = False,
    trust: Trust = None,
    auth: Auth = None,
    deliver: Annotated[bool, typer.Option("--deliver", help="Send the message too.")] = False,
    subject: Annotated[str, typer.Option(help="With --deliver: its subject.")] = "Test from smtplog",
    body: Annotated[str, typer.Option(help="With --deliver: its text.")] = "This is a test message.",
    compare: Annotated[str | None, typer.Option(help="Try this HOST[:PORT] too and show what differs.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds the server may take for each answer.")] = 60.0,
) -> None:
    """Try a server step by step: each answer with its time, what it means and what to do. Stops before DATA."""
    from smtplog.jsonview import dialog_to_json

    one_of(output_format, "text", "json")
    if not 0 < timeout <= DAY:
        raise UsageError("--timeout is a number of seconds up to 86400")
    if starttls and tls:
        raise UsageError("--starttls and --tls do not go together: TLS starts once")
    plan = _plan(
        mail_from, comma(rcpt_to), ehlo, notify, subject, body, auth, deliver=deliver, starttls=starttls, tls=tls
    )
    hosts = [_address(each, tls) for each in (host, compare) if each]
    context = for_client(insecure, trust)
    page = Page()
    tried = []
    for number, at in enumerate(hosts):
        tried.append(_try(at, plan, context, timeout, output, show_secrets, number))
        if output_format == "text":  # at once: the next one may not be reached
            _tell(page, at, *tried[-1])
    if output_format == "json":
        import json

        told = [
            {"host": str(at), "refused": probe.refused, "ended": probe.ended, "stopped": probe.stopped}
            | {"remarks": probe.remarks, "dialog": dialog_to_json(dialog, found)}
            for at, (probe, dialog, found) in zip(hosts, tried, strict=True)
        ]
        page.line(json.dumps(told if compare else told[0], ensure_ascii=True, indent=1))
    elif compare:
        _differences(page, hosts, [dialog for _, dialog, _ in tried])
    page.close()
    leave(int(any(probe.refused or probe.ended for probe, _, _ in tried)))


def _plan(
    sender: str, recipients: list[str], ehlo: str | None, notify: str, subject: str, body: str, auth: str | None,
    *, deliver: bool, starttls: bool, tls: bool,
) -> Plan:  # fmt: skip
    """What is to be tried. Raises UsageError for what cannot be sent."""
    from email.utils import format_datetime, localtime, make_msgid

    from smtplog.replay.edits import clean
    from smtplog.replay.probe import Plan, message
    from smtplog.replay.wire import this_host

    sender = clean(sender.removeprefix("<").removesuffix(">"))
    to = tuple(clean(each.removeprefix("<").removesuffix(">")) for each in recipients)
    words = [each.upper() for each in comma(notify)]
    if any(each not in ("SUCCESS", "FAILURE", "DELAY", "NEVER") for each in words) or (
        "NEVER" in words and len(words) > 1
    ):
        raise UsageError(
            f"--notify {notify!r} means nothing; write success,failure,delay, or never alone (RFC 3461 section 4.1)"
        )
    name = clean(ehlo or this_host())
    if any(ord(c) < 32 for c in subject):
        raise UsageError("--subject is one line")
    identifier = make_msgid(domain=name if name.isascii() else "localhost")[1:-1]
    text = message(sender, to, subject, body, format_datetime(localtime()), identifier)
    return Plan(sender, to, name, ",".join(words).lower(), text, deliver, starttls, tls, credentials(auth))


def _address(words: str, tls: bool) -> Address:
    from smtplog.replay.wire import address, exchanger

    return exchanger(words[3:]) if words.lower().startswith("mx:") else address(words, 465 if tls else 25)


def _try(
    at: Address, plan: Plan, context: Any, timeout: float, output: Path | None, show_secrets: bool, number: int
) -> tuple[Probe, Dialog, list[Finding]]:
    """Probe one server; the session as smtplog reads it from the recording."""
    import tempfile

    import smtplog
    from smtplog import findings
    from smtplog.replay.probe import Probe
    from smtplog.replay.recording import Recording
    from smtplog.replay.wire import connect

    with tempfile.TemporaryDirectory(prefix="smtplog-") as folder:
        path = _numbered(output, number) if output else Path(folder) / "probe.dialog"
        wire = connect(at, timeout)
        wire.tls, wire.timeout = context, timeout
        with written(path) as stream:
            assert stream is not None
            recording = Recording(stream, show_secrets=show_secrets)
            recording.event(f"connect {wire.here} -> {at}")
            probe = Probe(recording=recording, plan=plan)
            wire.run(probe.side())
        transcript = smtplog.read(path, input_format="cs-dialog", show_secrets=show_secrets)
        rules = findings.chosen()
        pairs = (pair for batch in transcript.batches() for pair in transcript.checked(batch, None, rules))
        dialog, found = next(pairs)
    return probe, dialog, found


def _numbered(output: Path, number: int) -> Path:
    """The file of the second server is beside that of the first."""
    return output if not number else output.with_name(f"{output.stem}-{number + 1}{output.suffix}")


def _tell(page: Page, at: Address, probe: Probe, dialog: Dialog, found: list[Finding]) -> None:
    from smtplog.note import write

    page.line(page.paint(str(at), "bold"))
    write(page, dialog, found, [], probe.stopped or (f"It ended early: {probe.ended}." if probe.ended else ""))
    for sentence in probe.remarks:
        page.wrapped(sentence)
    page.line()


def _differences(page: Page, hosts: list[Address], dialogs: list[Dialog]) -> None:
    """The steps at which two servers did not answer alike."""
    from smtplog.steps import answers

    one, other = (answers(dialog) for dialog in dialogs)
    names: list[str] = list(one)
    for before, name in pairwise(["", *other]):  # what the other one alone has stands where it has it
        if name not in one:
            names.insert(names.index(before) + 1 if before in names else 0, name)
    rows = [[name, one.get(name, "-"), other.get(name, "-")] for name in names if one.get(name) != other.get(name)]
    page.heading("What differs" if rows else "Both answered alike")
    if rows:
        page.table([["", *map(str, hosts)], *rows], styles=["dim"])
