"""What only an operator sees of a job: the bucket, the table, the logs and the count of a user's day."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from botocore.exceptions import ClientError

from tests.deployed.scenarios import expect, must
from tests.deployed.stack import FOLDERS
from tests.deployed.verdict import NotJudgedError, ProblemError
from tests.support.client import JOBS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from tests.deployed.stack import Stack
    from tests.deployed.user import User
    from tests.support.client import Client

CLOCK_SECONDS = 60  # by which this machine's clock may differ from AWS's
LOG_SECONDS = 60  # until CloudWatch shows a line; usually a few
# What may not be in a log, and a part of it.
SECRETS = {
    "a presigned URL": "X-Amz-Signature",
    "a session token": "X-Amz-Security-Token",
    "the signing secret": "whsec_",
    "an Authorization header": "Bearer ",
}


def nothing_is_left(stack: Stack, job_id: str) -> str:
    """Check that neither the bucket nor the table holds anything of a deleted job."""
    for folder in FOLDERS:
        found = stack.client("s3").list_objects_v2(
            Bucket=stack.outputs["Bucket"], Prefix=f"{folder}/{job_id}/"
        )
        keys = [one["Key"] for one in found.get("Contents", [])]
        must(not keys, f"The deletion left {', '.join(keys)}.")
    item = stack.client("dynamodb").get_item(
        TableName=stack.outputs["Table"], Key={"job_id": {"S": job_id}}, ConsistentRead=True
    )
    # A job with an idempotency key leaves an item without an owner, so that the key is not used again.
    must("owner" not in item.get("Item", {}), f"The table still holds job {job_id}.")
    return "nothing in the bucket and in the table"


def bucket_is_closed(stack: Stack) -> str:
    """Check the block of public access."""
    found = stack.client("s3").get_public_access_block(Bucket=stack.outputs["Bucket"])
    opened = [name for name, is_on in found["PublicAccessBlockConfiguration"].items() if not is_on]
    must(not opened, f"The bucket may become public: {', '.join(opened)} is off. Deploy again.")
    return "the bucket blocks public access"


def bucket_has_cors_rules(stack: Stack, origins: Collection[str]) -> str:
    """Check that a rule of the bucket lets a browser on each origin upload. An emulator may permit more than its rules."""
    if not origins:
        raise NotJudgedError("No browser may upload: AllowedOrigins is empty, and ServePage is false.")
    s3 = stack.client("s3")
    try:
        rules = s3.get_bucket_cors(Bucket=stack.outputs["Bucket"])["CORSRules"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchCORSConfiguration":
            raise
        raise ProblemError("CORS: the bucket has no rules, so no page can upload. Deploy again.") from None
    patterns = [one for rule in rules if "PUT" in rule["AllowedMethods"] for one in rule["AllowedOrigins"]]
    for origin in origins:
        must(
            any(fnmatchcase(origin, pattern) for pattern in patterns),
            f"CORS: no rule of the bucket permits an upload from {origin}. Check AllowedOrigins and deploy again.",
        )
    return f"{len(rules)} rules"


# ── the logs ──


def lines_since(stack: Stack, started: float, pattern: str = "") -> list[str]:
    pages = stack.client("logs").get_paginator("filter_log_events")
    options = {"filterPattern": pattern} if pattern else {}
    found = pages.paginate(
        logGroupName=stack.outputs["LogGroup"], startTime=int((started - CLOCK_SECONDS) * 1000), **options
    )
    return [event["message"] for page in found for event in page["events"]]


def logs_hold_no_secret(stack: Stack, started: float, job_id: str, secrets: Mapping[str, str]) -> str:
    """Wait for the log lines of a job; check that no line since `started` holds a URL's signature or a token."""
    give_up_at = time.monotonic() + LOG_SECONDS
    lines = lines_since(stack, started)
    while not any(job_id in line for line in lines):
        must(
            time.monotonic() < give_up_at,
            f"{stack.outputs['LogGroup']} has no line about job {job_id} after {LOG_SECONDS} s. "
            "Check the roles' permission to write logs.",
        )
        time.sleep(2)  # there is no event to wait for
        lines = lines_since(stack, started)
    for what, secret in {**SECRETS, **secrets}.items():
        found = sum(secret in line for line in lines)
        must(not found, f"{found} log lines hold {what}. Report it, and delete the log streams.")
    return f"{len(lines)} lines, none with a signature, a token or a prompt"


def why(stack: Stack, started: float) -> str:
    """Return the newest error in the log, to explain what the API only calls an error."""
    lines = [line for word in ("ERROR", "Traceback", "Runtime") for line in lines_since(stack, started, word)]
    return f" The log says: {lines[-1].strip()[:400]}" if lines else ""


# ── the daily limit ──


def full_day_is_refused(stack: Stack, client: Client, user: User) -> str:
    """Set the temporary user's count of today to the limit; check that another job is refused.

    Ordering that many pictures would take as many requests. The count is removed at the end.
    """
    limit = stack.number("DailyPicturesPerOwner")
    if not limit:
        raise NotJudgedError("DailyPicturesPerOwner is 0.")
    if not user.email:
        raise NotJudgedError("The token's owner is not a temporary user, whose count may be changed.")
    with _full(stack, user.owner, limit) as seconds:
        answer = client.request("POST", JOBS, json={"content_type": "image/jpeg", "content_length": 1})
        expect(answer, 429, f"Picture {limit + 1} of a day")
        code = answer.json()["error"]["code"]
        must(code == "daily_limit_reached", f"The refusal's code is {code}.")
        after = int(answer.headers.get("retry-after", "0"))
        must(abs(after - seconds) < 60, f"Retry-After is {after} s, but the day ends in {seconds} s.")
    return f"429 after {limit} pictures, Retry-After {after} s"


@contextmanager
def _full(stack: Stack, owner: str, limit: int) -> Iterator[int]:
    """Keep the owner's days full, today's and, near midnight, tomorrow's; yield the seconds of today that are left."""
    here = datetime.now(ZoneInfo(stack.parameters["TimeZone"]))
    tomorrow = (here + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    days = {day.isoformat(): {"N": str(limit)} for day in (here.date(), tomorrow.date())}
    spent = {**_spent(owner), **days, "expires_at": {"N": str(int(time.time()) + 86400)}}
    stack.client("dynamodb").put_item(TableName=stack.outputs["Table"], Item=spent)
    try:
        yield int((tomorrow - here).total_seconds())
    finally:
        forget_spending(stack, owner)


def forget_spending(stack: Stack, owner: str) -> None:
    """Remove what the table holds about the temporary user's spending."""
    stack.client("dynamodb").delete_item(TableName=stack.outputs["Table"], Key=_spent(owner))


def _spent(owner: str) -> dict[str, Any]:
    return {"job_id": {"S": f"spent by owner {owner}"}}


# ── the callback ──


def callback_is_connected(stack: Stack) -> str:
    """Check the connection to CallbackUrl, and that no event was refused so far."""
    if not stack.parameters.get("CallbackUrl"):
        raise NotJudgedError("CallbackUrl is empty.")
    names = stack.of_kind("AWS::Events::Connection")
    for name in names.values():
        state = stack.client("events").describe_connection(Name=name)["ConnectionState"]
        if state != "AUTHORIZED":
            raise ProblemError(f"The connection {name} is {state}. Deploy again.")
    waiting = stack.client("sqs").get_queue_attributes(
        QueueUrl=stack.outputs["CallbackDeadLetterQueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
    )
    must(
        waiting["Attributes"]["ApproximateNumberOfMessages"] == "0",
        "CallbackUrl refused an event: it is in CallbackDeadLetterQueueUrl. Correct the receiver.",
    )
    return "the connection is authorized, no event was refused. Only the receiver knows that the event came"
