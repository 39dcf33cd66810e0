"""The API's OpenAPI 3.1 description, made from its routes."""

from __future__ import annotations

import json
import re
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import BaseModel, TypeAdapter

from triptych.failures import FailureKind
from views import METADATA_NAME, PHOTO_TYPE, ErrorResponse, Refusal, without_null

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
    from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse, OpenAPIResponseHeader
    from pydantic import JsonValue

TITLE = "Triptych"
VERSION = "1"
ABOUT = """\
One photo goes up, three generated images come back.

1. `POST /api/v1/jobs` creates a job.
2. `PUT` the photo to `upload.url`, with exactly the headers of `upload.headers`.
3. `GET /api/v1/jobs/{job_id}` until `ended_at` is set. Then `status` is `SUCCEEDED`, `PARTIAL`, `FAILED`, `CANCELED` or `EXPIRED`.

All errors of this API have one shape: a `code` for programs and a `message` for people. API Gateway answers 401, \
404 outside `/api/v1`, 413, and some 429, 500 and 503 itself, with only a `message`.

**From a browser**, the API and the upload answer only pages whose origin is in the stack's parameter `AllowedOrigins`. From \
any other origin, `fetch` fails and gives no reason. Ask the operator to add yours. On your own machine, start the local cloud \
with `--parameter-overrides AllowedOrigins=http://localhost:5173`, or whichever your page has.

**The upload goes to S3**, which answers in XML:

| S3's answer | why |
|---|---|
| 403 `SignatureDoesNotMatch` | The type, the length or a header differs from the order. |
| 403 `AccessDenied` | The URL has expired. Get the job: its `upload` has a new one, or is null if it is too late. |
| 412 `PreconditionFailed` | The photo is already there. |
| 400 `RequestTimeout` | The bytes ceased to arrive. Upload again. |
| 400 `ExpiredToken` | The session that signed the URL has ended. Get the job: its `upload` has a new URL. |
| 400 `BadDigest` | The bytes do not have the announced `checksum_sha256`. |
"""
SIGN_IN = """\
Send `Authorization: Bearer TOKEN` with each request to this API, but not with the upload to S3. The token is a JWT of the \
stack's issuer; its `sub` is the owner of the jobs. The local cloud prints one when it starts. If the stack has its own Cognito user pool, Cognito's \
`InitiateAuth` with the flow `USER_PASSWORD_AUTH` and the client id of the stack's output `UserPoolClientId` returns it as \
`IdToken`. Renew it with the flow `REFRESH_TOKEN_AUTH`.
"""
LIST_JOBS = "listJobs"
JOBS, STACK = "jobs", "stack"
TAGS = {JOBS: "Orders and their images.", STACK: "What the stack offers, and what you have used of it."}
# Every route may answer with these.
ANYWHERE = (
    FailureKind.INVALID_REQUEST,
    FailureKind.NO_OWNER,
    FailureKind.INTERNAL_ERROR,
    FailureKind.MISCONFIGURED,
)
# An exploded object of the style "form": each of its entries is a query parameter.
METADATA_FILTER: dict[str, JsonValue] = {
    "name": "metadata",
    "in": "query",
    "required": False,
    "style": "form",
    "explode": True,
    "description": "Only jobs with these entries, each as a query parameter of its own: `metadata.order=A-17`.",
    "schema": {
        "type": "object",
        "propertyNames": {"pattern": rf"^metadata\.{METADATA_NAME}$"},
        "additionalProperties": {"type": "string"},
        "examples": [{"metadata.order": "A-17"}],
    },
}
GATEWAY_ALSO: dict[int, str] = {
    HTTPStatus.TOO_MANY_REQUESTS: "API Gateway also answers 429, in its own shape.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "API Gateway also answers 500, in its own shape, if a function did not answer.",
    HTTPStatus.SERVICE_UNAVAILABLE: "API Gateway also answers 503, in its own shape. Send the request again.",
}
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
    for answer, meaning in GATEWAY_ALSO.items():
        meanings[answer] = f"{meanings.get(answer, '')} {meaning}".strip()
    for answer, meaning in meanings.items():
        described[answer] = {
            "description": meaning,
            "content": {"application/json": {"model": ErrorResponse}},
        }
    for answer in GATEWAY_ALSO:
        described[answer]["content"] = {
            "application/json": {"schema": {"anyOf": [_ref(ErrorResponse), _ref(Refusal)]}}
        }
    described[int(HTTPStatus.TOO_MANY_REQUESTS)]["headers"] = {
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


@cache  # everybody may ask for it
def describe(app: APIGatewayHttpResolver) -> dict[str, JsonValue]:
    """Describe all routes of `app`."""
    from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer, Tag  # noqa: PLC0415  # it takes a fifth of a cold start

    import event  # noqa: PLC0415  # nothing else here needs it

    made = app.get_openapi_json_schema(
        title=TITLE,
        version=VERSION,
        description=ABOUT,
        security_schemes={"token": HTTPBearer(bearerFormat="JWT", description=SIGN_IN)},
        security=[{"token": []}],
        tags=[Tag(name=name, description=about) for name, about in TAGS.items()],
    )
    described: dict[str, JsonValue] = json.loads(made)
    # powertools adds its own validation errors. This API answers 400, in its own shape.
    for operation in operations(described):
        responses = operation["responses"]
        if isinstance(responses, dict):
            responses.pop("422", None)
        parameters = operation.get("parameters")
        if isinstance(parameters, list):
            _without_null(parameters)
            if operation["operationId"] == LIST_JOBS:
                parameters.append(METADATA_FILTER)
    components = described["components"]
    if isinstance(components, dict) and isinstance(components["schemas"], dict):
        for name in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        components["schemas"] |= event.schemas() | {"PhotoType": PHOTO_TYPE}
    described["webhooks"] = event.webhooks(JOBS)
    described.pop("servers", None)
    return described


def _without_null(parameters: list[JsonValue]) -> None:
    for parameter in parameters:
        if isinstance(parameter, dict) and isinstance(schema := parameter["schema"], dict):
            without_null(schema)


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
