"""LMTP: one reply a recipient after the end of data (RFC 2033 section 4.2)."""

from __future__ import annotations

import numpy as np

from smtplog.sessions import Sessions


def further_replies(
    sessions: Sessions,
    session: np.ndarray,
    verb: np.ndarray,
    place: np.ndarray,
    answer: np.ndarray,
    first: np.ndarray,
    verbs: list[str],
) -> np.ndarray:
    """How many replies more than one each slot is due, for the sessions whose LHLO was not refused.

    Where the log shows a command after the end of data, the replies between the two belong to it, those aside that were
    still due to earlier commands of its group; where the next command was pipelined, as many as recipients were accepted.
    """
    extra = np.zeros(len(place), np.int64)
    number = {name: i for i, name in enumerate(verbs)}
    ends = [number[name] for name in (".", "BDAT LAST") if name in number]
    replies = first.astype(np.float64)
    said = np.flatnonzero(verb == number["LHLO"])
    refused = (answer[said] >= 0) & (sessions.code[first[answer[said]]] >= 400)
    for one in np.unique(session[said[~refused]]).tolist():
        slots = np.flatnonzero(session == one)
        accepted = due = 0
        heard = int(np.searchsorted(replies, place[slots[0]]))
        last_place = float(np.searchsorted(sessions.session, one, side="right"))
        for i, slot in enumerate(slots.tolist()):
            done = bool(answer[slot] >= 0 and sessions.code[first[answer[slot]]] // 100 == 2)
            if verb[slot] == number.get("MAIL") and done:
                accepted = 0
            elif verb[slot] == number.get("RCPT"):
                accepted += done
            elif verb[slot] in ends:
                after = place[slots[i + 1]] if i + 1 < len(slots) else last_place
                before = int(np.searchsorted(replies, place[slot]))
                came = int(np.searchsorted(replies, after)) - before - max(due - (before - heard), 0)
                extra[slot] = max(came - 1, 0) if came > 0 else max(accepted - 1, 0)
                accepted = 0
            due += 1 + int(extra[slot])
    return extra
