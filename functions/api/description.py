"""The API's description of itself: OpenAPI 3.1, made from the routes that serve it."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer
from pydantic import BaseModel, TypeAdapter

from views import Error, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
    from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
    from pydantic import JsonValue

TITLE = "Triptych"
VERSION = "1"
ABOUT = (
    "One photo goes up, three generated pictures come back. Create a job, PUT the photo to the URL that it names, "
    "with exactly the headers that it names, and get the job until it has ended. Errors have one shape; their codes "
    "are in the README."
)
MEANINGS = {
    HTTPStatus.BAD_REQUEST: "Something in the request is missing or wrong; the message names it.",
    HTTPStatus.NOT_FOUND: "There is no such job, or it is somebody else's.",
    HTTPStatus.CONFLICT: "The Idempotency-Key was used for another order.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The photo is larger than is allowed.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The photo is of a type that is not taken.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many; `Retry-After` says for how long to wait, if it is the daily limit.",
}
_PATHS: TypeAdapter[dict[str, dict[str, object]]] = TypeAdapter(dict[str, dict[str, object]])


def answers(
    good: Mapping[HTTPStatus, tuple[str, type[BaseModel] | None]], *problems: HTTPStatus
) -> dict[int, OpenAPIResponse]:
    """What a route may answer: what it is for, `problems`, and what API Gateway answers in its place."""
    told: dict[int, OpenAPIResponse] = {}
    for status, (meaning, model) in good.items():
        told[int(status)] = {"description": meaning, "content": {}}
        if model:
            told[int(status)]["content"]["application/json"] = {"model": model}
    for status in (*problems, HTTPStatus.TOO_MANY_REQUESTS):
        told[int(status)] = {
            "description": MEANINGS[status],
            "content": {"application/json": {"model": Error}},
        }
    told[int(HTTPStatus.UNAUTHORIZED)] = {
        "description": "No token, or not a good one. It is API Gateway that says so, in its own words.",
        "content": {"application/json": {"model": Refusal}},
    }
    return told


def describe(app: APIGatewayHttpResolver) -> dict[str, JsonValue]:
    """The description of all routes, as JSON values."""
    made = app.get_openapi_json_schema(
        title=TITLE,
        version=VERSION,
        description=ABOUT,
        security_schemes={"token": HTTPBearer(bearerFormat="JWT")},
        security=[{"token": []}],
    )
    described: dict[str, JsonValue] = json.loads(made)
    # What powertools takes for granted of its own validation errors; ours are answered with 400 and our shape.
    for operation in operations(described):
        responses = operation["responses"]
        if isinstance(responses, dict):
            responses.pop("422", None)
    components = described["components"]
    if isinstance(components, dict) and isinstance(components["schemas"], dict):
        for name in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
    described.pop("servers", None)
    return described


def operations(described: Mapping[str, JsonValue]) -> list[dict[str, JsonValue]]:
    """Each operation of each path."""
    paths = described["paths"]
    items = paths.values() if isinstance(paths, dict) else ()
    return [
        operation
        for item in items
        if isinstance(item, dict)
        for operation in item.values()
        if isinstance(operation, dict)
    ]


def methods_at(described: Mapping[str, JsonValue], path: str) -> str:
    """The methods that the route at `path` takes, as an `Allow` header has them; empty where there is no route."""
    for template, item in _PATHS.validate_python(described["paths"]).items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return ", ".join(method.upper() for method in item)
    return ""
