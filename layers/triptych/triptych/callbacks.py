"""Callbacks for single jobs: their secret, their signature and when they are tried again. Nothing here does I/O.

The signature is that of Standard Webhooks, as Replicate's is:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from triptych.job import Job, JobStatus

# Seconds from each failed try to the next one: about a day in all.
WAITS = (5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, *(7200,) * 11)
MOST_TRIES = len(WAITS) + 1  # at a receiver; maxReceiveCount of the queue is higher
LONGEST_URL = 2000  # characters


def secret_of(owner: str, key: str) -> str:
    """Return the secret that an owner's callbacks are signed with. It is made of the stack's key, and stored nowhere."""
    return f"whsec_{base64.b64encode(hmac.digest(key.encode(), owner.encode(), 'sha256')).decode()}"


def event_type(status: JobStatus) -> str:
    """Return the `type` of the body."""
    return f"job.{status.lower()}"


def message_id(job: Job) -> str:
    """Return the id of a job's end. Each try of one callback has the same; after a retry, the job ends with another."""
    return f"{job.job_id}-{round(job.updated_at.timestamp() * 1000)}"


def headers(secret: str, webhook_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers that sign a body.

    Args:
        secret: `whsec_…`.
        webhook_id: The same for each try.
        body: The bytes that are sent.
        now: When they are sent.
    """
    timestamp = str(int(now.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def seconds_to_next(tries: int) -> int:
    """Return the seconds from the failed try number `tries` to the next one. After the last one they hardly matter."""
    return WAITS[min(max(tries, 1), len(WAITS)) - 1]
