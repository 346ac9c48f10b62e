"""Sessions as a busy server sees them, from a seed: what is said, not how a log writes it.

One to five transactions of one to fifty recipients (geometric), a tenth of the answers to RCPT and to the message a refusal of
one of five kinds, 200,000 addresses; 5 % of the sessions pipelined, 2 % with AUTH, 3 % cut.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

ADDRESSES = 200_000
INTERLEAVED = 20
MEAN_RECIPIENTS = 4.0
PIPELINED, AUTH, CUT, REFUSED = 0.05, 0.02, 0.03, 0.10


@dataclass(frozen=True)
class Wording:
    """How a server puts it; ``{}`` stands for the recipient."""

    greeting: str
    hello: tuple[str, ...]  #: the lines of the reply to EHLO
    sender: str
    recipient: str
    data: str
    queued: Callable[[Random], str]
    bye: str
    auth: tuple[str, str, str]  #: the two challenges of LOGIN, and success
    refusals: tuple[tuple[int, str], ...]  #: four of a recipient
    content: tuple[int, str]  #: the fifth: of the message
    nobody: tuple[int, str]  #: DATA without a recipient


@dataclass(frozen=True, slots=True)
class Step:
    """A command and its reply. ``kind``: greeting hello auth mail rcpt data end rset quit."""

    kind: str
    command: str | None  #: None where no log has a line for it
    code: int
    lines: tuple[str, ...]


@dataclass(slots=True)
class Session:
    """Steps in groups: the commands of one group are sent together, then come its replies."""

    groups: list[list[Step]]
    cut: str = ""  #: ``lost``: the connection broke, and the log says so; ``stops``: the log says no more


@dataclass
class Count:
    """What was generated."""

    sessions: int = 0
    commands: set[int] = field(default_factory=set)  #: hashes of the distinct command lines
    addresses: set[int] = field(default_factory=set)
    sequences: Counter[int] = field(default_factory=Counter)  #: hashes of the token sequences

    def add(self, session: Session) -> None:
        """Count a session."""
        self.sessions += 1
        tokens: list[tuple[str, int]] = []
        for group in session.groups:
            for step in group:
                tokens.append((step.kind, step.code))
                if step.command is not None:
                    self.commands.add(hash(step.command))
        self.sequences[hash(tuple(tokens))] += 1

    @property
    def alone(self) -> float:
        """Share of the sessions whose sequence of verbs and reply codes no other session has."""
        return sum(n == 1 for n in self.sequences.values()) / max(self.sessions, 1)

    def __str__(self) -> str:
        return (
            f"{self.sessions:,} dialogs, {len(self.addresses):,} addresses, {len(self.commands):,} distinct command lines, "
            f"{len(self.sequences):,} distinct sequences, {self.alone:.1%} of the dialogs have one that no other has"
        )


def address(number: int) -> str:
    """One of the addresses."""
    return f"{_GIVEN[number % 20]}.{_FAMILY[number // 20 % 20]}{number // 400}@{_DOMAINS[number % 37]}"


_GIVEN = (
    "ada",
    "ben",
    "cleo",
    "dora",
    "emil",
    "fay",
    "gus",
    "hana",
    "igor",
    "june",
    "karl",
    "lena",
    "max",
    "nora",
    "otto",
    "pia",
    "quinn",
    "rosa",
    "sven",
    "tess",
)
_FAMILY = (
    "abel",
    "berg",
    "cole",
    "dahl",
    "eder",
    "frey",
    "gold",
    "hart",
    "iver",
    "jung",
    "kern",
    "lind",
    "marsh",
    "noll",
    "oder",
    "pohl",
    "quast",
    "reed",
    "stahl",
    "thorn",
)
_DOMAINS = [f"{name}.example" for name in _FAMILY] + [f"{name}.example.net" for name in _GIVEN[:17]]


class Traffic:
    """An endless supply of sessions."""

    def __init__(self, wording: Wording, random: Random) -> None:
        self.wording, self.random, self.count = wording, random, Count()

    def session(self) -> Session:
        """The next one."""
        random = self.random
        pipelined = random.random() < PIPELINED
        groups = [[Step("greeting", None, 220, (self.wording.greeting,))]]
        groups.append([Step("hello", f"EHLO host{random.randrange(5000)}.example.org", 250, self.wording.hello)])
        if random.random() < AUTH:
            groups += self._auth()
        for _ in range(random.randint(1, 5)):
            groups += self._transaction(pipelined)
        groups.append([Step("quit", "QUIT", 221, (self.wording.bye,))])
        session = Session(groups)
        if random.random() < CUT:
            del groups[random.randint(2, len(groups) - 1) :]
            session.cut = random.choice(("lost", "lost", "stops"))
        self.count.add(session)
        return session

    def _auth(self) -> list[list[Step]]:
        first, second, done = self.wording.auth
        name, secret = (f"{self.random.getrandbits(64):016x}" for _ in range(2))
        return [
            [Step("auth", "AUTH LOGIN", 334, (first,))],
            [Step("answer", name, 334, (second,))],
            [Step("answer", secret, 235, (done,))],
        ]

    def _address(self) -> str:
        number = self.random.randrange(ADDRESSES)
        self.count.addresses.add(number)
        return address(number)

    def _recipient(self) -> Step:
        random, wording, to = self.random, self.wording, self._address()
        code, text = (250, wording.recipient)
        if random.random() < REFUSED:
            code, text = random.choice(wording.refusals)
        parameters = " NOTIFY=SUCCESS,FAILURE" if random.random() < 0.05 else ""
        return Step("rcpt", f"RCPT TO:<{to}>{parameters}", code, (text.format(to),))

    def _transaction(self, pipelined: bool) -> list[list[Step]]:
        random, wording = self.random, self.wording
        size = f" SIZE={random.randrange(600, 900_000)}" if random.random() < 0.6 else ""
        mail = Step("mail", f"MAIL FROM:<{self._address()}>{size}", 250, (wording.sender,))
        wanted = 1 + int(math.log(1 - random.random()) / math.log(1 - 1 / MEAN_RECIPIENTS))
        recipients = [self._recipient() for _ in range(min(wanted, 50))]
        accepted = any(step.code == 250 for step in recipients)
        if accepted:
            data = Step("data", "DATA", 354, (wording.data,))
        else:
            data = Step("data", "DATA", wording.nobody[0], (wording.nobody[1],))
        end = Step("end", None, 250, (wording.queued(random),))
        if random.random() < REFUSED / 2:
            end = Step("end", None, wording.content[0], (wording.content[1],))
        if pipelined:
            return [[mail, *recipients, data], *([[end]] if accepted else [])]
        if not accepted:
            return [[mail], *([step] for step in recipients), [Step("rset", "RSET", 250, (wording.sender,))]]
        return [[mail], *([step] for step in recipients), [data], [end]]
