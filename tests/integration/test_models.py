"""Each model's preset against the stand-in, which validates a model's input as Replicate does."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.localcloud import replicate
from tests.support.replicate.creation import MODELS
from triptych.models import PRESETS, InputMapping

TOKEN = "r8_the_token_of_this_test"
PHOTO = "http://127.0.0.1:9/prepared/j/photo.jpg"  # no test fetches it


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
