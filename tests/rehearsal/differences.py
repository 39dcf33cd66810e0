"""Where MiniStack 1.5.33 differs from AWS's recorded answers, with its setting AUTH=true.

The tests of recorded answers expect exactly these differences. A case that is not listed agrees with AWS.
"""

from __future__ import annotations

_SKIPS = "MiniStack does not check this."
_WORDS = "MiniStack refuses with other words, or without details."
_LACKS = "MiniStack does not have move tasks."
_VERSION = "MiniStack sends a newer version of the format."
_COND = "MiniStack does not name the condition that failed."
_SIZE = "MiniStack does not compute the size of a record."
_INVALID = "MiniStack takes an invalid report as a success."
_FOREVER = "MiniStack retries a failed batch without end and sends no report. How often depends on the time."

# By the file and the case: the reason, and each place that differs: the number of the step and a path in its answer.
ANSWERS = {
    "s3: presigned put without a type": ("MiniStack has another default type.", "2.ContentType"),
    "s3: presigned get until it expires": (
        _WORDS,
        "3.Error.Expires 3.Error.ServerTime 3.Error.X-Amz-Expires",
    ),
    "s3: presigned get that expired a second ago": (
        _WORDS,
        "2.Error.Expires 2.Error.ServerTime 2.Error.X-Amz-Expires",
    ),
    "s3: presigned get without its date": (
        "MiniStack refuses with 403 as for a wrong signature.",
        "2.status 2.Error.Code 2.Error.Message",
    ),
    "s3: presigned put with more in its query or headers": (
        _WORDS,
        "2.Error.Code 2.Error.HeadersNotSigned 2.Error.Message",
    ),
    "s3: presigned get with a credential encoded twice": (_WORDS, "2.Error.Code 2.Error.Message"),
    "s3: presigned put with metadata": (
        _WORDS,
        "3.ContentType 4.Error.Code 4.Error.HeadersNotSigned 4.Error.Message",
    ),
    "s3: presigned put with unsigned headers of a stream": (
        "MiniStack reads the body as a stream first.",
        (
            "1.status 1.Error.Code 1.Error.HeadersNotSigned 1.Error.Message 2.status 2.Error.Code "
            "2.Error.HeadersNotSigned 2.Error.Message"
        ),
    ),
    "s3: second write with if-none-match": (_COND, "2.Error.Condition"),
    "s3: if-none-match with an etag": (
        _WORDS,
        "2.status 2.Error.Code 2.Error.Header 2.Error.Message 2.Error.additionalMessage",
    ),
    "s3: if-match with if-none-match": (
        _WORDS,
        "1.status 1.Error.Code 1.Error.Header 1.Error.Message 1.Error.additionalMessage",
    ),
    "s3: multipart with if-none-match over an object": (
        "MiniStack completes an upload although the object was deleted meanwhile.",
        "4.Error.Condition 6.status 6.Error 9.status 9.ETag",
    ),
    "s3: object written during a multipart with if-none-match": (_COND, "4.Error.Condition"),
    "s3: copy with if-none-match": (_SKIPS, "3.status 3.Error"),
    "s3: copy in place with if-none-match": (_SKIPS, "2.status 2.Error"),
    "s3: get with a wrong if-match": (_COND, "2.Error.Condition"),
    "s3: preflights and requests by method": (
        "MiniStack matches the preflight headers only of preflights.",
        (
            "4.headers.access-control-allow-origin 4.headers.access-control-allow-credentials "
            "4.headers.access-control-allow-methods 4.headers.access-control-max-age "
            "4.headers.vary"
        ),
    ),
    "s3: preflights by headers": (
        "MiniStack keeps the case of the asked headers, and matches the preflight headers only of preflights.",
        (
            "8.headers.access-control-allow-headers 10.headers.access-control-allow-origin "
            "10.headers.access-control-allow-credentials 10.headers.access-control-allow-methods "
            "10.headers.access-control-max-age 10.headers.vary"
        ),
    ),
    "s3: notification of a put": (
        _VERSION,
        "6.Messages.0.Json.Records.0.eventVersion 9.Messages.0.Json.Records.0.eventVersion",
    ),
    "s3: notification of a copy only": (_VERSION, "8.Messages.0.Json.Records.0.eventVersion"),
    "s3: notifications of put copy and delete": (
        "MiniStack sends a newer version of the format, and the size of what was removed.",
        (
            "6.Messages.0.Json.Records.0.eventVersion 9.Messages.0.Json.Records.0.eventVersion "
            "12.Messages.0.Json.Records.0.eventVersion 12.Messages.0.Json.Records.0.s3.object.size "
            "12.Messages.0.Json.Records.0.s3.object.eTag"
        ),
    ),
    "s3: notification of a key with a special character": (
        _VERSION,
        "6.Messages.0.Json.Records.0.eventVersion",
    ),
    "s3: notification of a presigned put": (_VERSION, "6.Messages.0.Json.Records.0.eventVersion"),
    "s3: notification with a prefix and a suffix": (_VERSION, "8.Messages.0.Json.Records.0.eventVersion"),
    "s3: notifications of a batch delete with missing keys": (
        "MiniStack sends no notification for a key that does not exist.",
        "7.Attributes.ApproximateNumberOfMessages",
    ),
    "s3: notification keeps the trace of the put": (
        "MiniStack drops the trace, and sends a newer version of the format.",
        "6.Messages.0.Attributes 6.Messages.0.Json.Records.0.eventVersion",
    ),
    "sqs: receive eleven messages": (_WORDS, "2.Error.QueryErrorCode"),
    "sqs: send an empty message": (_WORDS, "1.Error.QueryErrorCode"),
    "sqs: send a message that is too long": (_SKIPS, "1.status 1.Error"),
    "sqs: send a batch that is too long": (_SKIPS, "1.status 1.Error"),
    "sqs: send a batch of twenty": (_WORDS, "1.Error.Message"),
    "sqs: delete a batch of twenty": (_WORDS, "1.Error.Message"),
    "sqs: change the visibility of a batch of twenty": (_WORDS, "1.Error.Message"),
    "sqs: send an empty attribute": (_SKIPS, "1.status 1.Error"),
    "sqs: receive with wrong and right waits": (
        "MiniStack takes waits that SQS refuses, so that the messages are received early.",
        "3.status 3.Error 4.status 4.Error 5.Messages 6.Messages",
    ),
    "sqs: receive system attributes by both names": (
        "MiniStack reads only one of the two lists.",
        (
            "4.Messages.0.Attributes.ApproximateFirstReceiveTimestamp "
            "4.Messages.0.Attributes.ApproximateReceiveCount 4.Messages.0.Attributes.SentTimestamp"
        ),
    ),
    "sqs: receive message attributes by name and prefix": (
        "MiniStack does not know * as a name.",
        "5.Messages.0.MD5OfMessageAttributes 5.Messages.0.MessageAttributes",
    ),
    "sqs: ask for a deleted queue": (_WORDS, "2.Error.Message"),
    "sqs: send with a group that is empty": (_SKIPS, "1.status 1.Error"),
    "sqs: send with a group that is too long": (_SKIPS, "1.status 1.Error"),
    "sqs: send with a group that is spaced": (_SKIPS, "1.status 1.Error"),
    "sqs: purge twice": (_SKIPS, "2.status 2.Error"),
    "sqs: set an attribute of another kind of queue": (_SKIPS, "1.status 1.Error 2.status 2.Error"),
    "sqs: end the visibility with an old handle": (
        "MiniStack refuses the handle of an earlier receive.",
        "4.status",
    ),
    "sqs: move dead letters to another queue": (_LACKS, "7.status 7.TaskHandle 7.save"),
    "sqs: move dead letters back": (_LACKS, "7.status 7.TaskHandle 7.save"),
    "sqs: move from a queue without a redrive policy": (
        _LACKS,
        "1.Error.Code 1.Error.Message 1.Error.QueryErrorCode",
    ),
    "sqs: move to a missing queue": (_LACKS, "2.status 2.Error.Code 2.Error.Message 2.Error.QueryErrorCode"),
    "sqs: cancel a move with a wrong handle": (_LACKS, "1.Error.Code 1.Error.Message 1.Error.QueryErrorCode"),
    "sqs: start a second move": (_LACKS, "9.status"),
    "events: put without a source": (
        _SKIPS,
        "1.Entries.0.ErrorCode 1.Entries.0.ErrorMessage 1.FailedEntryCount",
    ),
    "events: put without a detail": (
        _SKIPS,
        "1.Entries.0.ErrorCode 1.Entries.0.ErrorMessage 1.FailedEntryCount",
    ),
    "events: put without a detail type": (
        _SKIPS,
        "1.Entries.0.ErrorCode 1.Entries.0.ErrorMessage 1.FailedEntryCount",
    ),
    "events: put a detail that is text": (
        _SKIPS,
        "1.Entries.0.ErrorCode 1.Entries.0.ErrorMessage 1.FailedEntryCount",
    ),
    "events: put a detail that is an array": (
        _SKIPS,
        "1.Entries.0.ErrorCode 1.Entries.0.ErrorMessage 1.FailedEntryCount",
    ),
    "events: put a detail that is no JSON": (
        _SKIPS,
        "1.Entries.0.ErrorCode 1.Entries.0.ErrorMessage 1.FailedEntryCount",
    ),
    "events: put a detail that is a JSON text": (
        _SKIPS,
        "1.Entries.0.ErrorCode 1.Entries.0.ErrorMessage 1.FailedEntryCount",
    ),
    "events: put a detail that is too big": (_SKIPS, "1.status 1.Error"),
    "events: event with a time": (
        "MiniStack ignores the time that the event was put with.",
        "5.Messages.0.Json.time",
    ),
    "queue_mappings: report without identifier": (_INVALID, "dead_letters deliveries.1"),
    "queue_mappings: record with attributes": (
        "MiniStack leaves fields of the attributes out.",
        (
            "record.messageAttributes.WeeksOn.stringListValues "
            "record.messageAttributes.WeeksOn.binaryListValues "
            "record.messageAttributes.Author.stringListValues "
            "record.messageAttributes.Author.binaryListValues "
            "record.messageAttributes.Title.stringListValues "
            "record.messageAttributes.Title.binaryListValues record.md5OfMessageAttributes"
        ),
    ),
    "stream_mappings: filter insert same entry twice": (_SIZE, "records.0.dynamodb.SizeBytes"),
    "stream_mappings: filter content or": (
        _SIZE,
        "records.0.dynamodb.SizeBytes records.1.dynamodb.SizeBytes",
    ),
    "stream_mappings: filter content multiple": (_SIZE, "records.0.dynamodb.SizeBytes"),
    "stream_mappings: filter content type": (_SIZE, "records.0.dynamodb.SizeBytes"),
    "stream_mappings: filter exists type": (_SIZE, "records.0.dynamodb.SizeBytes"),
    "stream_mappings: filter exists false": (
        "MiniStack looks for the name only among values, not objects.",
        "records",
    ),
    "stream_mappings: filter numeric": (_SIZE, "records.0.dynamodb.SizeBytes"),
    "stream_mappings: filter prefix": (_SIZE, "records.0.dynamodb.SizeBytes"),
    "stream_mappings: filter date time conversion": (
        _SIZE,
        "records.0.dynamodb.SizeBytes records.1.dynamodb.SizeBytes",
    ),
    "stream_mappings: failure by item identifier not present": (_INVALID, "invocations report"),
    "stream_mappings: failure by empty string item identifier": (_INVALID, "invocations report"),
    "stream_mappings: failure by null item identifier": (_INVALID, "invocations report"),
    "stream_mappings: failure by invalid key foo": (_INVALID, "invocations report"),
    "stream_mappings: failure by invalid key foo null value": (_INVALID, "invocations report"),
    "stream_mappings: one of six reported": (
        "MiniStack does not deliver a reported record again.",
        "deliveries.testId5 report",
    ),
    "stream_mappings: filter that is text": (_SKIPS, "refused"),
    "stream_mappings: filter that is no JSON": (_SKIPS, "refused"),
}

# By the pattern's case: the reason, and MiniStack's verdict.
PATTERN_VERDICTS = {
    "content_wildcard_complex_EXC": ("It accepts a wildcard that EventBridge finds too complex.", True),
    "dot_joining_event": ("It does not join names of the event.", False),
    "nested_json_NEG": ("It matches a name in an object that should not match.", True),
    "event_is_text_EXC": ("It does not check the event first.", "InvalidEventPatternException"),
    "event_is_array_EXC": ("It does not check the event first.", "InvalidEventPatternException"),
    "event_lacks_fields_EXC": ("It does not check the event first.", False),
}

# Cases that are not compared, because the answer depends on the time: the reason.
NOT_PLAYED = {
    "stream_mappings: failure by unhandled exception in function": _FOREVER,
    "stream_mappings: failure without reports": _FOREVER,
    "stream_mappings: failure to a bucket": _FOREVER,
}

# By the case of tests/recorded/http_api.py: the reason, and what MiniStack answers.
HTTP_API: dict[str, tuple[str, object]] = {
    "repeated names in a query and in headers": (
        "MiniStack joins headers with a comma and a space.",
        [{"x": "1,2", "y": "+ "}, "1, 2"],
    ),
    "cookies of a request": ("MiniStack leaves them in the headers.", [None, True]),
    "answer in base64": ("MiniStack has another default type.", [200, "application/json", "x"]),
    "answer with a status only": ("MiniStack names a type without a body.", [201, "application/json", ""]),
    "invalid answers": (
        "MiniStack checks little, and shows its own error.",
        [(200, '{"x": 1}'), (500, ""), (500, "{\"message\": \"'list' object has no attribute 'items'\"}")],
    ),
    "exception in the function": (
        "MiniStack answers 502 and shows the client the error.",
        [502, {"errorMessage": "no", "errorType": "Runtime.HandlerError"}],
    ),
    "bad tokens that are accepted": ("A token without `exp` never expires.", ["without an end"]),
    "refusal of a token": ("MiniStack sends no WWW-Authenticate.", [{"message": "Unauthorized"}, ""]),
    "CORS headers of a function are replaced": (
        "An origin that is not allowed gets the function's own header.",
        ["https://app.example", "*"],
    ),
    "CORS headers of refusals": (
        "MiniStack adds none to its own answers, so a page cannot read a 401.",
        [None, None],
    ),
    "body over 10 MB": (_SKIPS, 200),
    "body over the function's 6 MB": (_SKIPS, 200),
    "limit of a route": ("MiniStack keeps a route's limit and does not apply it.", [200, 200, 200]),
}
