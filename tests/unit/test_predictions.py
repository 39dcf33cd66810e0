"""What Replicate says, read whatever shape it comes in; and which picture it is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.function_environment import ENVIRONMENT
from triptych.replicate.predictions import Prediction
from triptych.replicate.tags import Tag
from triptych.settings import settings

TAG = Tag("0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52", 2, 1)
PHOTO_URL = (
    "https://photos.s3.ap-northeast-2.amazonaws.com/uploads/x/photo.jpg"
    f"?response-content-disposition=inline%3B%20filename%3D%22{TAG.file_name}%22&X-Amz-Signature=abc"
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_a_tag_comes_back_from_where_it_was_put() -> None:
    assert Tag.of_query(TAG.on("https://api.example.com/hook").partition("?")[2]) == TAG
    assert Tag.of_photo_url(PHOTO_URL) == TAG


@pytest.mark.parametrize(
    "query",
    [
        "",
        "job_id=a",
        "job_id=a&image=x&attempt=1",
        "job_id=&image=1&attempt=1",
        "job_id=a&job_id=b&image=1&attempt=1",
        "job_id=a&image=-1&attempt=1",
        "job_id=a&image=1&attempt=99999999",
        "&".join(["job_id=a&image=1&attempt=1"] * 9),
    ],
)
def test_a_query_that_names_no_picture_has_no_tag(query: str) -> None:
    assert Tag.of_query(query) is None


@given(st.text(max_size=100))
def test_any_text_may_be_looked_at_for_a_tag(text: str) -> None:
    Tag.of_query(text)
    Tag.of_photo_url(text)
    Tag.of_photo_url(f"https://x/?response-content-disposition={text}")


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()


def test_the_photo_is_found_in_the_field_that_the_model_has() -> None:
    scalar = Prediction.model_validate(
        {"id": "p", "input": {"prompt": "https://x", "input_image": PHOTO_URL}}
    )
    as_list = Prediction.model_validate({"id": "p", "input": {"prompt": "x", "input_image": [PHOTO_URL]}})
    assert scalar.tags == as_list.tags == {TAG}


def test_a_prompt_that_looks_like_a_photos_link_is_a_prompt() -> None:
    other = PHOTO_URL.replace(TAG.job_id, "another-job")
    told = Prediction.model_validate({"id": "p", "input": {"prompt": other, "input_image": PHOTO_URL}})
    assert told.tags == {TAG}


def test_two_tags_that_differ_are_both_told() -> None:
    other = TAG.on("https://x").replace("image=2", "image=1")
    assert (
        len(
            Prediction.model_validate({"id": "p", "webhook": other, "input": {"input_image": PHOTO_URL}}).tags
        )
        == 2
    )


def test_the_photo_of_a_model_of_before_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Prediction.model_validate({"id": "p", "input": {"input_image": PHOTO_URL}})
    monkeypatch.setenv("REPLICATE_MODEL", "google/nano-banana-2")
    settings.cache_clear()
    assert read.tags == {TAG}


def test_a_prompt_in_a_field_that_other_models_take_photos_in_is_a_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mapping = '{"image": "photo", "prompt": "image"}'
    monkeypatch.setenv("REPLICATE_INPUT_MAPPING", mapping)
    settings.cache_clear()
    assert Prediction.model_validate({"id": "p", "input": {"image": PHOTO_URL}}).tags == set()


@pytest.mark.parametrize("webhook", ["https://x", "https://x?", "https://x?job_id=a&image=1", "http://[::1"])
def test_an_echo_without_our_query_says_nothing(webhook: str) -> None:
    told = {"id": "p", "webhook": webhook, "input": {"input_image": PHOTO_URL}}
    assert Prediction.model_validate(told).tags == {TAG}


@pytest.mark.parametrize(
    ("output", "url"),
    [
        ("https://a/b.png", "https://a/b.png"),
        (["https://a/b.png", "https://a/c.png"], "https://a/b.png"),
        (None, None),
        ([], None),
        ([None], None),
        ({"url": "x"}, None),
        (7, None),
    ],
)
def test_the_picture_is_a_url_or_the_first_of_a_list(output: object, url: str | None) -> None:
    assert Prediction.model_validate({"id": "p", "output": output}).output_url == url


@given(
    st.dictionaries(
        st.sampled_from(["status", "input", "output", "error", "webhook", "created_at", "version", "model"]),
        json_values,
    )
)
def test_a_prediction_that_has_an_id_can_be_read(odd: dict[str, object]) -> None:
    assert Prediction.model_validate({**odd, "id": "p"}).id == "p"


@pytest.mark.parametrize(
    "body", ["", "[]", "null", "{}", '{"id": ""}', '{"id": null}', '{"id": 1}', "<html>"]
)
def test_without_an_id_it_is_no_prediction(body: str) -> None:
    with pytest.raises(ValidationError):
        Prediction.model_validate_json(body)


def test_nine_fractional_digits_are_a_time() -> None:
    read = Prediction.model_validate({"id": "p", "created_at": "2026-11-24T12:00:00.123456789Z"}).created_at
    assert read
    assert read.microsecond == 123456
