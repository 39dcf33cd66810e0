"""The API's OpenAPI 3.1 description, made from its routes."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import BaseModel, TypeAdapter

from triptych.failures import FailureKind
from views import Error, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
    from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse, OpenAPIResponseHeader
    from pydantic import JsonValue

TITLE = "Triptych"
VERSION = "1"
ABOUT = (
    "One photo goes up, three generated images come back. Create a job. PUT the photo to the returned URL, with "
    "exactly the returned headers. Get the job until it has ended. All errors have the same shape. The README explains "
    "their codes."
)
# Every route may answer with these.
ANYWHERE = (FailureKind.NO_OWNER, FailureKind.INTERNAL_ERROR, FailureKind.MISCONFIGURED)
GATEWAY_ALSO = "API Gateway also answers 429, in its own shape."
_PATHS: TypeAdapter[dict[str, dict[str, object]]] = TypeAdapter(dict[str, dict[str, object]])


def answers(
    good: Mapping[HTTPStatus, tuple[str, type[BaseModel] | None]],
    *failures: FailureKind,
    headers: Mapping[str, str] | None = None,
) -> dict[int, OpenAPIResponse]:
    """The answers of a route: its own, with `headers`, its `failures`, and those of API Gateway."""
    described: dict[int, OpenAPIResponse] = {}
    for status, (meaning, model) in good.items():
        described[int(status)] = {"description": meaning, "content": {}}
        if model:
            described[int(status)]["content"]["application/json"] = {"model": model}
        if headers:
            described[int(status)]["headers"] = {name: _header(about) for name, about in headers.items()}
    meanings: dict[int, str] = {}
    for kind in (*failures, *ANYWHERE):
        if kind.status:
            before = f"{meanings[kind.status]} " if kind.status in meanings else ""
            meanings[kind.status] = f"{before}`{kind.code}`: {kind.message}"
    too_many = int(HTTPStatus.TOO_MANY_REQUESTS)
    meanings[too_many] = f"{meanings.get(too_many, '')} {GATEWAY_ALSO}".strip()
    for answer, meaning in meanings.items():
        described[answer] = {"description": meaning, "content": {"application/json": {"model": Error}}}
    described[too_many]["content"] = {"application/json": {"schema": {"anyOf": [_ref(Error), _ref(Refusal)]}}}
    described[too_many]["headers"] = {
        "Retry-After": _header("Seconds to wait. Absent in API Gateway's answer.")
    }
    described[int(HTTPStatus.UNAUTHORIZED)] = {
        "description": "The token is missing or not valid. API Gateway answers this, in its own shape.",
        "content": {"application/json": {"model": Refusal}},
    }
    return described


def _header(about: str) -> OpenAPIResponseHeader:
    return {"description": about, "schema": {"type": "string"}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def describe(app: APIGatewayHttpResolver) -> dict[str, JsonValue]:
    """Describe all routes of `app`."""
    from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer  # noqa: PLC0415  # it takes a fifth of a cold start

    made = app.get_openapi_json_schema(
        title=TITLE,
        version=VERSION,
        description=ABOUT,
        security_schemes={"token": HTTPBearer(bearerFormat="JWT")},
        security=[{"token": []}],
    )
    described: dict[str, JsonValue] = json.loads(made)
    # powertools adds its own validation errors. This API answers 400, in its own shape.
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
    """List the operations of all paths."""
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
    """Return the methods of the route at `path` in the form of an `Allow` header; empty if there is no route."""
    for template, item in _PATHS.validate_python(described["paths"]).items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return ", ".join(method.upper() for method in item)
    return ""
