"""The event of a job's end, for the API's description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych import callbacks
from triptych.aws import event_bus
from triptych.aws.event_bus import SOURCE, Detail
from triptych.failures import FailureKind
from triptych.job import JobStatus

if TYPE_CHECKING:
    from pydantic import JsonValue

_REF = "#/components/schemas/{model}"
_TEXT: JsonValue = {"type": "string"}
_TIME: JsonValue = {"type": "string", "format": "date-time"}
_DETAIL: JsonValue = {
    "stack": "triptych",
    "job_id": "0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52",
    "owner": "b2c7a1d0-9d8b-4f7e-8a51-1f4ce1a3f0aa",
    "status": "SUCCEEDED",
    "created_at": "2026-11-24T21:05:00.000+09:00",
    "updated_at": "2026-11-24T21:05:13.900+09:00",
    "metadata": {"order": "A-17"},
    "images": [
        {
            "index": 0,
            "status": "STORED",
            "seed": 7,
            "prediction_id": "gm3qorzdhgbfurvjtvhg6dckhu",
            "content_type": "image/png",
            "size": 481114,
            "error": None,
        }
    ],
    "error": None,
}
_EXAMPLE: JsonValue = {
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "source": SOURCE,
    "detail-type": "Job Succeeded",
    "time": "2026-11-24T12:05:14Z",
    "detail": _DETAIL,
}
_FORMATS = {"job_id": "uuid", "created_at": "date-time", "updated_at": "date-time"}
_ENDS = [status for status in JobStatus if status.is_terminal]
_TYPES: list[JsonValue] = [event_bus.detail_type(status) for status in _ENDS]
_ORDERED_TYPES: list[JsonValue] = [callbacks.event_type(status) for status in _ENDS]


def schemas() -> dict[str, JsonValue]:
    """Return the schemas that the event needs, by name."""
    detail = Detail.model_json_schema(ref_template=_REF)
    found = detail.pop("$defs")
    for name in ("JobStatus", "ImageStatus"):
        del found[name]  # the API has the same ones
    for field, form in _FORMATS.items():
        detail["properties"][field]["format"] = form
    found["EndedError"]["properties"]["code"]["enum"] = [kind.code for kind in FailureKind if kind.ends]
    return {**found, "JobEnded": {**detail, "title": "JobEnded"}}


def webhooks(tag: str) -> dict[str, JsonValue]:
    """Return the description, under a tag, of the calls when a job ends: to `CallbackUrl` and to an order's URL."""
    detail: JsonValue = {"$ref": "#/components/schemas/JobEnded"}
    event: dict[str, JsonValue] = {
        "id": _TEXT,
        "source": {"type": "string", "const": SOURCE},
        "detail-type": {"type": "string", "enum": _TYPES},
        "time": _TIME,
        "detail": detail,
    }
    ordered: dict[str, JsonValue] = {
        "type": {"type": "string", "enum": _ORDERED_TYPES},
        "timestamp": _TIME,
        "data": detail,
    }
    return {
        "jobEnded": _call(
            "jobEnded",
            "A job has ended",
            "The stack posts this to its operator's `CallbackUrl`, and puts it on EventBridge. At least once, in no "
            "promised order. A job that is deleted before its end is not announced. The header `X-Triptych-Key` holds the "
            "stack's key. Answer within 5 s.",
            tag,
            {"X-Triptych-Key": "The key that the stack has created. Compare it before you trust a call."},
            event,
            _EXAMPLE,
        ),
        "orderedJobEnded": _call(
            "orderedJobEnded",
            "A job has ended whose order named a URL",
            "The stack posts this to the order's `callback_url`. At least once, in no promised order, and for a day until "
            "a 2xx. Check the signature with a library of https://www.standardwebhooks.com and the secret of "
            "`GET /api/v1/webhook-secret`. Answer within 5 s. After 410, this callback is not sent again; after a retry, the "
            "job is called back again. A job that is deleted before its end is not called back.",
            tag,
            {
                "webhook-id": "The same for each try. Ignore an id that you have seen.",
                "webhook-timestamp": "Seconds since 1970, of this try.",
                "webhook-signature": "`v1,` and the signature.",
            },
            ordered,
            {"type": "job.succeeded", "timestamp": "2026-11-24T21:05:13.900+09:00", "data": _DETAIL},
        ),
    }


def _call(
    name: str,
    summary: str,
    description: str,
    tag: str,
    headers: dict[str, str],
    fields: dict[str, JsonValue],
    example: JsonValue,
) -> JsonValue:
    parameters: list[JsonValue] = [
        {"name": header, "in": "header", "required": True, "schema": _TEXT, "description": about}
        for header, about in headers.items()
    ]
    body: JsonValue = {"type": "object", "required": [*fields], "properties": fields}
    content: JsonValue = {"application/json": {"schema": body, "example": example}}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "description": description,
            "tags": [tag],
            "security": [],
            "parameters": parameters,
            "requestBody": {"required": True, "content": content},
            "responses": {"200": {"description": "The event is delivered."}},
        }
    }
