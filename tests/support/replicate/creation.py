"""What Replicate accepts as a create request, by model."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from tests.support.replicate.refusals import NOT_FOUND, Json, RefusedError, invalid

Event = Literal["start", "output", "logs", "completed"]

MINIMUM_LIFETIME = 5  # seconds; the least that Cancel-After accepts
CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
CANCEL_AFTER = re.compile(r"(?=.)(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?|([0-9]{1,9})")
VERSION_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Model:
    """A model's input for the photo and form of its output."""

    photo: str  # the input field
    formats: tuple[str, ...]  # of output_format, the default first
    takes_list: bool = False
    gives_list: bool = False


MODELS = {
    "black-forest-labs/flux-kontext-pro": Model("input_image", ("png", "jpg")),
    "black-forest-labs/flux-2-pro": Model("input_images", ("webp", "jpg", "png"), takes_list=True),
    "google/nano-banana-2": Model("image_input", ("jpg", "png"), takes_list=True),
    "bytedance/seedream-4": Model("image_input", ("jpg",), takes_list=True, gives_list=True),
    "qwen/qwen-image-edit-2511": Model("image", ("webp", "jpg", "png"), takes_list=True, gives_list=True),
}
PHOTO_FIELDS = sorted({model.photo for model in MODELS.values()})


ALLOW_HTTP = "webhook URLs with http are accepted"  # a validation context


class Creation(BaseModel):
    """The body of a create request for a model or a deployment."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: Json
    webhook: str | None = None
    webhook_events_filter: list[Event] | None = None
    stream: bool = False

    @field_validator("webhook")
    @classmethod
    def _absolute(cls, url: str | None, info: ValidationInfo) -> str | None:
        schemes = ("https", "http") if info.context == ALLOW_HTTP else ("https",)
        if url is not None and not is_web_address(url, schemes):
            raise ValueError(f"must be an absolute {' or '.join(schemes)} URL")
        return url


class VersionCreation(Creation):
    """The body of a create request that names its model by `version`."""

    version: str


@dataclass(frozen=True)
class Request:
    """A create request that Replicate accepts."""

    model: str
    version: str
    input: Json
    photo: str  # URL
    extension: str  # of the output
    gives_list: bool
    webhook: str | None
    events: tuple[Event, ...] | None
    cancel_after: str | None  # the header
    lifetime: float  # seconds that it names; infinite without it


def read(
    name: str | None, body: bytes, cancel_after: str | None, *, allow_http_webhooks: bool = False
) -> Request:
    """Read a create request for model `name`, or for the model in the body's `version` if `name` is None.

    Raises:
        RefusedError: Replicate would not accept it.
    """
    context = ALLOW_HTTP if allow_http_webhooks else None
    try:
        kind = Creation if name else VersionCreation
        asked = kind.model_validate_json(body, context=context)
    except ValidationError as error:
        raise _as_invalid(error) from None
    version = "hidden"
    if isinstance(asked, VersionCreation):
        name, version = _parse_version(asked.version)
    extension, gives_list, photo = _check_input(name, asked.input)
    return Request(
        name or "unknown/unknown",
        version,
        asked.input,
        photo,
        extension,
        gives_list,
        asked.webhook,
        None if asked.webhook_events_filter is None else tuple(asked.webhook_events_filter),
        cancel_after,
        parse_cancel_after(cancel_after),
    )


def is_web_address(url: str, schemes: tuple[str, ...] = ("https", "http")) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def parse_cancel_after(header: str | None) -> float:
    """Return the seconds in a Cancel-After header (30s, 5m, 1h30m45s, bare seconds); infinite without a header.

    Raises:
        RefusedError: 422, the value is invalid or shorter than five seconds.
    """
    if header is None:
        return math.inf
    match = CANCEL_AFTER.fullmatch(header)
    if match is None:
        raise invalid(("Cancel-After", f"{header!r} is not a duration such as 30s, 5m or 1h30m45s"))
    hours, minutes, seconds, bare = (int(part or 0) for part in match.groups())
    lifetime = hours * 3600 + minutes * 60 + seconds + bare
    if lifetime < MINIMUM_LIFETIME:
        raise invalid(("Cancel-After", f"must be at least {MINIMUM_LIFETIME} seconds"))
    return lifetime


def _as_invalid(error: ValidationError) -> RefusedError:
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return RefusedError(400, {"detail": "The request body is not JSON", "status": 400})
    problems = [(".".join(map(str, each["loc"])) or "body", each["msg"]) for each in error.errors()]
    return invalid(*problems)


def describe_model(name: str, version: str) -> Json:
    """Return what the API tells of a model, or of one of its versions if `version` is given. Every version of a known model exists.

    Raises:
        RefusedError: 404, there is no such model or version.
    """
    if name not in MODELS or (version and not VERSION_HASH.fullmatch(version)):
        raise RefusedError(404, NOT_FOUND)
    owner, _, short = name.partition("/")
    return {"id": version} if version else {"owner": owner, "name": short, "visibility": "public"}


def _parse_version(version: str) -> tuple[str | None, str]:
    """Return model (None for a bare hash) and version of owner/name, owner/name:hash or a hash."""
    if VERSION_HASH.fullmatch(version):
        return None, version
    name, colon, digest = version.partition(":")
    if "/" not in name or (colon and not VERSION_HASH.fullmatch(digest)):
        raise RefusedError(
            422,
            {
                "title": "Invalid version or not permitted",
                "detail": "The specified version does not exist (or perhaps you don't have permission to use it?)",
                "status": 422,
                "invalid_fields": [{"field": "version", "description": "does not exist"}],
            },
        )
    return name, digest or "hidden"


def _check_input(name: str | None, given: Json) -> tuple[str, bool, str]:
    """Return the output's extension, whether the output is a list, and the photo's URL.

    Raises:
        RefusedError: 404, there is no such model; 422, the model does not accept this input.
    """
    if name is None:  # a bare hash accepts the photo in every known form
        photo_field = next((field for field in PHOTO_FIELDS if field in given), "image")
        model = Model(photo_field, tuple(CONTENT_TYPES), takes_list=isinstance(given.get(photo_field), list))
    elif name in MODELS:
        model = MODELS[name]
    else:
        raise RefusedError(404, NOT_FOUND)
    seed, photo = given.get("seed", 0), given.get(model.photo)
    extension = given.get("output_format", model.formats[0])
    photos = photo if isinstance(photo, list) else [photo]
    problems: list[tuple[str, str]] = []
    if not isinstance(given.get("prompt"), str):
        problems.append(("input.prompt", "is required, as a string"))
    if isinstance(seed, bool) or not isinstance(seed, int):
        problems.append(("input.seed", "must be an integer"))
    if extension not in model.formats:
        problems.append(("input.output_format", f"must be one of {', '.join(model.formats)}"))
    if isinstance(photo, list) is not model.takes_list:
        form = "a list of URLs" if model.takes_list else "a URL"
        problems.append((f"input.{model.photo}", f"is required, as {form}"))
    elif not photos or not all(isinstance(url, str) and is_web_address(url) for url in photos):
        problems.append((f"input.{model.photo}", "must be an http or https URL"))
    if problems:
        raise invalid(*problems)
    return str(extension), model.gives_list, str(photos[0])
