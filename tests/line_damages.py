"""Damages of what one line says: command syntax, the values of DSN, dots of a text, sizes of chunks."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from smtplog import reference
from tests.damages import (
    ALL,
    Broken,
    Hand,
    Impossible,
    Steps,
    damage,
    envelope_line,
    leaves,
    like,
    ok,
    out_of_place,
    says,
    settled,
    typed,
    wrongly,
)
from tests.perfect import AS_IS, Step


def _is_wide(step: Step) -> bool:
    return not step.said[0].isascii() or "SMTPUTF8" in step.offered


def _malformed(hand: Hand, steps: Steps, i: int, said: str, *ways: str) -> Broken:
    return wrongly(hand, steps, i, said, 501, "5.5.4", *(ways or ALL))


# -- addresses


def _with_path(hand: Hand, steps: Steps, kind: str, path: str, *ways: str) -> Broken:
    """The path of a MAIL or RCPT (or of either) replaced."""
    i, head, _, rest = envelope_line(hand, steps, *kind.split())
    if "ORCPT" in rest.upper():
        raise Impossible  # which would no longer name the recipient
    return _malformed(hand, steps, i, head + path + rest, *ways)


@damage("bad local part")
def local_part(hand: Hand, steps: Steps) -> Broken:
    local = hand.of("a..b", ".ann", "ann.", "an n", "a[b", "ann@home", 'a"b"', '"ann"x', "a\\b", "", "a:b")
    return _with_path(hand, steps, "mail rcpt", f"<{local}@example.org>")


@damage("bad domain")
def domain(hand: Hand, steps: Steps) -> Broken:
    name = hand.of(
        "-a.example", "a..example", "exa_mple.org", "b-.example", "exa mple.org", "", ".example.org", "a.org."
    )
    return _with_path(hand, steps, "mail rcpt", f"<ann@{name}>")


@damage("bad literal")
def literal(hand: Hand, steps: Steps) -> Broken:
    name = hand.of(
        "[192.0.2.300]", "[192.0.2]", "[2001:db8::1]", "[IPv6:192.0.2.7]", "[192.0.2.7", "[]", "[mx.example]"
    )
    return _with_path(hand, steps, "mail rcpt", f"<ann@{name}>")


@damage("null forward path")
def null_forward(hand: Hand, steps: Steps) -> Broken:
    return _with_path(hand, steps, "rcpt", "<>")


@damage("source route")
def route(hand: Hand, steps: Steps) -> Broken:
    path = hand.of("<@a.example:ann@example.org>", "<@a.example,@b.example:ann@example.org>")
    return _with_path(hand, steps, "mail rcpt", path)


@damage("address without a domain")
def unqualified(hand: Hand, steps: Steps) -> Broken:
    return _with_path(hand, steps, "mail rcpt", hand.of("<ann>", "<root>", "<a.b>"))


@damage("address too long")
def long_address(hand: Hand, steps: Steps) -> Broken:
    domain = ".".join(["d" * 50] * 6) + ".example"
    return _with_path(hand, steps, "mail rcpt", hand.of(f"<{'a' * 70}@example.org>", f"<ann@{domain}>"))


@damage("garbage around the path")
def garbage(hand: Hand, steps: Steps) -> Broken:
    path = "<ann@example.org>"
    path = hand.of(
        f"{path} (Ann)", f"Ann {path}", f'"Ann" {path}', f"{path},<b@example.net>", f"<{path}>", f"{path}>", f"{path};"
    )
    return _with_path(hand, steps, "mail rcpt", path)


# -- parameters

#: keyword → ill-formed parameters of MAIL
_ILL = {
    "SIZE": ("SIZE=10MB", "SIZE=", "SIZE", "SIZE=-1", "SIZE=1,000"),
    "8BITMIME": ("BODY=9BIT", "BODY=", "BODY", "BODY=8BIT"),
    "DELIVERBY": ("BY=600", "BY=soon;R", "BY=600;X"),
    "MT-PRIORITY": ("MT-PRIORITY=12", "MT-PRIORITY=high"),
    "SMTPUTF8": ("SMTPUTF8=1",),
}


@damage("bad parameter value")
def parameter_value(hand: Hand, steps: Steps) -> Broken:
    i, head, path, rest = envelope_line(hand, steps, "mail")
    if "SMTPUTF8" in rest:
        raise Impossible  # its recipients need it
    ill = [each for keyword in steps[i].offered for each in _ILL.get(keyword, ())]
    if not ill:
        raise Impossible
    return _malformed(hand, steps, i, f"{head}{path} {hand.of(*ill)}")


@damage("duplicate parameter")
def duplicate(hand: Hand, steps: Steps) -> Broken:
    i, head, path, rest = envelope_line(hand, steps, "mail", "rcpt")
    words = rest.split()
    if not words:
        raise Impossible
    again = hand.of(*words)
    again = hand.of(again, again.swapcase() if "=" not in again else again)
    return _malformed(hand, steps, i, f"{head}{path}{rest} {again}")


@damage("blank before a parameter missing")
def no_blank(hand: Hand, steps: Steps) -> Broken:
    i, head, path, rest = envelope_line(hand, steps, "mail", "rcpt")
    if not rest.strip():
        raise Impossible
    return _malformed(hand, steps, i, head + path + rest.lstrip())


# -- the line as a whole


@damage("non-ASCII in a command")
def non_ascii(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "vrfy", where=lambda step: step.accepted and not _is_wide(step))
    verb = steps[i].said[0].split()[0]
    if steps[i].kind == "vrfy":
        return _malformed(hand, steps, i, f"{verb} jürgen")
    if " " in steps[i].said[0].partition(">")[2]:
        raise Impossible
    head = steps[i].said[0].partition("<")[0]
    paths = ("<jürgen@example.org>", "<ann@bücher.example>")[: 2 if steps[i].kind == "mail" else 1]
    return _malformed(hand, steps, i, head + hand.of(*paths))


@damage("line too long")
def long_line(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "noop", "vrfy", "mail", "rcpt", where=ok)
    said = hand.of(f"NOOP {'x' * 600}", f"NOOP {'x' * 2100}", f"NOOP {'x ' * 300}x")
    return out_of_place(hand, steps, i, like(steps[i], "other", said, says(steps[i], 500, "5.5.2", "Line too long")))


@damage("obsolete command")
def obsolete(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", where=ok)
    said = hand.of(
        "SEND FROM:<a@example.org>", "SOML FROM:<a@example.org>", "SAML FROM:<a@example.org>", "TURN", "VERB", "ONEX"
    )
    return out_of_place(hand, steps, i, like(steps[i], "other", said, says(steps[i], 502, "5.5.1", "Not implemented")))


@damage("bad base64")
def bad_base64(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "auth", "answer", where=lambda step: step.said[0] != "*")
    ill = hand.of("user:secret", "not*base64", "QUJD====", "QUJDR", "a b c", "s3cret!")
    kind = steps[i].kind
    if kind == "auth":
        words = steps[i].said[0].split()
        if len(words) < 3:
            raise Impossible
        ill = f"{words[0]} {words[1]} {ill}"
    return _malformed(hand, steps, i, ill, "left")


# -- delivery status notifications


def _asking(hand: Hand, steps: Steps, kind: str, *ill: str) -> Broken:
    """An ill-formed parameter of DSN behind a MAIL or RCPT that has none."""
    i = hand.one(steps, kind, where=lambda step: step.accepted and "DSN" in step.offered)
    line = steps[i].said[0]
    line = line[: line.find(">") + 1]
    null = any(step.kind == "mail" and "<>" in step.said[0] for step in steps[:i])
    if not line.isascii() or not line or null or "SMTPUTF8" in steps[i].said[0]:
        raise Impossible
    return _malformed(hand, steps, i, f"{line} {hand.of(*ill)}")


@damage("bad NOTIFY")
def notify(hand: Hand, steps: Steps) -> Broken:
    ill = ("NEVER,SUCCESS", "ALWAYS", "", "SUCCESS, FAILURE", "SUCCESS;FAILURE", "SUCCESS,", "NONE", "FAIL")
    return _asking(hand, steps, "rcpt", *(f"NOTIFY={each}" for each in ill), "NOTIFY")


@damage("bad RET")
def ret(hand: Hand, steps: Steps) -> Broken:
    return _asking(hand, steps, "mail", "RET=ALL", "RET=HEADERS", "RET=", "RET", "RET=FULL,HDRS", "RET=BODY")


@damage("bad ENVID")
def envid(hand: Hand, steps: Steps) -> Broken:
    ill = ("ENVID=a+b", "ENVID=", "ENVID", "ENVID=a=b", f"ENVID={'x' * 120}", "ENVID=a+2b", "ENVID=a+ZZ")
    return _asking(hand, steps, "mail", *ill)


@damage("bad ORCPT")
def orcpt(hand: Hand, steps: Steps) -> Broken:
    ill = (
        "b@example.net",
        "rfc822",
        "rfc822;",
        "",
        "rfc822;a=b@example.net",
        "rfc822; b@example.net",
        "rfc822:b@example.net",
        ";b@example.net",
    )
    return _asking(hand, steps, "rcpt", *(f"ORCPT={each}" for each in ill))


@damage("DSN parameter on the other command")
def other_command(hand: Hand, steps: Steps) -> Broken:
    if hand.choose.random() < 0.5:
        return _asking(hand, steps, "mail", "NOTIFY=FAILURE", "ORCPT=rfc822;b@example.net")
    return _asking(hand, steps, "rcpt", "RET=HDRS", "ENVID=QQ314159")


# -- message text


@damage("dot not doubled")
def not_doubled(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "text", where=lambda step: step.accepted and "" in step.said[:-1])
    text = steps[i].said
    at = hand.choose.randrange(text.index("") + 1, len(text))
    line = hand.of(".hidden file", ".profile", ". a dot and a blank", ".5 percent")
    broken = replace(steps[i], said=(*text[:at], line, *text[at:]))
    return [*steps[:i], broken, *steps[i + 1 :]], {i}


@damage("line with a single dot in the text")
def early_end(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "text", where=ok)
    if len(steps[i].reply) > 1:
        raise Impossible  # LMTP
    rest = typed([*hand.choose.sample(("and more", "the second half", "Kind regards", "Ann Other"), 2), "."], steps[i])
    broken = [*settled(steps, i + 1)[: i + 1], *rest]
    return leaves(broken, len(broken) - 1), set(range(i, len(broken)))


@damage("chunk of another size")
def chunk_size(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "bdat", where=lambda step: step.accepted and len(step.said) > 1)
    verb, size, *last = steps[i].said[0].split()
    octets = int(size) + hand.choose.choice((-1, -2, 1, 7, 100, -int(size) // 2))
    if octets < 0 or octets == int(size):
        raise Impossible
    said = " ".join((verb, str(octets), *last))
    broken = replace(steps[i], said=(said, *steps[i].said[1:]))
    if octets < int(size):  # the rest is taken for commands
        ends = list(accumulate(len(line.encode()) + 2 for line in steps[i].said[1:]))
        surplus = [line for line, end in zip(steps[i].said[1:], ends, strict=True) if end > octets]
        if any(reference.verb(line.split(" ")[0]) for line in surplus):
            raise Impossible  # which the server would obey
        reply = broken.reply + says(broken, 500, "5.5.2", "Command not recognized") * len(surplus)
        return leaves([*settled(steps, i)[:i], replace(broken, reply=reply)], i), {i}
    gone = like(broken, "close", f"{AS_IS}*: close {hand.of('server', 'client')}", ())
    reply = says(broken, 421, "4.4.2", "Timeout") if hand.choose.random() < 0.5 else ()
    return [*settled(steps, i)[:i], replace(broken, reply=reply, waits=True, events=()), gone], {i, i + 1}
