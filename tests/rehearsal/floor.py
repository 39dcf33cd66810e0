"""The requests that the functions make for one job on MiniStack, from CloudTrail, beside those of prices.toml."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.benchmarks import _prices

if TYPE_CHECKING:
    from tests.rehearsal.ministack import Ministack

# By CloudTrail's name: the names in prices.toml. CloudTrail does not say whether a URL was presigned.
NAMES = {
    "GetItem": ("DynamoDB GetItem",),
    "PutItem": ("DynamoDB PutItem",),
    "TransactWriteItems": ("DynamoDB TransactWriteItems",),
    "GetObject": ("S3 GetObject", "S3 GetObject by Replicate"),
    "PutObject": ("S3 PutObject", "S3 PutObject by the client", "S3 PutObject of a preview"),
    "SendMessage": ("SQS SendMessage",),
    "PutEvents": ("EventBridge PutEvents",),
}
NAMELESS = {"GetObject", "PutObject", "TransactWriteItems"}
OPERATOR = "test"  # the access key of the account's root. Functions and presigned URLs have others.
FIRST_LOOK = 60  # seconds, until the watchdog looks at a job
IMAGES = 3  # of a job, and webhooks if none is sent again
MOST_RACES = 2  # of three webhooks
PATIENCE = 100  # seconds, until the end of a job is announced


def counted(cloud: Ministack, job_id: str, since: float) -> Counter[str]:
    """Return the requests for a job since a moment, by CloudTrail's name. No job makes more than fifty of one name.

    The requests to S3 and the transactions do not name the job, so no other job may make any meanwhile.
    """
    trail = cloud.client("cloudtrail")
    found: Counter[str] = Counter()
    for name in NAMES:
        events = trail.lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}])
        found[name] = sum(
            one["EventTime"].timestamp() >= since
            and one["AccessKeyId"] != OPERATOR
            and (name in NAMELESS or job_id in one["CloudTrailEvent"])
            for one in events["Events"]
        )
    return found


def until_announced(cloud: Ministack, job_id: str, since: float) -> Counter[str]:
    """Wait until the end of a job is announced; return its requests."""
    end = time.monotonic() + PATIENCE
    while True:
        found = counted(cloud, job_id, since)
        if (found["PutEvents"] and found["TransactWriteItems"] > 1) or time.monotonic() > end:
            return found
        time.sleep(0.5)  # there is no event to wait for


def allowed() -> dict[str, int]:
    """Return the requests of a job until its end is announced, before the watchdog's look."""
    budget = _prices.budget()
    most = {name: sum(budget[one] for one in names) for name, names in NAMES.items()}
    return {**most, "GetItem": most["GetItem"] - 1}


def surplus(found: Counter[str], *, seconds: float, webhooks: int) -> dict[str, int]:
    """Return what is more or less than allowed for a job that took so many seconds and received so many webhooks.

    If two webhooks race, the loser reads and writes once more. On a loaded machine Replicate may send a webhook again,
    which reads the job and may copy the output once more. And the watchdog may look at a job that is not done: it reads
    the job and sends its next message.
    """
    extra = Counter({name: found[name] - count for name, count in allowed().items()})
    looks, races, copies = extra["SendMessage"], extra["PutItem"], extra["PutObject"]
    again = webhooks - IMAGES
    if 0 <= looks <= seconds // FIRST_LOOK and 0 <= races <= again + MOST_RACES and 0 <= copies <= again:
        extra.subtract({"SendMessage": looks, "PutItem": races, "PutObject": copies})
        extra["GetItem"] -= looks + races + again
    return {name: number for name, number in extra.items() if number}
