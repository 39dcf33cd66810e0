"""Replicate's predictions in every shape, and the tag of the image that each is for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from triptych.replicate.predictions import Prediction
from triptych.replicate.tags import Tag
from triptych.settings import settings

pytestmark = pytest.mark.usefixtures("configured")
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


def test_tag_is_read_back_from_both_urls() -> None:
    assert Tag.of_query(TAG.on("https://api.example.com/hook", "a token").partition("?")[2]) == TAG
    assert Tag.of_photo_url(PHOTO_URL) == TAG


def test_key_belongs_to_one_tag_and_one_token() -> None:
    query = TAG.on("https://api.example.com/hook", "a token").partition("?")[2]
    assert TAG.has_key(query, "a token")
    assert not TAG.has_key(query, "another token")
    assert not TAG._replace(attempt=2).has_key(query, "a token")
    for wrong in ("", "key=", f"{query}&key=x", query[:-1], "key=\ud800"):
        assert not TAG.has_key(wrong, "a token")


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
def test_query_without_an_image_has_no_tag(query: str) -> None:
    assert Tag.of_query(query) is None


@given(st.text(max_size=100))
def test_reading_a_tag_never_raises(text: str) -> None:
    Tag.of_query(text)
    Tag.of_photo_url(text)
    Tag.of_photo_url(f"https://x/?response-content-disposition={text}")


@pytest.mark.parametrize("time", ["2026-11-29T12:00:00", "2026-11-29T12:00:00Z", "2026-11-29T21:00:00+09:00"])
def test_time_without_a_zone_is_utc(time: str) -> None:
    read = Prediction.model_validate({"id": "p", "created_at": time})
    assert read.created_at == datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_photo_url_is_found_in_the_models_image_field() -> None:
    scalar = Prediction.model_validate(
        {"id": "p", "input": {"prompt": "https://x", "input_image": PHOTO_URL}}
    )
    as_list = Prediction.model_validate({"id": "p", "input": {"prompt": "x", "input_image": [PHOTO_URL]}})
    assert scalar.tags == as_list.tags == {TAG}


def test_prompt_that_looks_like_a_photo_url_has_no_tag() -> None:
    other = PHOTO_URL.replace(TAG.job_id, "another-job")
    read = Prediction.model_validate({"id": "p", "input": {"prompt": other, "input_image": PHOTO_URL}})
    assert read.tags == {TAG}


def test_two_different_tags_are_both_returned() -> None:
    other = TAG.on("https://x", "a token").replace("image=2", "image=1")
    assert (
        len(
            Prediction.model_validate({"id": "p", "webhook": other, "input": {"input_image": PHOTO_URL}}).tags
        )
        == 2
    )


def test_photo_url_is_found_after_a_change_of_model(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Prediction.model_validate({"id": "p", "input": {"input_image": PHOTO_URL}})
    monkeypatch.setenv("REPLICATE_MODEL", "google/nano-banana-2")
    settings.cache_clear()
    assert read.tags == {TAG}


def test_photo_url_is_found_after_a_change_of_the_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Prediction.model_validate({"id": "p", "input": {"prompt": "x", "my_photo": PHOTO_URL}})
    monkeypatch.setenv("REPLICATE_INPUT_MAPPING", '{"image": "input_photo"}')
    settings.cache_clear()
    assert read.tags == {TAG}


def test_model_without_a_mapping_hides_no_other_models_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's own jobs fail as `model_not_configured`, and those that name another model work."""
    monkeypatch.setenv("REPLICATE_MODEL", "acme/own")
    settings.cache_clear()
    read = Prediction.model_validate({"id": "p", "input": {"prompt": PHOTO_URL, "image_input": [PHOTO_URL]}})
    assert read.tags == {TAG}


def test_prompt_in_another_models_photo_field_has_no_tag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mapping = '{"image": "photo", "prompt": "image"}'
    monkeypatch.setenv("REPLICATE_INPUT_MAPPING", mapping)
    settings.cache_clear()
    assert Prediction.model_validate({"id": "p", "input": {"image": PHOTO_URL}}).tags == set()


@pytest.mark.parametrize("webhook", ["https://x", "https://x?", "https://x?job_id=a&image=1", "http://[::1"])
def test_webhook_echo_without_our_query_adds_no_tag(webhook: str) -> None:
    body = {"id": "p", "webhook": webhook, "input": {"input_image": PHOTO_URL}}
    assert Prediction.model_validate(body).tags == {TAG}


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
def test_output_url_is_a_string_or_first_in_a_list(output: object, url: str | None) -> None:
    assert Prediction.model_validate({"id": "p", "output": output}).output_url == url


@given(
    st.dictionaries(
        st.sampled_from(["status", "input", "output", "error", "webhook", "created_at", "version", "model"]),
        json_values,
    )
)
def test_prediction_with_an_id_is_readable(odd: dict[str, object]) -> None:
    assert Prediction.model_validate({**odd, "id": "p"}).id == "p"


@pytest.mark.parametrize(
    "body", ["", "[]", "null", "{}", '{"id": ""}', '{"id": null}', '{"id": 1}', "<html>"]
)
def test_prediction_without_an_id_is_invalid(body: str) -> None:
    with pytest.raises(ValidationError):
        Prediction.model_validate_json(body)


def test_time_with_nine_fractional_digits_is_read() -> None:
    read = Prediction.model_validate({"id": "p", "created_at": "2026-11-24T12:00:00.123456789Z"}).created_at
    assert read
    assert read.microsecond == 123456
