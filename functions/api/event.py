"""The event of a job's end, for the API's description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.aws.event_bus import SOURCE, Detail
from triptych.failures import FailureKind
from triptych.job import JobStatus

if TYPE_CHECKING:
    from pydantic import JsonValue

_REF = "#/components/schemas/{model}"
_KEY = "The key that the stack has created. Compare it before you trust a call."
_EXAMPLE: JsonValue = {
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "source": SOURCE,
    "detail-type": "Job Succeeded",
    "time": "2026-11-24T12:05:14Z",
    "detail": {
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
    },
}
_FORMATS = {"job_id": "uuid", "created_at": "date-time", "updated_at": "date-time"}
_TYPES: list[JsonValue] = [f"Job {status.title()}" for status in JobStatus if status.is_terminal]


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
    """Return the description, under a tag, of the call that a stack with `CallbackUrl` makes."""
    text: JsonValue = {"type": "string"}
    body: JsonValue = {
        "type": "object",
        "required": ["id", "source", "detail-type", "time", "detail"],
        "properties": {
            "id": text,
            "source": {"type": "string", "const": SOURCE},
            "detail-type": {"type": "string", "enum": _TYPES},
            "time": {"type": "string", "format": "date-time"},
            "detail": {"$ref": "#/components/schemas/JobEnded"},
        },
    }
    return {
        "jobEnded": {
            "post": {
                "operationId": "jobEnded",
                "summary": "A job has ended",
                "description": (
                    "The stack posts this to its operator's `CallbackUrl`, and puts it on EventBridge. At least once, in no "
                    "promised order. The header `X-Triptych-Key` holds the stack's key."
                ),
                "tags": [tag],
                "security": [],
                "parameters": [
                    {
                        "name": "X-Triptych-Key",
                        "in": "header",
                        "required": True,
                        "schema": text,
                        "description": _KEY,
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": body, "example": _EXAMPLE}},
                },
                "responses": {"200": {"description": "The event is delivered. Answer within 5 s."}},
            }
        }
    }
