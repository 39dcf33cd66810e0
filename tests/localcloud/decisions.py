"""The decisions of the local cloud's IAM, in a form that does not change from run to run."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tests.localcloud.policies import Call

# A folder. Each local cloud writes its decisions to a file in it when it ends.
RECORD = "TRIPTYCH_RECORD_DECISIONS"

_MOMENT = "2026-01-01T00:00:00.000"
_CHANGING = (
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), str(uuid.UUID(int=0))),
    (re.compile(r"\b\d{4}-\d{2}-\d{2}T[\d:.]+"), _MOMENT),
    (re.compile(r"(?<=/)\d{4}/\d{2}/\d{2}(?=/)"), "2026/01/01"),
    (re.compile(r"(?<= on )\d{4}-\d{2}-\d{2}\b"), _MOMENT[:10]),
    (re.compile(r"(?<=released )[0-9a-f]+-[0-9a-f]{8}\b"), "0-00000000"),  # a job's entry
    (re.compile(r"(?<=^seat )\d+"), "0"),
    (re.compile(r"(?<=^seat of )[0-9a-f]{64} \d+"), "HASH 0"),
    (re.compile(r"(?<=^durations ).+"), "owner/model"),
    (re.compile(r"(:secret:.+)-\w{6}$"), r"\1-abcdef"),
    # No policy knows an image's number, its prediction, or the type of a file.
    (re.compile(r"(?<=/)\d+(?:\.\w+)*\.\w+$"), "0.png"),
    (re.compile(r"(?<=/)photo(?:-[0-9a-f]{8})?\.\w+$"), "photo.jpg"),
)


@dataclass(frozen=True, order=True)
class Decision:
    """A call under a role, and whether its policies allow it."""

    role: str  # the logical id of the function, or of the role if another service assumes it
    action: str
    resource: str
    keys: tuple[tuple[str, tuple[str, ...]], ...]  # condition keys, with the request's values
    allowed: bool

    @property
    def call(self) -> Call:
        return Call(self.action, self.resource, dict(self.keys))


DECISIONS = TypeAdapter(tuple[Decision, ...])


def normal(text: str) -> str:
    """Replace what differs from run to run: ids of jobs and owners, times, numbers of images, types of files."""
    for pattern, constant in _CHANGING:
        text = pattern.sub(constant, text)
    return text


def decision(role: str, call: Call, *, allowed: bool) -> Decision:
    """Return the decision in its normal form."""
    keys = sorted((key, tuple(map(normal, values))) for key, values in call.keys.items())
    return Decision(role, call.action, normal(call.resource), tuple(keys), allowed)


def write(decisions: Iterable[Decision]) -> None:
    """Write the decisions to a new file in the folder that RECORD names. Without it, do nothing."""
    if folder := os.environ.get(RECORD):
        content = DECISIONS.dump_json(tuple(sorted(set(decisions))))
        Path(folder, f"{uuid.uuid4()}.json").write_bytes(content)
