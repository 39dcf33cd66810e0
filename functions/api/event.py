"""The event of a job's end, for the API's description."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from triptych.aws.event_bus import SOURCE, Detail
from triptych.job import JobStatus

if TYPE_CHECKING:
    from pydantic import JsonValue

_REF = "#/components/schemas/{model}"
_TYPES: list[JsonValue] = [f"Job {status.title()}" for status in JobStatus if status.is_terminal]


def schemas() -> dict[str, JsonValue]:
    """Return the schemas that the event needs, by name."""
    detail: dict[str, JsonValue] = json.loads(json.dumps(Detail.model_json_schema(ref_template=_REF)))
    parts = detail.pop("$defs", {})
    found: dict[str, JsonValue] = dict(parts) if isinstance(parts, dict) else {}
    found.pop("JobStatus", None)  # the API has the same ones
    found.pop("ImageStatus", None)
    return {**found, "JobEnded": detail}


def webhooks() -> dict[str, JsonValue]:
    """Return the description of the call that a stack with `CallbackUrl` makes."""
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
                "tags": ["jobs"],
                "security": [],
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": {"200": {"description": "The event is delivered. Answer within 5 s."}},
            }
        }
    }
