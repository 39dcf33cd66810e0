"""The ids of jobs: their form, and the id that an idempotency key stands for."""

from __future__ import annotations

import hashlib
import re
import uuid

PATTERN = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
KEYED_VERSION = 8  # RFC 9562 reserves version 8 for ids of an application's own making
# The bits of a UUID's version and of its variant, and those of a keyed id. Strict validators check both.
MARKS = 0xF << 76 | 0b11 << 62
KEYED_MARKS = KEYED_VERSION << 76 | 0b10 << 62


def is_job_id(text: str) -> bool:
    """Return whether `text` has the form of a job's id."""
    return re.fullmatch(PATTERN, text) is not None


def keyed(stack: str, owner: str, idempotency_key: str) -> str:
    """Return the id for this owner and key. It is always the same, so that one conditional write decides.

    Args:
        stack: A name that no other stack has. Stacks may share owners, keys, and Replicate's list of predictions.
        owner: Whose job it is.
        idempotency_key: The client's key.
    """
    text = f"{stack}:{len(owner)}:{owner}{idempotency_key}"
    digest = hashlib.sha256(text.encode()).digest()
    return str(uuid.UUID(int=int.from_bytes(digest[:16]) & ~MARKS | KEYED_MARKS))


def is_keyed(job_id: str) -> bool:
    """Return whether the id comes from an idempotency key, which can produce the same id again."""
    return uuid.UUID(job_id).int >> 76 & 0xF == KEYED_VERSION
