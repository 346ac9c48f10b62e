"""Damages: a healthy session broken in one known way, by order, hands, offers and replies.

A damage is a fault by construction: what is legal SMTP (a NOOP dropped, RSET said twice, a recipient named twice) is no
damage and not made here. What the server does about a fault is drawn too: it *takes* the command, or refuses it, and then
the client *leaves*, goes *on* as if nothing had happened, or *retypes* the command. Damages of what one line says are in
:mod:`tests.line_damages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

from tests.perfect import AS_IS, Step

Steps = list[Step]
#: The broken steps, and which of them are the place of the fault.
Broken = tuple[Steps, set[int]]
Damage = Callable[["Hand", Steps], Broken]


class Impossible(Exception):
    """The session has nothing that could be damaged in this way."""


@dataclass(slots=True)
class Hand:
    """The hand that breaks things."""

    choose: Random
    healthy: Steps | None = None  #: what the damage was done to, where that is another session than the one given

    def of(self, *words: str) -> str:
        return self.choose.choice(words)

    def one(self, steps: Steps, *kinds: str, where: Callable[[Step], bool] = lambda step: True) -> int:
        """The index of one of the steps of these kinds."""
        found = [i for i, step in enumerate(steps) if step.kind in kinds and where(step)]
        if not found:
            raise Impossible
        return self.choose.choice(found)


#: kind → damage
DAMAGES: dict[str, Damage] = {}


def damage(kind: str) -> Callable[[Damage], Damage]:
    def register(made: Damage) -> Damage:
        assert kind not in DAMAGES
        DAMAGES[kind] = made
        return made

    return register


# -- what follows a fault


def says(step: Step, code: int, status: str, text: str) -> tuple[str, ...]:
    return (f"{code} {status} {text}" if "ENHANCEDSTATUSCODES" in step.offered else f"{code} {text}",)


def settled(steps: Steps, i: int) -> Steps:
    """The client reads all replies before step i."""
    steps = list(steps)
    if i:
        steps[i - 1] = replace(steps[i - 1], waits=True)
    return steps


def dropped(steps: Steps, i: int) -> Steps:
    steps = settled(steps, i) if steps[i].waits else list(steps)
    return steps[:i] + steps[i + 1 :]


def inserted(steps: Steps, i: int, step: Step) -> Steps:
    steps = settled(steps, i)
    return [*steps[:i], replace(step, waits=True), *steps[i:]]


def like(step: Step, kind: str, said: str | tuple[str, ...], reply: tuple[str, ...]) -> Step:
    """A step in the circumstances of another."""
    return replace(step, kind=kind, said=(said,) if isinstance(said, str) else said, reply=reply, waits=True, events=())


def leaves(steps: Steps, i: int) -> Steps:
    """After step i the client says QUIT."""
    last = steps[i]
    bye = like(last, "quit", "QUIT", says(last, 221, "2.0.0", "Bye"))
    return [*steps[:i], replace(last, waits=True, events=()), bye]


def goes_on(steps: Steps, i: int) -> Steps:
    """After step i the client goes on as if nothing had happened, before a server that knows the order of commands, and
    leaves after this message."""
    if steps[i].kind in ("data", "bdat", "starttls") and not steps[i].accepted:
        return leaves(steps, i)
    done = list(steps[: i + 1])
    lmtp = speaks_lmtp(steps)
    hello, envelope, recipients = False, "", 0
    for step in done:
        hello, envelope = led_to(step, hello, envelope)
        recipients = 0 if step.kind == "mail" else recipients + (step.kind == "rcpt" and step.accepted)
    skipping = "" if steps[i].accepted else OF.get(steps[i].kind, "")
    for step in steps[i + 1 :]:
        if step.kind == skipping:
            continue
        skipping = ""
        needs = {"mail": hello, "auth": hello, "starttls": hello, "rcpt": envelope in ("mail", "rcpt")}
        needs |= {"data": envelope == "rcpt", "bdat": envelope == "rcpt", "etrn": hello}
        if step.accepted and not needs.get(step.kind, True):
            step = replace(step, reply=sequence(step), events=())
            skipping = OF.get(step.kind, "")
        elif lmtp and step.kind in ("text", "bdat") and len(step.reply) > recipients:
            step = replace(step, reply=step.reply[:recipients])
        hello, envelope = led_to(step, hello, envelope)
        recipients = 0 if step.kind == "mail" else recipients + (step.kind == "rcpt" and step.accepted)
        done.append(step)
        if step.kind in ("text", "quit") or (step.kind in ("data", "bdat", "starttls") and skipping):
            break
        if step.kind == "bdat" and "LAST" in step.said[0].upper():
            break
    if done[-1].kind in ("quit", "close"):
        return done
    return leaves(done, len(done) - 1)


def speaks_lmtp(steps: Steps) -> bool:
    return any(step.kind == "hello" and step.said[0].upper().startswith("LHLO") for step in steps)


#: What a client does not send any more where this was refused.
OF = {"data": "text", "auth": "answer", "bdat": "bdat", "starttls": "hello"}


def led_to(step: Step, hello: bool, envelope: str) -> tuple[bool, str]:
    if not step.accepted:
        return hello, "" if step.kind in ("text", "bdat") else envelope
    if step.kind == "hello":
        return True, ""
    if step.kind == "starttls":
        return False, ""
    if step.kind in ("mail", "rcpt"):
        return hello, step.kind
    last = step.kind == "text" or (step.kind == "bdat" and "LAST" in step.said[0].upper())
    return hello, "" if last or step.kind == "rset" else envelope


def wrongly(hand: Hand, steps: Steps, i: int, said: str, code: int, status: str, *ways: str) -> Broken:
    """Step i is said wrongly; what follows is one of ``taken left on retyped``."""
    way = hand.of(*ways)
    if steps[i].kind == "quit" and way == "on":
        way = "left"
    wrong = replace(steps[i], said=(said, *steps[i].said[1:]))
    if way == "taken":
        return [*steps[:i], wrong, *steps[i + 1 :]], {i}
    refused = replace(wrong, reply=says(steps[i], code, status, "Not like this"), events=())
    if refused.kind == "bdat" and way != "taken":
        refused = replace(refused, said=refused.said[:1])
    if way == "retyped":
        return inserted(steps, i, refused), {i}
    broken = [*settled(steps, i)[:i], refused, *steps[i + 1 :]]
    return (leaves(broken, i) if way == "left" else goes_on(broken, i)), {i}


def out_of_place(hand: Hand, steps: Steps, i: int, step: Step) -> Broken:
    """A command that may not stand before step i, refused; the client goes on rightly, or leaves."""
    broken = inserted(steps, i, step)
    return (leaves(broken, i) if hand.choose.random() < 0.3 else broken), {i}


ALL = ("taken", "left", "on", "retyped")
REFUSED = ("left", "on", "retyped")


def ok(step: Step) -> bool:
    return step.accepted


def sequence(step: Step) -> tuple[str, ...]:
    return says(step, 503, "5.5.1", "Bad sequence of commands")


# -- commands dropped


def _missing(hand: Hand, steps: Steps, i: int, *needing: str) -> Broken:
    """Step i is left out; it is seen at the next step of these kinds, which is taken or refused."""
    broken = dropped(steps, i)
    seen = next((j for j in range(i, len(broken)) if broken[j].kind in needing), None)
    if seen is None or not broken[seen].accepted:
        raise Impossible
    if hand.choose.random() < 0.4:
        return broken, {seen}
    refused = replace(broken[seen], reply=sequence(broken[seen]), events=())
    if refused.kind == "bdat":
        refused = replace(refused, said=refused.said[:1])
    skip = {"data": "text", "auth": "answer"}.get(refused.kind)
    rest = broken[seen + 1 :]
    while skip and rest and rest[0].kind == skip:
        rest = rest[1:]
    broken = [*settled(broken, seen)[:seen], refused, *rest]
    return (leaves(broken, seen) if hand.choose.random() < 0.5 else goes_on(broken, seen)), {seen}


@damage("hello dropped")
def hello_dropped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello", where=ok)
    if sum(step.kind == "hello" for step in steps) > 1:
        raise Impossible
    return _missing(hand, steps, i, "mail", "auth", "starttls")


@damage("hello after STARTTLS dropped")
def second_hello_dropped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello", where=lambda step: step.accepted and step.tls)
    if steps[i + 1].kind in ("noop", "rset"):
        raise Impossible
    return _missing(hand, steps, i, "mail", "auth", "vrfy", "help", "expn", "etrn")


@damage("MAIL dropped")
def mail_dropped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", where=ok)
    following = next((step for step in steps[i + 1 :] if step.kind not in ("noop", "vrfy", "help", "expn")), None)
    if following is None or following.kind != "rcpt":
        raise Impossible
    return _missing(hand, steps, i, "rcpt")


@damage("all RCPT dropped")
def recipients_dropped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", where=ok)
    if speaks_lmtp(steps):
        raise Impossible  # replies to nobody would be another fault
    broken = list(steps)
    while i + 1 < len(broken) and broken[i + 1].kind in ("rcpt", "noop", "vrfy", "help", "expn"):
        broken = dropped(broken, i + 1)
    if i + 1 >= len(broken) or broken[i + 1].kind not in ("data", "bdat"):
        raise Impossible
    return _missing(hand, [*broken[: i + 1], broken[i], *broken[i + 1 :]], i + 1, "data", "bdat")


def typed(lines: Iterable[str], step: Step) -> Steps:
    """Lines of text, each refused as a command."""
    return [like(step, "other", line, says(step, 500, "5.5.2", "Command not recognized")) for line in lines]


def _harmless(step: Step) -> list[str]:
    """The header of a text and its dot: nothing that a server would obey."""
    header = [line for line in step.said if ": " in line and not line.startswith(("*", "S:", "C:", "2", "5"))]
    return [*header[:4], "", "."]


@damage("DATA dropped: text typed as commands")
def data_dropped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "data", where=ok)
    rest = typed(_harmless(steps[i + 1]), steps[i])
    broken = [*settled(steps, i)[:i], *rest]
    return leaves(broken, len(broken) - 1), set(range(i, i + len(rest)))


@damage("text sent although DATA was refused")
def data_refused(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "data", where=ok)
    rest = typed(_harmless(steps[i + 1]), steps[i])
    refused = replace(steps[i], reply=says(steps[i], 554, "5.5.1", "No valid recipients"))
    broken = [*steps[:i], refused, *rest]
    return leaves(broken, len(broken) - 1), set(range(i, i + 1 + len(rest)))


@damage("text typed before the 354")
def early_text(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "data", where=ok)
    line = hand.of("Subject: test", "From: ann@example.org", "To: b@example.net")
    return inserted(steps, i, typed([line], steps[i])[0]), {i}


@damage("dot dropped")
def dot_dropped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "text")
    said = (*steps[i].said[:-1], *hand.choose.choice(((), ("QUIT",), (" .",))))
    text = replace(steps[i], said=said, reply=(), waits=True, events=())
    end = like(text, "close", f"{AS_IS}*: close client", ())
    if hand.choose.random() < 0.5:
        text = replace(text, reply=says(text, 421, "4.4.2", "Timeout, closing connection"))
        end = like(text, "close", f"{AS_IS}*: close server", ())
    return [*steps[:i], text, end], {i - 1, i, i + 1}


@damage("QUIT dropped: client hangs up")
def quit_dropped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "quit")
    broken = settled(steps, i)[:i]
    if len(broken) < 2:
        raise Impossible
    return [*broken, like(steps[i], "close", f"{AS_IS}*: close client", ())], {i - 1, i}


@damage("answer to 334 dropped")
def answer_dropped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "answer", where=ok)
    while steps[i].kind == "answer":
        steps = dropped(steps, i)
    if steps[i].kind not in ("mail", "vrfy", "expn"):
        raise Impossible
    refused = replace(steps[i], reply=says(steps[i], 501, "5.5.2", "Cannot decode"), waits=True)
    broken = [*steps[:i], refused, *steps[i + 1 :]]
    return (leaves(broken, i) if hand.choose.random() < 0.5 else goes_on(broken, i)), {i}


# -- commands doubled, swapped, put in


@damage("MAIL doubled")
def mail_doubled(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", where=ok)
    again = replace(steps[i], reply=hand.choose.choice((steps[i].reply, sequence(steps[i]))))
    return inserted(steps, i + 1, again), {i + 1}


@damage("STARTTLS under TLS")
def starttls_doubled(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(
        steps, "mail", "rset", "noop", where=lambda step: step.tls and bool(step.offered) and not step.envelope
    )
    return out_of_place(hand, steps, i, like(steps[i], "starttls", "STARTTLS", sequence(steps[i])))


@damage("AUTH after 235")
def auth_doubled(hand: Hand, steps: Steps) -> Broken:
    done = [i for i, step in enumerate(steps) if step.reply and step.reply[0].startswith("235")]
    if not done or done[0] + 1 >= len(steps):
        raise Impossible
    i = done[0] + 1
    mechanism = next(step.said[0] for step in reversed(steps[:i]) if step.kind == "auth")
    return out_of_place(hand, steps, i, like(steps[i], "auth", mechanism, sequence(steps[i])))


@damage("BDAT LAST doubled")
def last_doubled(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "bdat", where=lambda step: step.accepted and "LAST" in step.said[0].upper())
    return out_of_place(hand, steps, i + 1, like(steps[i], "bdat", "BDAT 0 LAST", sequence(steps[i])))


@damage("QUIT doubled")
def quit_doubled(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "quit")
    return [*steps[: i + 1], like(steps[i], "quit", "QUIT", ())], {i, i + 1}


@damage("command after QUIT")
def after_quit(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "quit")
    more = like(steps[i], "other", hand.of("NOOP", "MAIL FROM:<a@example.org>", "RSET"), ())
    return [*steps[: i + 1], more], {i, i + 1}


@damage("DATA or RCPT after the end of a message")
def envelope_reused(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "text", "bdat", where=lambda step: step.kind == "text" or "LAST" in step.said[0].upper())
    kind = hand.of("data", "rcpt")
    said = "DATA" if kind == "data" else "RCPT TO:<c@example.net>"
    return out_of_place(hand, steps, i + 1, like(steps[i], kind, said, sequence(steps[i])))


@damage("hello inside a transaction")
def hello_inside(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "rcpt", "data", "bdat", where=lambda step: step.envelope != "" and step.accepted)
    first = next(step for step in reversed(steps[:i]) if step.kind == "hello" and step.accepted)
    broken = inserted(steps, i, replace(first, offered=steps[i].offered))
    return (leaves(broken, i) if hand.choose.random() < 0.5 else goes_on(broken, i)), {i, i + 1}


@damage("RCPT and MAIL swapped")
def mail_rcpt_swapped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", where=ok)
    if i + 1 >= len(steps) or steps[i + 1].kind != "rcpt" or not steps[i + 1].accepted:
        raise Impossible
    early = replace(steps[i + 1], reply=hand.choose.choice((steps[i + 1].reply, sequence(steps[i]))), waits=True)
    broken = [*settled(steps, i)[:i], early, replace(steps[i], waits=True), *steps[i + 2 :]]
    return goes_on(broken, i + 1) if not early.accepted else broken, {i, i + 1}


@damage("DATA and RCPT swapped")
def data_rcpt_swapped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "data", where=ok)
    before = [step.kind for step in steps[:i]]
    if before[-2:] != ["mail", "rcpt"]:
        raise Impossible
    early = replace(steps[i], reply=sequence(steps[i]))
    broken = [*settled(steps, i - 1)[: i - 1], early, replace(steps[i - 1], waits=True)]
    return leaves(broken, i), {i - 1}


@damage("MAIL and hello swapped")
def hello_mail_swapped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", where=ok)
    if steps[i - 1].kind != "hello" or not steps[i - 1].accepted or sum(step.kind == "hello" for step in steps) > 1:
        raise Impossible
    early = replace(steps[i], reply=says(steps[i - 1], 503, "5.5.1", "Say hello first"), waits=True, offered=())
    broken = [*steps[: i - 1], early, steps[i - 1], *steps[i + 1 :]]
    return goes_on(broken, i), {i - 1}


@damage("RCPT before MAIL")
def rcpt_first(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail")
    return out_of_place(hand, steps, i, like(steps[i], "rcpt", "RCPT TO:<c@example.net>", sequence(steps[i])))


@damage("DATA before RCPT")
def data_first(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "rcpt", where=lambda step: step.envelope == "mail")
    if any(step.kind == "rcpt" for step in steps[i - 1 : i]):
        raise Impossible
    return out_of_place(hand, steps, i, like(steps[i], "data", "DATA", sequence(steps[i])))


@damage("MAIL inside a transaction")
def mail_inside(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "rcpt", "data", where=lambda step: step.envelope != "")
    return out_of_place(hand, steps, i, like(steps[i], "mail", "MAIL FROM:<c@example.net>", sequence(steps[i])))


@damage("STARTTLS, AUTH or ETRN inside a transaction")
def tls_inside(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "rcpt", "data", where=lambda step: step.envelope != "")
    can = [said for word, said in (("STARTTLS", "STARTTLS"), ("ETRN", "ETRN example.org")) if word in steps[i].offered]
    logged_in = any(step.reply and step.reply[0].startswith("235") for step in steps[:i])
    if "AUTH" in steps[i].offered and not logged_in:
        auth = next((step.said[0] for step in steps if step.kind == "auth"), None)
        can += [auth] if auth else []
    if not can:
        raise Impossible
    said = hand.choose.choice(can)
    return out_of_place(hand, steps, i, like(steps[i], "other", said, sequence(steps[i])))


@damage("DATA after a chunk")
def data_after_chunk(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "bdat", where=ok)
    if steps[i - 1].kind != "bdat" or not steps[i - 1].accepted:
        raise Impossible
    return out_of_place(hand, steps, i, like(steps[i], "data", "DATA", sequence(steps[i])))


@damage("client speaks before the greeting")
def early_talker(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello")
    if i != 1 or not steps[0].said or any("tls" in line for line in steps[0].said):
        raise Impossible
    greeting = replace(steps[0], waits=False)
    return [greeting, *steps[1:]], {0, 1}


@damage("commands after 421")
def after_421(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "noop")
    gone = replace(steps[i], reply=says(steps[i], 421, "4.3.2", "Shutting down"), waits=True)
    more = like(steps[i], "mail", "MAIL FROM:<c@example.net>", ())
    return [*steps[:i], gone, more, like(more, "close", f"{AS_IS}*: close server", ())], {i + 1}


@damage("commands after a refusing greeting")
def after_refusal(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello")
    greeting = replace(steps[0], reply=(hand.of("554 mx.example.net No service here", "521 mx.example.net no mail"),))
    refused = replace(steps[i], reply=("503 Bad sequence of commands",))
    return leaves([greeting, refused], 1), {1}


@damage("LHLO to SMTP or EHLO to LMTP")
def other_hello(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello")
    verb, _, name = steps[i].said[0].partition(" ")
    other = "EHLO" if verb.upper() == "LHLO" else "LHLO"
    return wrongly(hand, steps, i, f"{other} {name}", 500, "5.5.1", "left", "retyped")


# -- slips of the hand


def _any_command(hand: Hand, steps: Steps) -> int:
    return hand.one(steps, "hello", "mail", "rcpt", "data", "rset", "quit", "noop", "vrfy", where=ok)


@damage("backspace in a command")
def backspace(hand: Hand, steps: Steps) -> Broken:
    i = _any_command(hand, steps)
    line = steps[i].said[0]
    if not line.isascii():
        raise Impossible
    at = hand.choose.randrange(1, len(line))
    erase = hand.of("\\x08", "\\x7f")
    line = line.replace("\\", "\\\\")
    return wrongly(hand, steps, i, f"{AS_IS}C!: {line[:at]}z{erase}{line[at:]}\\r\\n", 500, "5.5.2", *REFUSED)


@damage("cursor key in a command")
def cursor_key(hand: Hand, steps: Steps) -> Broken:
    i = _any_command(hand, steps)
    line = steps[i].said[0]
    if not line.isascii():
        raise Impossible
    at = hand.choose.randrange(len(line))
    return wrongly(hand, steps, i, f"{AS_IS}C!: {line[:at]}\\x1b[A{line[at:]}\\r\\n", 500, "5.5.2", *REFUSED)


@damage("Telnet options in a command")
def telnet_options(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello")
    said = f"{AS_IS}C!: \\xff\\xfb\\x1f{steps[i].said[0]}\\r\\n"
    return wrongly(hand, steps, i, said, 500, "5.5.2", *REFUSED)


@damage("verb misspelt")
def misspelt(hand: Hand, steps: Steps) -> Broken:
    i = _any_command(hand, steps)
    verb, blank, rest = steps[i].said[0].partition(" ")
    slip = hand.of("swap", "drop", "double")
    at = hand.choose.randrange(len(verb) - 1)
    if slip == "swap":
        wrong = verb[:at] + verb[at + 1] + verb[at] + verb[at + 2 :]
    else:
        wrong = verb[:at] + (verb[at] * 2 if slip == "double" else "") + verb[at + 1 :]
    if wrong.upper() in (verb.upper(), "HELO", "EHLO", "LHLO"):
        raise Impossible
    return wrongly(hand, steps, i, wrong + blank + rest, 500, "5.5.2", *REFUSED)


@damage("unknown verb")
def unknown(hand: Hand, steps: Steps) -> Broken:
    i = _any_command(hand, steps)
    said = hand.of("FROBNICATE", "PLUGH 1", "GET / HTTP/1.1", "what now")
    return out_of_place(hand, steps, i, like(steps[i], "other", said, says(steps[i], 500, "5.5.2", "What?")))


@damage("empty line")
def empty_line(hand: Hand, steps: Steps) -> Broken:
    i = _any_command(hand, steps)
    return out_of_place(hand, steps, i, like(steps[i], "other", "", says(steps[i], 500, "5.5.2", "What?")))


@damage("wrong word for QUIT")
def wrong_quit(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "quit")
    said = hand.of("exit", "bye", "logout", "close")
    return out_of_place(hand, steps, i, like(steps[i], "other", said, says(steps[i], 500, "5.5.2", "What?")))


@damage("header typed as a command")
def header(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "quit")
    if steps[i - 1].kind == "bdat":
        raise Impossible  # it may be of the chunk
    said = hand.of("Subject: hello", "From: Ann <ann@example.org>", "Date: today")
    return out_of_place(hand, steps, i, like(steps[i], "other", said, says(steps[i], 500, "5.5.2", "What?")))


# -- malformed commands


def envelope_line(hand: Hand, steps: Steps, *kinds: str) -> tuple[int, str, str, str]:
    """A MAIL or RCPT with an ordinary address: its index, ``MAIL FROM:``, the path and the rest."""
    i = hand.one(
        steps,
        *(kinds or ("mail", "rcpt")),
        where=lambda step: step.accepted and "@" in step.said[0] and '"' not in step.said[0],
    )
    line = steps[i].said[0]
    start, end = line.index("<"), line.index(">") + 1
    if "@" not in line[start:end] or not line.isascii():
        raise Impossible
    return i, line[:start], line[start:end], line[end:]


@damage("brackets missing")
def no_brackets(hand: Hand, steps: Steps) -> Broken:
    i, head, path, rest = envelope_line(hand, steps)
    return wrongly(hand, steps, i, head + path[1:-1] + rest, 501, "5.5.4", *ALL)


@damage("one bracket missing")
def half_brackets(hand: Hand, steps: Steps) -> Broken:
    i, head, path, rest = envelope_line(hand, steps)
    return wrongly(hand, steps, i, head + hand.of(path[1:], path[:-1]) + rest, 501, "5.5.4", *REFUSED)


@damage("blank around the colon")
def blank_colon(hand: Hand, steps: Steps) -> Broken:
    i, head, path, rest = envelope_line(hand, steps)
    return wrongly(hand, steps, i, hand.of(head + " ", head[:-1] + " :") + path + rest, 501, "5.5.4", *ALL)


@damage("colon missing")
def no_colon(hand: Hand, steps: Steps) -> Broken:
    i, head, path, rest = envelope_line(hand, steps)
    return wrongly(hand, steps, i, head[:-1] + hand.of(" ", "") + path + rest, 501, "5.5.4", *REFUSED)


@damage("FROM or TO missing")
def no_keyword(hand: Hand, steps: Steps) -> Broken:
    i, head, path, rest = envelope_line(hand, steps)
    return wrongly(hand, steps, i, head[:5] + path + rest, 501, "5.5.4", *REFUSED)


@damage("FROM for TO")
def wrong_keyword(hand: Hand, steps: Steps) -> Broken:
    i, head, path, rest = envelope_line(hand, steps)
    other = "TO:" if head[:4].upper() == "MAIL" else "FROM:"
    return wrongly(hand, steps, i, head[:5] + other + path + rest, 501, "5.5.4", *REFUSED)


@damage("hello without a name")
def nameless(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello", where=ok)
    return wrongly(hand, steps, i, steps[i].said[0].split()[0], 501, "5.5.4", *ALL)


@damage("hello with a bad name")
def bad_name(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello", where=ok)
    name = hand.of("my_pc.example.org", "192.0.2.7", "[192.0.2.300]", "-a.example", "a..example")
    return wrongly(hand, steps, i, f"{steps[i].said[0].split()[0]} {name}", 501, "5.5.4", *ALL)


@damage("argument that must not be")
def argument(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "data", "rset", "quit", where=ok)
    return wrongly(hand, steps, i, f"{steps[i].said[0]} now", 501, "5.5.4", *ALL)


@damage("argument missing")
def argument_missing(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "bdat", "vrfy", where=ok)
    return wrongly(hand, steps, i, steps[i].said[0].split()[0], 501, "5.5.4", *REFUSED)


# -- what was offered and used


def _without_keyword(steps: Steps, i: int, keyword: str) -> Steps:
    """The hello at i no longer offers a keyword."""
    kept = [line for line in steps[i].reply if line[4:].split(" ")[0] != keyword]
    if len(kept) == len(steps[i].reply):
        raise Impossible
    broken = list(steps)
    broken[i] = replace(steps[i], reply=(*(f"{line[:3]}-{line[4:]}" for line in kept[:-1]), f"250 {kept[-1][4:]}"))
    for j in range(i + 1, len(steps)):
        if steps[j].kind == "hello":
            break
        broken[j] = replace(steps[j], offered=tuple(word for word in steps[j].offered if word != keyword))
    return broken


#: keyword → what shows in a line that it is used
USES: dict[str, Callable[[Step], bool]] = {
    "SIZE": lambda step: " SIZE=" in step.said[0],
    "DSN": lambda step: any(word in step.said[0].upper() for word in (" RET=", " ENVID=", " NOTIFY=", " ORCPT=")),
    "8BITMIME": lambda step: " BODY=" in step.said[0].upper() and " BODY=BIN" not in step.said[0].upper(),
    "BINARYMIME": lambda step: " BODY=BIN" in step.said[0].upper(),
    "SMTPUTF8": lambda step: " SMTPUTF8" in step.said[0],
    "DELIVERBY": lambda step: " BY=" in step.said[0],
    "MT-PRIORITY": lambda step: " MT-PRIORITY=" in step.said[0],
    "CHUNKING": lambda step: step.kind == "bdat",
    "STARTTLS": lambda step: step.kind == "starttls",
    "AUTH": lambda step: step.kind == "auth" or " AUTH=" in step.said[0],
    "ETRN": lambda step: step.kind == "etrn",
    "REQUIRETLS": lambda step: " REQUIRETLS" in step.said[0],
}


@damage("keyword removed that is used later")
def keyword_removed(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello", where=ok)
    end = next((j for j in range(i + 1, len(steps)) if steps[j].kind == "hello"), len(steps))
    uses = {
        keyword: [j for j in range(i + 1, end) if steps[j].said and use(steps[j])]
        for keyword, use in USES.items()
        if any(line[4:].split(" ")[0] == keyword for line in steps[i].reply[1:])
    }
    used = [keyword for keyword, at in uses.items() if at]
    # taking those away would be two faults, or none
    needed = {"8BITMIME": {"SMTPUTF8", "BINARYMIME"}, "CHUNKING": {"BINARYMIME"}}
    words = {line[4:].split(" ")[0] for line in steps[i].reply}
    used = [keyword for keyword in used if not needed.get(keyword, set()) & words]
    if not used:
        raise Impossible
    keyword = hand.choose.choice(used)
    return _without_keyword(steps, i, keyword), {uses[keyword][0]}


@damage("PIPELINING removed that is used later")
def pipelining_removed(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello", where=ok)
    end = next((j for j in range(i + 1, len(steps)) if steps[j].kind == "hello"), len(steps))
    uses = [j + 1 for j in range(i + 1, end - 1) if not steps[j].waits]
    if not uses or steps[i].said[0].upper().startswith("LHLO"):
        raise Impossible
    return _without_keyword(steps, i, "PIPELINING"), {uses[0]}


@damage("parameter that was not offered")
def parameter(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", where=ok)
    wanted = {"SIZE": "SIZE=100", "DSN": "RET=HDRS", "8BITMIME": "BODY=8BITMIME", "DELIVERBY": "BY=600;R"}
    if "BINARYMIME" in steps[i].offered:
        del wanted["8BITMIME"]  # which of the two permits BODY=8BITMIME may be argued
    if steps[i].kind == "rcpt":
        wanted = {"DSN": "NOTIFY=NEVER"}
    can = [word for keyword, word in wanted.items() if keyword not in steps[i].offered]
    if not can:
        raise Impossible
    return wrongly(hand, steps, i, f"{steps[i].said[0]} {hand.choose.choice(can)}", 555, "5.5.4", *ALL)


@damage("verb that was not offered")
def verb(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rset", "noop", "quit", where=lambda step: bool(step.offered) and not step.envelope)
    can = [said for word, said in (("STARTTLS", "STARTTLS"), ("AUTH", "AUTH PLAIN"), ("ETRN", "ETRN example.org"))]
    can = [
        said for said in can if said.split()[0] not in steps[i].offered and not (said == "STARTTLS" and steps[i].tls)
    ]
    if not can:
        raise Impossible
    said = hand.choose.choice(can)
    return out_of_place(hand, steps, i, like(steps[i], "other", said, says(steps[i], 502, "5.5.1", "Not implemented")))


@damage("AUTH mechanism that was not offered")
def mechanism(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "auth")
    reply = says(steps[i], 504, "5.5.4", "Unrecognized authentication type")
    return out_of_place(hand, steps, i, like(steps[i], "auth", hand.of("AUTH GSSAPI", "AUTH NTLM"), reply))


@damage("HELO said, extensions used")
def helo_said(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello", where=lambda step: step.accepted and step.said[0].upper().startswith("EHLO"))
    end = next((j for j in range(i + 1, len(steps)) if steps[j].kind == "hello"), len(steps))
    uses = [j for j in range(i + 1, end) if steps[j].said and any(use(steps[j]) for use in USES.values())]
    literal = "[" in steps[i].said[0]  # which HELO must not have
    if literal or not uses or any(not step.waits for step in steps[i:end]):
        raise Impossible
    broken = list(steps)
    broken[i] = replace(steps[i], said=("HELO " + steps[i].said[0][5:],), reply=("250 mx.example.net",))
    return broken, {uses[0]}


@damage("SIZE over the limit")
def too_large(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(
        steps, "mail", where=lambda step: step.accepted and "SIZE" in step.offered and " SIZE=" not in step.said[0]
    )
    hello = next(step for step in reversed(steps[:i]) if step.kind == "hello" and step.accepted)
    if not any(line[4:] == "SIZE 10240000" for line in hello.reply):
        raise Impossible
    return wrongly(hand, steps, i, f"{steps[i].said[0]} SIZE=99999999", 552, "5.3.4", "left", "on", "taken")


@damage("command in one group after one that ends it")
def group_not_ended(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "noop", "vrfy", "hello", where=lambda step: step.accepted and "PIPELINING" in step.offered)
    if i + 1 >= len(steps) or steps[i + 1].kind not in ("mail", "rcpt", "rset", "noop", "vrfy", "quit"):
        raise Impossible
    broken = list(steps)
    broken[i] = replace(steps[i], waits=False)
    return broken, {i + 1}


@damage("BINARYMIME with DATA")
def binary_data(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "data", where=lambda step: step.accepted and "BINARYMIME" in step.offered)
    mail = max(j for j in range(i) if steps[j].kind == "mail")
    if " BODY=" in steps[mail].said[0].upper():
        raise Impossible
    broken = list(steps)
    broken[mail] = replace(steps[mail], said=(f"{steps[mail].said[0]} BODY=BINARYMIME",))
    return broken, {i, mail}


# -- replies


@damage("reply of a wrong class")
def wrong_class(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "data", "rset", where=lambda step: step.accepted and step.waits)
    code = "250" if steps[i].kind == "data" else hand.of("354", "334")
    broken = [*steps[:i], replace(steps[i], reply=(f"{code} Go ahead",))]
    if steps[i].kind == "data":
        broken[i] = replace(broken[i], reply=says(steps[i], 250, "2.0.0", "Ok"))
        return leaves(broken, i), {i}
    return leaves(broken, i), {i}


@damage("reply code out of range")
def out_of_range(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "rset", "noop", where=ok)
    reply = steps[i].reply[0]
    return [*steps[:i], replace(steps[i], reply=(hand.of("150", "650", "260", "999") + reply[3:],)), *steps[i + 1 :]], {
        i
    }


@damage("reply without a code")
def no_code(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "rset", "noop", where=lambda step: step.accepted and step.waits)
    return leaves([*settled(steps, i)[:i], replace(steps[i], reply=("Everything is fine",))], i), {i, i + 1}


@damage("reply with two codes")
def two_codes(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "hello", where=lambda step: len(step.reply) > 2)
    at = hand.choose.randrange(1, len(steps[i].reply) - 1)
    reply = [*steps[i].reply[:at], "251" + steps[i].reply[at][3:], *steps[i].reply[at + 1 :]]
    return [*steps[:i], replace(steps[i], reply=tuple(reply)), *steps[i + 1 :]], {i}


@damage("reply that never ends")
def never_ends(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "rset", "hello", where=lambda step: step.accepted and step.waits)
    if i + 1 == len(steps):
        raise Impossible  # cut, as any log may be
    reply = steps[i].reply
    return [*steps[:i], replace(steps[i], reply=(*reply[:-1], f"{reply[-1][:3]}-{reply[-1][4:]}")), *steps[i + 1 :]], {
        i
    }


@damage("greeting with another code")
def bad_greeting(hand: Hand, steps: Steps) -> Broken:
    if len(steps[0].reply) > 1 or not steps[0].reply[0].startswith("220") or not steps[0].said:
        raise Impossible  # or the log may begin in mid-session
    return [replace(steps[0], reply=(hand.of("250", "200", "221") + steps[0].reply[0][3:],)), *steps[1:]], {0}


@damage("status code of another class")
def other_class(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "text", "quit", where=lambda step: "ENHANCEDSTATUSCODES" in step.offered)
    reply = steps[i].reply[-1]
    if reply[4:6] not in ("2.", "4.", "5."):
        raise Impossible
    wrong = reply[:4] + {"2": "5", "4": "2", "5": "2"}[reply[4]] + reply[5:]
    return [*steps[:i], replace(steps[i], reply=(*steps[i].reply[:-1], wrong)), *steps[i + 1 :]], {i}


@damage("QUIT not answered with 221")
def quit_refused(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "quit")
    return [*steps[:i], replace(steps[i], reply=says(steps[i], 250, "2.0.0", "Ok")), *steps[i + 1 :]], {i}


@damage("required command not known")
def required_unknown(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "noop", "rset", "mail", "rcpt", where=lambda step: step.accepted and step.waits)
    if not steps[i].said[0].isascii():
        raise Impossible  # it may be the letters that the server does not know
    refused = replace(steps[i], reply=says(steps[i], 502, "5.5.1", "Command not implemented"))
    return leaves([*steps[:i], refused], i), {i}


@damage("reply doubled")
def reply_doubled(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "rset", "noop", "vrfy", where=lambda step: step.accepted and step.waits)
    if not steps[i - 1].waits:
        raise Impossible
    return [*steps[:i], replace(steps[i], reply=steps[i].reply * 2), *steps[i + 1 :]], {i, i + 1}


@damage("reply dropped, connection closed")
def reply_dropped(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "rset", "text", "data", "bdat", "hello", where=ok)
    end = like(steps[i], "close", f"{AS_IS}{hand.of('*: close server', '*: close client')}", ())
    return [*settled(steps, i)[:i], replace(steps[i], reply=(), waits=True, events=()), end], {i, i + 1}


@damage("reply dropped inside a session")
def reply_lost(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "rset", where=lambda step: step.accepted and "PIPELINING" not in step.offered)
    if i + 1 >= len(steps) or any(not step.waits for step in steps):
        raise Impossible
    return [*steps[:i], replace(steps[i], reply=(), events=()), *steps[i + 1 :]], {i, i + 1}


@damage("server hangs up")
def server_hangs_up(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "mail", "rcpt", "hello", "rset", "noop", where=lambda step: step.accepted and step.waits)
    return [*steps[: i + 1], like(steps[i], "close", f"{AS_IS}*: close server", ())], {i, i + 1}


@damage("LMTP: a reply too many or too few")
def lmtp_count(hand: Hand, steps: Steps) -> Broken:
    i = hand.one(steps, "text", "bdat", where=lambda step: bool(step.reply) and step.waits)
    last = steps[i].kind == "text" or "LAST" in steps[i].said[0].upper()
    if not last or not any(step.kind == "hello" and step.said[0].upper().startswith("LHLO") for step in steps):
        raise Impossible
    reply = steps[i].reply + steps[i].reply[-1:] if hand.choose.random() < 0.5 else steps[i].reply[:-1]
    if not reply or not steps[i - 1].waits:
        raise Impossible
    return [*steps[:i], replace(steps[i], reply=reply), *steps[i + 1 :]], {i}


@damage("log-in in clear")
def login_in_clear(hand: Hand, steps: Steps) -> Broken:
    # where STARTTLS was offered, not to use it is a fault of its own
    i = hand.one(
        steps,
        "mail",
        where=lambda step: bool(step.offered) and not step.tls and not {"AUTH", "STARTTLS"} & set(step.offered),
    )
    hello = max(j for j in range(i) if steps[j].kind == "hello")
    if "SMTP" not in "".join(steps[0].reply):
        raise Impossible
    hand.healthy = list(steps)
    first, *rest = steps[hello].reply
    offer = (f"250-{first[4:]}", "250-AUTH PLAIN", *rest) if rest else (f"250-{first[4:]}", "250 AUTH PLAIN")
    hand.healthy[hello] = replace(steps[hello], reply=offer)
    done = says(steps[i], 235, "2.7.0", "Authentication successful")
    return inserted(hand.healthy, i, like(steps[i], "auth", "AUTH PLAIN AGFubgBzM2NyZXQ=", done)), {i}
