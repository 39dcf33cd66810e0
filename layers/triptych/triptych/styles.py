"""The catalogue of styles: named prompts that a client may choose from. Pure: reading one is `aws.styles`'."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError


class StylesError(ValueError):
    """The text is not a catalogue."""


class Style(BaseModel):
    """A style. Its prompt comes before the client's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    name: Annotated[str, Field(min_length=1, max_length=60)]
    description: Annotated[str, Field(min_length=1, max_length=200)]
    prompt: Annotated[str, Field(min_length=1, max_length=1000)]
    preview: Annotated[
        str | None, Field(max_length=500, pattern="^https://", description="URL of a picture in this style.")
    ] = None


_CATALOGUE: TypeAdapter[list[Style]] = TypeAdapter(Annotated[list[Style], Field(min_length=1, max_length=50)])


def parse(text: str) -> tuple[Style, ...]:
    """Return the styles of a catalogue: a JSON array of objects with the fields of Style.

    Raises:
        StylesError: It is no such array, or two styles have the same id.
    """
    try:
        styles = _CATALOGUE.validate_python(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise StylesError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError:
        raise StylesError("this is not valid JSON") from None
    if len({style.id for style in styles}) < len(styles):
        raise StylesError("two styles have the same id")
    return tuple(styles)
