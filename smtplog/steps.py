"""The steps of a session in words: what each is called, what its reply says, how it ended."""

from __future__ import annotations

from smtplog import negotiated, reference
from smtplog.model import Dialog, Exchange, Reply

_STEPS = {
    "EHLO": "Hello",
    "HELO": "Hello",
    "LHLO": "Hello",
    "MAIL": "Sender",
    "RCPT": "Recipient",
    "DATA": "Start of message",
    ".": "End of message",
    "BDAT": "Message chunk",
    "STARTTLS": "Encryption",
    "AUTH": "Log in",
    "AUTH-RESPONSE": "Log in",
    "RSET": "Reset",
    "QUIT": "Good-bye",
    "VRFY": "Verify",
    "EXPN": "Expand",
    "NOOP": "No operation",
    "HELP": "Help",
}
#: What a success means at each step.
_SUCCESS = {
    "Connect": "the server is ready",
    "EHLO": "the server says hello and lists what it can do",
    "HELO": "the server says hello",
    "LHLO": "the server says hello and lists what it can do",
    "MAIL": "the sender is accepted",
    "RCPT": "the recipient is accepted",
    "DATA": "the server waits for the text",
    ".": "the server has taken the message",
    "BDAT": "the chunk is taken",
    "STARTTLS": "encryption may begin",
    "AUTH": "logged in",
    "AUTH-RESPONSE": "logged in",
    "RSET": "the transaction is dropped",
    "QUIT": "the server says good-bye",
}
_OUTCOMES = {
    "delivered": ("green", "The message was accepted"),
    "partial": ("yellow", "The message was accepted for some recipients only"),
    "rejected": ("red", "The server refused"),
    "deferred": ("yellow", "The server put it off; try again later"),
    "aborted": ("yellow", "No message was sent"),
    "unknown": ("yellow", "The log does not show how it ended"),
}
_ENDS = {
    "quit": "the session ended with QUIT",
    "closed-by-server": "the server closed the connection",
    "closed-by-client": "the client closed the connection without QUIT",
    "timeout": "the session ended by time-out",
    "truncated": "the log stops before the end of the session",
}


def name_of(exchange: Exchange) -> str:
    """What a step is called: ``Hello``, ``Sender`` …"""
    return _STEPS.get(exchange.verb, "Unasked" if exchange.command is None else "Command")


def outcome(dialog: Dialog) -> tuple[str, str]:
    """How a session came out, in a sentence; and its colour."""
    colour, words = _OUTCOMES[dialog.outcome]
    done = next((t for t in dialog.transactions if t.outcome in ("delivered", "partial")), None)
    if done and done.queue_id:
        words += f" (queue id {done.queue_id})"
    return f"{words}; {_ENDS[dialog.end]}.", colour


def in_words(reply: Reply | None, verb: str) -> str:
    """What a reply says to this step; the verb of the connection is ``Connect``."""
    if reply is None:
        return "no reply in the log"
    if reply.code == 334:
        return "the server asks for the next answer"
    if reply.severity == 2 and verb in _SUCCESS:
        return "not local, will be forwarded" if reply.code == 251 else _SUCCESS[verb]
    if reply.code == 354 and verb == "DATA":
        return _SUCCESS[verb]
    words = reference.meaning(reply.code)
    row = reference.enhanced(reply.enhanced) if reply.enhanced else None
    if row is not None and reply.severity >= 4 and not row["code"].endswith(".0"):
        words = row["title"]
    if reply.severity >= 4:
        situation = next(iter(reference.situations(" ".join(reply.text))), None)
        words = situation["situation"] + ": " + words if situation is not None else words
    return words


def refusal(reply: Reply) -> tuple[str, str]:
    """What a refusal means, and what to do; both empty where nothing is known of it."""
    row = reference.reply_code(reply.code)
    situations = reference.situations(" ".join(reply.text))
    status = reference.enhanced(reply.enhanced) if reply.enhanced else None
    kind = "a temporary refusal" if reply.severity == 4 else "a permanent refusal"
    if situations:
        return f"{kind}: {situations[0]['explanation']}", situations[0]["next"]
    if status is not None and not status["code"].endswith(".0"):
        return f"{kind}: {status['description']}", status["advice"]
    return (f"{kind}: {row['meaning']}.", row["next"]) if row is not None else ("", "")


def answers(dialog: Dialog) -> dict[str, str]:
    """Each step of a session and its answer, code and enhanced code; what EHLO offers, keyword by keyword."""
    found: dict[str, str] = {}
    if dialog.greeting is not None:
        found["Connect"] = _short(dialog.greeting)
    for exchange in dialog.exchanges:
        command = exchange.command if exchange.verb not in ("AUTH", "AUTH-RESPONSE", ".") else exchange.verb
        name = step = f"{name_of(exchange)} {command or ''}".strip()
        again = 2
        while name in found:
            name, again = f"{step} ({again})", again + 1
        found[name] = _short(exchange.reply)
        if exchange.reply is not None and exchange.verb in ("EHLO", "LHLO") and exchange.severity == 2:
            for keyword, parameters in negotiated.keywords(exchange.reply.text).items():
                found[f"{name} offers {keyword}"] = parameters or "yes"
    return found


def _short(reply: Reply | None) -> str:
    return "no reply" if reply is None else f"{reply.code} {reply.enhanced or ''}".strip()
