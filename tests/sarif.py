"""The parts of SARIF 2.1.0 that smtplog writes, as a JSON schema stricter than the standard's: no other property passes.

Written from the sections of the specification that are named in brackets.
"""

from __future__ import annotations

from typing import Any


def closed(required: str, **properties: Any) -> dict[str, Any]:
    """An object with these properties and no others; the required ones by their names."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def listed(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


TEXT = {"type": "string", "minLength": 1}
LINE = {"type": "integer", "minimum": 1}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
BAG = {"type": "object", "properties": {"tags": listed(TEXT, uniqueItems=True)}}  # 3.8
MESSAGE = closed("text", text=TEXT)  # 3.11
MULTIFORMAT = closed("text", text=TEXT, markdown=TEXT)  # 3.12

REGION = closed(  # 3.30
    "startLine",
    startLine=LINE,
    endLine=LINE,
    startColumn=LINE,
    snippet=closed("text", text={"type": "string"}, rendered=MULTIFORMAT),  # 3.3
)
URI = {"type": "string", "pattern": r"^(?:[A-Za-z0-9\-._~/]|%[0-9A-F]{2})+$|^file:///"}  # 3.4.3, RFC 3986
PHYSICAL = closed("artifactLocation region", artifactLocation=closed("uri", uri=URI), region=REGION)  # 3.29
RESULT = closed(  # 3.27
    "ruleId ruleIndex level message locations partialFingerprints",
    ruleId=TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    level=LEVEL,
    message=MESSAGE,
    locations=listed(closed("physicalLocation", physicalLocation=PHYSICAL), minItems=1),
    partialFingerprints={"type": "object", "additionalProperties": TEXT, "minProperties": 1},
    properties=BAG,
)
DESCRIPTOR = closed(  # 3.49
    "id shortDescription",
    id=TEXT,
    name=TEXT,
    shortDescription=MULTIFORMAT,
    fullDescription=MULTIFORMAT,
    help=MULTIFORMAT,
    helpUri={"type": "string", "pattern": "^https://"},
    defaultConfiguration=closed("level", level=LEVEL),  # 3.50
    properties=BAG,
)
DRIVER = closed(  # 3.19
    "name semanticVersion rules",
    name=TEXT,
    semanticVersion={"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+"},
    rules=listed(DESCRIPTOR, uniqueItems=True),
)
INVOCATION = closed(  # 3.20
    "executionSuccessful",
    executionSuccessful={"type": "boolean"},
    toolExecutionNotifications=listed(closed("level message", level=LEVEL, message=MESSAGE)),  # 3.58
)
RUN = closed(  # 3.14
    "tool results",
    tool=closed("driver", driver=DRIVER),
    columnKind={"const": "unicodeCodePoints"},
    results=listed(RESULT),
    invocations=listed(INVOCATION),
)
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    **closed(  # 3.13
        "version runs",
        **{"$schema": {"type": "string", "format": "uri"}},
        version={"const": "2.1.0"},
        runs=listed(RUN, minItems=1),
    ),
}
