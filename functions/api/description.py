"""The API's description of itself: OpenAPI 3.1, made from the routes that serve it."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import BaseModel, TypeAdapter

from views import Error, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
    from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse, OpenAPIResponseHeader
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
    HTTPStatus.FORBIDDEN: "The token does not say whose it is.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A bug, or trouble at AWS.",
    HTTPStatus.NOT_FOUND: "There is no such job, or it is somebody else's.",
    HTTPStatus.CONFLICT: "The Idempotency-Key was used for another order.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The photo is larger than is allowed.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The photo is of a type that is not taken.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many today, or at once; the latter API Gateway may say in its own words.",
}
_PATHS: TypeAdapter[dict[str, dict[str, object]]] = TypeAdapter(dict[str, dict[str, object]])


def answers(
    good: Mapping[HTTPStatus, tuple[str, type[BaseModel] | None]],
    *problems: HTTPStatus,
    headers: Mapping[str, str] | None = None,
    meanings: Mapping[HTTPStatus, str] | None = None,
) -> dict[int, OpenAPIResponse]:
    """What a route may answer: what it is for (with `headers`), `problems`, and what API Gateway answers in its place.

    `meanings` holds what a problem means on this route, where that is not what it means on others.
    """
    told: dict[int, OpenAPIResponse] = {}
    for status, (meaning, model) in good.items():
        told[int(status)] = {"description": meaning, "content": {}}
        if model:
            told[int(status)]["content"]["application/json"] = {"model": model}
        if headers:
            told[int(status)]["headers"] = {name: _header(about) for name, about in headers.items()}
    for status in (*problems, HTTPStatus.FORBIDDEN, HTTPStatus.INTERNAL_SERVER_ERROR):
        told[int(status)] = {
            "description": {**MEANINGS, **(meanings or {})}[status],
            "content": {"application/json": {"model": Error}},
        }
    told[int(HTTPStatus.TOO_MANY_REQUESTS)] = {
        "description": MEANINGS[HTTPStatus.TOO_MANY_REQUESTS],
        "content": {"application/json": {"schema": {"anyOf": [_ref(Error), _ref(Refusal)]}}},
        "headers": {"Retry-After": _header("Seconds, where it is not API Gateway that says so.")},
    }
    told[int(HTTPStatus.UNAUTHORIZED)] = {
        "description": "No token, or not a good one. It is API Gateway that says so, in its own words.",
        "content": {"application/json": {"model": Refusal}},
    }
    return told


def _header(about: str) -> OpenAPIResponseHeader:
    return {"description": about, "schema": {"type": "string"}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def describe(app: APIGatewayHttpResolver) -> dict[str, JsonValue]:
    """The description of all routes, as JSON values."""
    from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer  # noqa: PLC0415  # a fifth of a cold start

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
