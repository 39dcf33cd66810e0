"""Where the local cloud differs from AWS's recorded answers, and why.

The tests of recorded answers expect exactly these differences. A case that is not listed agrees with AWS.
"""

from __future__ import annotations

_PATTERN = "The local cloud refuses an operator that the template does not use, and stops at the start."
_MOTO_ACCEPTS = "moto accepts the request. The project does not send it."
_MOTO_LACKS = "moto does not have this operation, and answers 500."
_MOTO_WORDS = "moto refuses with the same code but other words."
_TRACE = "moto drops the trace. The local cloud does not detect recursive loops; the rehearsal does."
_ACCOUNT = (
    "moto omits the account for a queue. event_bus.py asks moto for the whole event, so a callback has it."
)
_RECORD = "moto gives the size of its own text and an older version of the format. No function reads them."

# The event patterns that AWS accepts and the local cloud refuses: their number by the syntax that it does not know.
# An answer of AWS is true or false for each of them.
REFUSED_PATTERNS = {
    "$or": 2,
    "anything-but": 50,
    "anything-but, exists": 3,
    "anything-but, exists, int, numeric, prefix": 1,
    "anything-but, numeric": 2,
    "anything-but, numeric, prefix": 2,
    "bool": 2,
    "cidr": 5,
    "equals-ignore-case": 4,
    "exists": 8,
    "exists, prefix, suffix": 1,
    "int": 1,
    "null": 3,
    "numeric": 5,
    "prefix": 5,
    "suffix": 5,
    "wildcard": 6,
}

# By the file and the case: the reason, and each place that differs: the number of the step and a path in its answer.
ANSWERS = {
    "s3: if-none-match with an etag": (_MOTO_ACCEPTS, "2.status 2.Error"),
    "s3: if-match with if-none-match": (
        "moto checks If-Match first. The project sends only If-None-Match.",
        "1.status 1.Error.Code 1.Error.Header 1.Error.Message 1.Error.additionalMessage",
    ),
    "s3: multipart with if-none-match over an object": (
        "moto completes a multipart upload although the object was deleted meanwhile. The project has no multipart uploads.",
        "6.status 6.Error 9.status 9.ETag",
    ),
    "s3: notification with a prefix and a suffix": (
        "moto knows the filters' names only in lower case, as the template has them, and answers 500.",
        "2.status",
    ),
    "s3: notifications of a batch delete with missing keys": (
        "moto sends no notification for a key that does not exist. The template subscribes to no removals.",
        "7.Attributes.ApproximateNumberOfMessages",
    ),
    "s3: notification keeps the trace of the put": (_TRACE, "6.Messages.0.Attributes.AWSTraceHeader"),
    "sqs: receive eleven messages": (_MOTO_WORDS, "2.Error.Message 2.Error.QueryErrorCode"),
    "sqs: send an empty message": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: send a message that is too long": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: send a batch that is too long": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: delete a batch with an id that is empty": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: delete a batch with an id that is long": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: delete a batch with an id that is wrong": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: delete a batch of twenty": (
        "moto refuses with another code, because the ids of the case are also wrong.",
        "1.Error.Code 1.Error.Message 1.Error.QueryErrorCode",
    ),
    "sqs: change the visibility of a batch of twenty": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: send an empty attribute": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: receive with wrong and right waits": (
        _MOTO_WORDS,
        "3.Error.Message 3.Error.QueryErrorCode 4.Error.Message 4.Error.QueryErrorCode",
    ),
    "sqs: dead letters keep attributes count and trace": (
        "moto does not say from which queue a dead letter comes.",
        "6.Messages.0.Attributes.DeadLetterQueueSourceArn 6.Messages.1.Attributes.DeadLetterQueueSourceArn",
    ),
    "sqs: receive message attributes by name and prefix": (
        "moto does not know * as a name. The project asks for All.",
        "5.Messages.0.MD5OfMessageAttributes 5.Messages.0.MessageAttributes",
    ),
    "sqs: trace header becomes an attribute": (_TRACE, "2.Messages.0.Attributes.AWSTraceHeader"),
    "sqs: send with a group that is empty": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: send with a group that is too long": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: send with a group that is spaced": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "sqs: set an attribute of another kind of queue": (_MOTO_ACCEPTS, "1.status 1.Error 2.status 2.Error"),
    "sqs: move dead letters to another queue": (_MOTO_LACKS, "7.status 7.TaskHandle 7.save"),
    "sqs: move dead letters back": (_MOTO_LACKS, "7.status 7.TaskHandle 7.save"),
    "sqs: move from a queue without a redrive policy": (
        _MOTO_LACKS,
        "1.status 1.Error.Code 1.Error.Message 1.Error.QueryErrorCode 1.Error.Type",
    ),
    "sqs: move to a missing queue": (
        _MOTO_LACKS,
        "2.status 2.Error.Code 2.Error.Message 2.Error.QueryErrorCode 2.Error.Type",
    ),
    "sqs: cancel a move with a wrong handle": (
        _MOTO_LACKS,
        "1.status 1.Error.Code 1.Error.Message 1.Error.QueryErrorCode 1.Error.Type",
    ),
    "sqs: start a second move": (_MOTO_LACKS, "9.status"),
    "events: put a detail that is an array": (
        _MOTO_ACCEPTS,
        "1.FailedEntryCount 1.Entries.0.ErrorCode 1.Entries.0.ErrorMessage",
    ),
    "events: put a detail that is a JSON text": (
        _MOTO_ACCEPTS,
        "1.FailedEntryCount 1.Entries.0.ErrorCode 1.Entries.0.ErrorMessage",
    ),
    "events: put a detail that is too big": (_MOTO_ACCEPTS, "1.status 1.Error"),
    "events: event that a rule delivers": (_ACCOUNT, "5.Messages.0.Json.account"),
    "events: event with a time": (_ACCOUNT, "5.Messages.0.Json.account"),
    "stream_mappings: filter insert same entry twice": (
        _RECORD,
        "records.0.eventVersion records.0.dynamodb.SizeBytes",
    ),
    "stream_mappings: filter content or": (
        _RECORD,
        "records.0.eventVersion records.0.dynamodb.SizeBytes records.1.eventVersion records.1.dynamodb.SizeBytes",
    ),
    "stream_mappings: filter content multiple": (
        _RECORD,
        "records.0.eventVersion records.0.dynamodb.SizeBytes",
    ),
    "stream_mappings: filter content type": (_RECORD, "records.0.eventVersion records.0.dynamodb.SizeBytes"),
}

# Cases that the local cloud cannot play, by the file and the case: the reason.
NOT_PLAYED = {
    "stream_mappings: filter exists type": _PATTERN,
    "stream_mappings: filter exists false": _PATTERN,
    "stream_mappings: filter numeric": _PATTERN,
    "stream_mappings: filter prefix": _PATTERN,
    "stream_mappings: filter date time conversion": _PATTERN,
    "stream_mappings: failure to a bucket": "The template has a queue as destination. Another one stops the start.",
}
