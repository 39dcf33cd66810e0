"""Each model's preset against the stand-in, and both against the schemas that Replicate publishes of its models.

`tests/support/replicate/models.json` holds the fields of each model's input and the form of its output, from the page
that it names, as read on 2026-11-27. No such page of the models in UNRECORDED was found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.localcloud import replicate
from tests.support.replicate import creation
from tests.support.replicate.creation import MODELS
from triptych.models import PRESETS, InputMapping

TOKEN = "r8_the_token_of_this_test"
PHOTO = "http://127.0.0.1:9/prepared/j/photo.jpg"  # no test fetches it
RECORDED: dict[str, Any] = json.loads(Path(creation.__file__).with_name("models.json").read_text())
UNRECORDED = {"black-forest-labs/flux-2-pro", "qwen/qwen-image-edit-2511"}
TYPES = {"string": str, "enum": str, "integer": int, "boolean": bool, "array": list}


@pytest.fixture(scope="module")
def stand_in() -> Iterator[replicate.StandIn]:
    with replicate.start(TOKEN, seconds=0.01) as server:
        yield server


def status_of(stand_in: replicate.StandIn, model: str, mapping: InputMapping) -> int:
    body = {"version": model, "input": mapping.input_for(PHOTO, "Paint it.", 7)}
    headers = {"authorization": f"Bearer {TOKEN}"}
    url = f"{stand_in.url}/v1/predictions"
    return httpx.post(url, json=body, headers=headers, trust_env=False).status_code


def test_every_model_of_the_stand_in_has_a_preset() -> None:
    assert set(PRESETS) == set(MODELS)


@pytest.mark.parametrize("model", PRESETS)
def test_preset_input_is_accepted(stand_in: replicate.StandIn, model: str) -> None:
    assert status_of(stand_in, model, PRESETS[model]) == 201


@pytest.mark.parametrize("model", PRESETS)
def test_input_in_another_shape_is_refused(stand_in: replicate.StandIn, model: str) -> None:
    preset = PRESETS[model]
    assert status_of(stand_in, model, preset.model_copy(update={"image": "photo"})) == 422
    assert (
        status_of(stand_in, model, preset.model_copy(update={"image_is_list": not preset.image_is_list}))
        == 422
    )
    assert status_of(stand_in, model, preset.model_copy(update={"prompt": None})) == 422


def test_every_preset_is_recorded_or_named_as_unrecorded() -> None:
    assert set(PRESETS) == RECORDED.keys() | UNRECORDED


@pytest.mark.parametrize("model", RECORDED)
def test_preset_input_has_the_fields_of_the_published_schema(model: str) -> None:
    fields = RECORDED[model]["input"]
    given = PRESETS[model].input_for(PHOTO, "Paint it.", 7)
    assert given.keys() <= fields.keys()
    assert all(isinstance(value, TYPES[fields[name]]) for name, value in given.items())
    assert ("seed" in given) is ("seed" in fields)
    assert given["prompt"] == "Paint it."


@pytest.mark.parametrize("model", RECORDED)
def test_stand_in_model_is_as_the_published_schema(model: str) -> None:
    recorded, known = RECORDED[model], MODELS[model]
    assert recorded["input"][known.photo] == ("array" if known.takes_list else "string")
    assert recorded["output"] == ("array" if known.gives_list else "string")
    assert recorded["output_format"] in {known.formats[0], None}
