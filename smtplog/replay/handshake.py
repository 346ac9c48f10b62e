"""The handshake of TLS in a session, at either end."""

from __future__ import annotations

from smtplog.replay.acts import Side, StartTLS
from smtplog.replay.framing import TroubleError
from smtplog.replay.recording import Recording
from smtplog.replay.standing import Standing


def handshake(recording: Recording, standing: Standing) -> Side:
    """TLS, now; whoever asks for it throws away what came before it (RFC 3207 section 6). Raises TroubleError where it
    fails."""
    try:
        yield StartTLS()
    except TroubleError:
        recording.event("tls failed")
        raise
    standing.tls = True
    recording.event("tls ok")
