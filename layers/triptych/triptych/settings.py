"""The settings: template parameters, which reach a function as environment variables, checked once."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    ValidationError,
)

from triptych.models import InputMapping, mapping_for

if TYPE_CHECKING:
    from datetime import datetime


class MisconfiguredError(Exception):
    """A parameter of the stack has an invalid value. The message names its environment variable, without the value."""


type Seconds = Annotated[int, Field(gt=0)]
type Bytes = Annotated[int, Field(gt=0)]
type Limit = Annotated[int, Field(ge=0)]  # 0 is none


def _hosts(value: object) -> object:
    return _listed(value.lower()) if isinstance(value, str) else value


def _listed(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _known(models: tuple[str, ...]) -> tuple[str, ...]:
    for model in models:
        mapping_for(model)  # raises a ValueError that names the known ones
    return models


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


FIRST_LOOK_SECONDS = 60  # most jobs have ended by then


class Settings(BaseModel):
    """The settings of all functions. A setting that only some functions get is optional."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=AliasGenerator(validation_alias=str.upper),
        validate_by_name=True,
    )

    table: str
    bucket: str
    image_count: Annotated[int, Field(ge=1, le=10)] = 3  # only `api` gets it
    upload_url_seconds: Seconds
    download_url_seconds: Seconds = 900  # likewise
    watchdog_delay_seconds: Annotated[int, Field(ge=1, le=900)]
    generation_deadline_seconds: Seconds
    max_upload_bytes: Bytes
    max_photo_pixels: Annotated[int, Field(gt=0)] = 70_000_000  # only `generate` and `api` get it
    max_photo_edge: Annotated[int, Field(ge=0)] = 2048  # pixels; 0 is no limit; only `generate` gets it
    max_output_bytes: Bytes = 52_428_800  # only the functions that copy outputs get it
    allowed_output_hosts: Annotated[tuple[str, ...], BeforeValidator(_hosts)] = ()  # likewise
    replicate_delivery_hosts: Annotated[tuple[str, ...], BeforeValidator(_hosts)] = ()  # likewise
    allowed_callback_hosts: Annotated[tuple[str, ...], BeforeValidator(_hosts)] = ()
    retention_days: Annotated[int, Field(gt=0)]
    timezone: ZoneInfo
    default_prompt: str = ""  # only the functions that create predictions get it
    replicate_model: Annotated[str, Field(min_length=1)]
    replicate_input_mapping: Annotated[Json[InputMapping] | None, BeforeValidator(_none_if_empty)] = None
    allowed_models: Annotated[
        tuple[str, ...], BeforeValidator(_listed), AfterValidator(_known)
    ] = ()  # only `api` gets it
    styles_parameter: str = ""  # likewise
    replicate_token_parameter: str
    replicate_base_url: str
    daily_pictures_per_owner: Limit = 0
    daily_pictures: Limit = 0
    max_active_jobs_per_owner: Limit = 0
    waiting_clients: Limit = 0  # only `api` gets it
    picture_cost_dollars: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    webhook_url: str | None = None
    generation_queue_url: str | None = None
    waiting_queue_url: str | None = None
    watchdog_queue_url: str | None = None
    job_callback_queue_url: str | None = None
    job_callback_key: str | None = None  # an ARN
    stack_name: str | None = None

    @property
    def input_mapping(self) -> InputMapping:
        """How the model takes its input.

        Raises:
            ValueError: The model is unknown and the operator gave no mapping.
        """
        return self.mapping_of(None)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that a client may choose, the default first."""
        return (
            self.replicate_model,
            *(model for model in self.allowed_models if model != self.replicate_model),
        )

    def mapping_of(self, model: str | None) -> InputMapping:
        """How a model takes its input; None is the default model.

        Raises:
            ValueError: The model is unknown and the operator gave no mapping.
        """
        if model in {None, self.replicate_model} and self.replicate_input_mapping:
            return self.replicate_input_mapping
        return mapping_for(model or self.replicate_model)

    def takes_seed(self, model: str | None) -> bool:
        """Whether a model takes a seed. A model without a mapping takes none: its jobs fail."""
        try:
            return self.mapping_of(model).seed is not None
        except ValueError:
            return False

    @property
    def first_look_seconds(self) -> int:
        """From the creation or a retry of a job to the watchdog's first look. Never later than the deadline."""
        return min(FIRST_LOOK_SECONDS, self.watchdog_delay_seconds, self.generation_deadline_seconds)

    def local_time(self, time: datetime) -> str:
        """Return the time in ISO 8601 with offset, in the configured time zone."""
        return time.astimezone(self.timezone).isoformat(timespec="milliseconds")


@cache
def settings() -> Settings:
    """Return this function's settings, read from its environment once.

    Raises:
        MisconfiguredError: A variable is missing or invalid.
    """
    try:
        return Settings.model_validate(dict(os.environ))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)
        problems = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong)
        raise MisconfiguredError("; ".join(problems)) from None
