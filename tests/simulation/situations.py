"""The situations that the simulation draws. Each is counted when it has really happened, not when it was drawn.

A cut answer counts if a prediction was made, a forged webhook if the function was called, a cancellation in flight if a
prediction was running. `python -m tests.simulation` prints the counts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ENOUGH_JOBS = 1000  # in a run of so many jobs, every situation must happen often enough
ENOUGH = 5.0  # times in a thousand jobs


class Situation(StrEnum):
    # A process dies before or after a request.
    KILLED_BEFORE = "killed before a request"
    KILLED_AFTER = "killed after a request"
    KILLED_AT_TABLE_READ = "killed at DynamoDB GetItem"
    KILLED_AT_TABLE_WRITE = "killed at DynamoDB PutItem"
    KILLED_AT_TABLE_DELETE = "killed at DynamoDB DeleteItem"
    KILLED_AT_PHOTO = "killed at S3 GetObject"
    KILLED_AT_HEAD = "killed at S3 HeadObject"
    KILLED_AT_PUT = "killed at S3 PutObject"
    KILLED_AT_COPY = "killed at S3 CopyObject"
    KILLED_AT_DELETE = "killed at S3 DeleteObject"
    KILLED_AT_OBJECTS = "killed at S3 ListObjectsV2"
    KILLED_AT_SEND = "killed at SQS SendMessage"
    KILLED_AT_PUT_BACK = "killed at SQS ChangeMessageVisibility"
    KILLED_AT_REPEAT = "killed at SQS ChangeMessageVisibility of a look"
    KILLED_AT_EVENT = "killed at EventBridge PutEvents"
    KILLED_AT_TOKEN = "killed at SSM GetParameter"
    KILLED_AT_CREATE = "killed at Replicate create"
    KILLED_AT_LIST = "killed at Replicate list"
    KILLED_AT_GET = "killed at Replicate get"
    KILLED_AT_CANCEL = "killed at Replicate cancel"
    KILLED_AT_SECRET = "killed at Replicate secret"
    KILLED_AT_DOWNLOAD = "killed at Replicate download"
    KILLED_AT_KEY = "killed at Secrets Manager GetSecretValue"
    KILLED_AT_CALLBACK = "killed at client callback"
    # A function's time is over.
    API_TIMED_OUT = "api timed out"
    GENERATE_TIMED_OUT = "generate timed out"
    WEBHOOK_TIMED_OUT = "webhook timed out"
    WATCHDOG_TIMED_OUT = "watchdog timed out"
    ANNOUNCE_TIMED_OUT = "announce timed out"
    CALLBACK_TIMED_OUT = "callback timed out"
    # AWS. The first six: boto3 has given up.
    DYNAMODB_FAILED = "DynamoDB failed"
    S3_FAILED = "S3 failed"
    SQS_FAILED = "SQS failed"
    SSM_FAILED = "SSM failed"
    SECRETS_FAILED = "Secrets Manager failed"
    EVENTBRIDGE_FAILED = "EventBridge failed"
    DYNAMODB_THROTTLED = "DynamoDB throttled"
    S3_REFUSED = "S3 refused"
    AWS_ANSWER_LOST = "answer of AWS lost"
    AWS_HUNG = "request to AWS hung"
    AWS_SLOW = "request to AWS slow"
    S3_BODY_SLOW = "photo of S3 slow"
    S3_BODY_CUT = "photo of S3 cut"
    THAWED = "thread of an earlier invocation went on"
    CLOCK_OFF = "function with a clock that is off"
    DYNAMODB_DOWN = "DynamoDB down"
    S3_DOWN = "S3 down"
    SQS_DOWN = "SQS down"
    EVENTBRIDGE_DOWN = "EventBridge down"
    REPLICATE_DOWN = "Replicate down"
    DEPLOYED_ANEW = "parameters changed while a job was open"
    # Messages.
    EVENT_LOST = "event of an upload lost"
    EVENT_DOUBLED = "event of an upload doubled"
    MESSAGE_LATE = "message late"
    MESSAGE_CROWDED = "message waited in a crowd"
    MESSAGE_DOUBLED = "message doubled"
    DEAD_LETTER_REPLAYED = "dead letter replayed"
    DEAD_LETTER_REPEATED = "dead letter replayed that had been processed"
    MESSAGE_REPLACED = "message of the line delivered after a later one had replaced it"
    EVENT_REFUSED = "event of an end refused"
    STREAM_GIVEN_UP = "stream's batch became a dead letter"
    STREAM_REPLAYED = "stream's dead letter replayed"
    ANNOUNCED_AGAIN = "end announced more than once"
    # Callbacks of an order.
    CALLED_BACK = "end called back"
    CALLED_BACK_AGAIN = "end called back more than once"
    CALLBACK_REFUSED = "callback: 503"
    CALLBACK_CUT = "callback: taken, its answer lost"
    CALLBACK_HUNG = "callback: no answer"
    CALLBACK_UNWANTED = "callback: 410"
    # The POST that creates a prediction.
    POST_REFUSED = "POST: no connection"
    POST_CONNECTED_LATE = "POST: name look-up took long"
    POST_THROTTLED = "POST: 429"
    POST_LOW_CREDIT = "POST: 429 for low credit"
    POST_CUT_BEFORE = "POST: cut before the prediction"
    POST_CUT_AFTER = "POST: cut after the prediction"
    POST_HUNG = "POST: hung after the prediction"
    POST_LATE = "POST: prediction made after the client's timeout"
    POST_5XX_BEFORE = "POST: 503 without a prediction"
    POST_5XX_AFTER = "POST: 502 with a prediction"
    POST_500_AFTER = "POST: 500 with a prediction"
    POST_UNREADABLE = "POST: unreadable answer"
    POST_DOUBLED = "POST: two predictions"
    DOUBLE_CANCELED = "POST: second prediction canceled"
    POSTS_ALIKE = "POST: the fault of the invocation's first"
    POST_ODD = "POST: answer that the client library cannot parse"
    # Other requests to Replicate.
    LIST_FAILED = "list: 503"
    LIST_LAGGED = "list: lagged behind a prediction"
    LIST_LAGGED_LONG = "list: lagged behind a doubt for minutes"
    LIST_PAGED = "list: several pages"
    BODY_TRICKLED = "body of an answer trickled"
    GET_FAILED = "get: 503"
    GET_UNKNOWN = "get: 404 for a new prediction"
    CANCEL_FAILED = "cancel: 503"
    SECRET_FAILED = "signing secret: 503"
    DOWNLOAD_FAILED = "download: 503"
    DOWNLOAD_CUT = "download: cut"
    OUTPUT_CUT_LONG = "output: cut in every download for minutes"
    OUTPUT_NO_PICTURE = "output: no picture"
    OUTPUT_MISSING = "output: none"
    # Predictions and their webhooks.
    FINISHED_AT_ONCE = "prediction ended before the answer to its POST"
    FINISHED_LATE = "prediction took minutes"
    ALWAYS_FAILED = "every prediction of the job fails"
    PREDICTION_FAILED = "prediction failed"
    PREDICTION_CANCELED = "prediction canceled by Replicate"
    PREDICTION_ABORTED = "prediction aborted"
    WEBHOOK_LOST = "webhook lost"
    WEBHOOK_DOUBLED = "webhook doubled"
    WEBHOOK_LATE = "webhook late"
    WEBHOOK_OUT_OF_ORDER = "webhook out of order"
    WEBHOOK_FORGED = "webhook forged"
    WEBHOOK_MISDIRECTED = "webhook with the query of another image"
    CLOCK_SKEWED = "prediction with a skewed clock"
    # Owners and their clients.
    CLIENT_ANSWER_LOST = "answer to a client lost"
    CREATED_TWICE = "job created twice at once with one key"
    CREATED_WITHOUT_KEY = "job created without a key"
    NEVER_UPLOADED = "photo never uploaded"
    UPLOADED_LATE = "photo uploaded late"
    UPLOADED_SLOWLY = "photo uploaded slowly with a renewed URL"
    UPLOADED_RUBBISH = "upload that is no photo"
    UPLOADED_LARGE = "photo that needs a prepared copy"
    UPLOADED_AFTER_DELETION = "photo uploaded after the deletion"
    UPLOADED_AFTER_CLEAN_UP = "photo uploaded after the clean-up of the deletion"
    EVENT_LOST_AFTER_DELETION = "photo uploaded after the deletion, and its event lost"
    ENDED_DURING_COPY = "canceled or deleted while an output was copied"
    ONE_MORE_IMAGE = "one more image ordered"
    PHOTO_USED_AGAIN = "job ordered for the photo of another"
    SOURCE_GONE = "order for a photo that is gone refused"
    CANCELED_IN_FLIGHT = "canceled while predictions ran"
    CANCELED_BEFORE = "canceled before any prediction"
    DELETED_IN_FLIGHT = "deleted while predictions ran"
    DELETED_BEFORE = "deleted before any prediction"
    DELETED_AFTER = "deleted after its end"
    DELETED_SOON = "deleted within ten seconds"
    TWO_TABS = "owner acts in two tabs at once"
    ENDED_UNDER_FAULTS = "deadline passed while faults went on"
    DAY_FULL = "daily limit: creation refused"
    DAY_FULL_FOR_RETRY = "daily limit: retry refused"
    STACK_FULL = "daily limit of all owners: creation or retry refused"
    KEY_REUSED = "key used again: a new job after retention"
    KEY_REUSED_EARLY = "key used again before the old job was removed"
    KEY_OF_DELETED = "key used again: a new job after a deletion"
    DELETION_REPLAYED = "deletion replayed when its job's id belonged to a new job"
    EXPIRED_RECORD = "record removed by its TTL"
    EXPIRED_OBJECT = "object removed by the bucket's lifecycle"
    FAULT_AT_THE_EDGE = "fault at the end of retention"
    RETRIED_AT_THE_EDGE = "retried in the last hour of retention"
    REFUSED_AT_THE_EDGE = "retry refused in the last hour of retention"
    RETRIED = "retried: a new prediction"
    RETRIED_AT_ONCE = "retried within seconds of the end"
    RECLAIMED = "retried: the output asked for again"
    RECLAIMED_TOO_LATE = "retried: Replicate did not hold the output any more"
    RETRIES_USED = "retried too often"
    NOTHING_TO_RETRY = "retry refused: nothing to retry"


# In a thousand jobs, these happen less than 20 times on average. Each bound is a third of the mean or less.
RARE = {
    # A crash must hit one of a job's few requests of this kind.
    Situation.KILLED_AT_PUT: 4.0,
    Situation.KILLED_AT_CREATE: 3.0,
    Situation.KILLED_AT_CALLBACK: 4.0,
    # EventBridge must fail for 21 deliveries of a batch.
    Situation.STREAM_GIVEN_UP: 1.0,
    Situation.STREAM_REPLAYED: 1.0,
    Situation.CALLBACK_UNWANTED: 3.0,  # one in ten callbacks at most, and none follows it
    # The layer must find it in the list before it ends.
    Situation.DOUBLE_CANCELED: 4.0,
    Situation.PREDICTION_ABORTED: 4.0,
    Situation.OUTPUT_MISSING: 4.0,
    # A deletion, an upload after it, and the loss of its event.
    Situation.EVENT_LOST_AFTER_DELETION: 2.0,
    # The owner must have failed images on a full day.
    Situation.DAY_FULL_FOR_RETRY: 1.5,
    Situation.RECLAIMED_TOO_LATE: 2.5,  # the retry must come an hour after the prediction
}


def table(counts: Mapping[Situation, int]) -> str:
    """Return the table for people: how often each situation has happened."""
    width = max(map(len, Situation))
    return "\n".join(f"{name:{width}} {counts.get(name, 0):7,}" for name in Situation)


def missing(counts: Mapping[Situation, int], jobs: int) -> list[Situation]:
    """Return the situations that happened too rarely in so many jobs, and at least those that never happened."""
    return [name for name in Situation if counts.get(name, 0) < max(1, _least(name) * jobs / 1000)]


def _least(name: Situation) -> float:
    """Return how often a situation must happen in a thousand jobs."""
    return RARE.get(name, ENOUGH)
