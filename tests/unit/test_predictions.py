"""Replicate's predictions in every shape, and the tag of the image that each is for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from triptych.failures import FailureKind
from triptych.replicate import predictions, transport
from triptych.replicate.predictions import Answer, InDoubt, NotCreated, Prediction, Refused
from triptych.replicate.tags import Tag
from triptych.runtime.budget import TimeBudget
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


def test_query_with_too_many_fields_is_not_read() -> None:
    query = TAG.on("https://x", "a token").partition("?")[2]
    most = query + 12 * "&a=1"  # beside the four of the tag
    assert Tag.of_query(most) == TAG
    assert TAG.has_key(most, "a token")
    assert Tag.of_query(most + "&a=1") is None
    with pytest.raises(ValueError, match="fields"):
        TAG.has_key(most + "&a=1", "a token")
    assert Tag.of_photo_url(PHOTO_URL + 30 * "&a=1") == TAG
    assert Tag.of_photo_url(PHOTO_URL + 31 * "&a=1") is None


def test_url_of_two_photos_has_no_tag() -> None:
    other = PHOTO_URL.partition("?")[2].replace(f"{TAG.image}.1", "0.1")
    assert Tag.of_photo_url(f"{PHOTO_URL}&{other}") is None


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


# ── what an answer means ──


def answered(status: int, **headers: str) -> transport.HttpError:
    return transport.HttpError(status, httpx.Headers(headers), b"{}")


def test_only_an_answer_of_replicates_own_server_shortens_a_doubt() -> None:
    for statuses, is_own in (
        ((500, 501, 503, 505, 519, 525), True),
        ((408, 502, 504, *range(520, 525)), False),
    ):
        for status in statuses:
            doubt = InDoubt(answered=is_own, reason=f"HTTP {status}")
            assert predictions._result_of(answered(status)) == doubt


@pytest.mark.parametrize(
    ("statuses", "failure"),
    [
        ((400, 409, 410, 499), FailureKind.REPLICATE_REFUSED),
        ((401, 403), FailureKind.REPLICATE_UNAUTHORIZED),
        ((402,), FailureKind.REPLICATE_OUT_OF_CREDIT),
        ((404,), FailureKind.REPLICATE_MODEL_NOT_FOUND),
        ((422,), FailureKind.REPLICATE_INPUT_REJECTED),
    ],
)
def test_refusal_says_what_the_operator_can_do(statuses: tuple[int, ...], failure: FailureKind) -> None:
    for status in statuses:
        assert predictions._result_of(answered(status)) == Refused(failure)


def test_refusal_keeps_the_time_that_replicate_names() -> None:
    result = predictions._result_of(answered(429, **{"retry-after": "7"}))
    assert result == NotCreated(7, "HTTP 429", throttled=True)


@pytest.fixture
def cancellations(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception | None]:
    """What becomes of the cancellation of each prediction."""
    outcomes: dict[str, Exception | None] = {}

    def read(_: object, call: Callable[[Any], object]) -> None:
        client = SimpleNamespace(predictions=SimpleNamespace(cancel=lambda prediction_id: prediction_id))
        if error := outcomes[str(call(client))]:
            raise error

    monkeypatch.setattr(transport, "read", read)
    return outcomes


@pytest.mark.parametrize(
    ("outcome", "ended"),
    [
        (None, True),
        (answered(400), True),
        (answered(409), True),
        (answered(422), True),
        (answered(401), False),
        (answered(404), False),  # it may be too new to be known
        (answered(429), False),
        (transport.ReplicateUnavailableError("HTTP 503"), False),
    ],
)
def test_cancellation_that_may_have_failed_is_no_end(
    cancellations: dict[str, Exception | None], outcome: Exception | None, *, ended: bool
) -> None:
    cancellations |= {"a": None, "b": outcome}
    assert predictions.cancel("b") is ended
    assert predictions.cancel_all(["b"]) is ended
    assert predictions.cancel_all(["a", "b"]) is ended
    assert predictions.cancel_all([])


def test_cancellation_that_is_about_to_end_is_awaited(
    cancellations: dict[str, Exception | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cancellations |= {"a": None, "b": None}
    cancel, late = predictions.cancel, threading.Event()

    def slowly(prediction_id: str) -> bool:
        late.wait(0.05 if predictions.CANCEL_GRACE_SECONDS else 60)
        return cancel(prediction_id)

    monkeypatch.setattr(predictions, "cancel", slowly)
    monkeypatch.setattr(transport, "READ_SECONDS", 0)
    monkeypatch.setattr(predictions, "CANCEL_GRACE_SECONDS", 30)
    assert predictions.cancel_all(["a", "b"])
    monkeypatch.setattr(predictions, "CANCEL_GRACE_SECONDS", 0)
    try:
        assert not predictions.cancel_all(["a", "b"])
    finally:
        late.set()


@pytest.mark.parametrize(("seconds", "header"), [(4, "5s"), (5, "5s"), (1800, "1800s")])
def test_cancel_after_is_never_below_what_replicate_takes(
    monkeypatch: pytest.MonkeyPatch, seconds: int, header: str
) -> None:
    sent: list[object] = []

    def keep(_: object, headers: dict[str, str]) -> object:
        sent.append(headers)
        raise transport.TooLateToSendError

    monkeypatch.setattr(transport, "token", lambda: "a token")
    monkeypatch.setattr(transport, "Exchange", keep)
    new = predictions.NewPrediction(TAG, PHOTO_URL, "Paint it.", 1)
    predictions.create([new], webhook_url="https://x", cancel_after=seconds)
    assert sent == [{"Cancel-After": header}]


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (b'{"id": "p1"}', predictions.Created("p1")),
        (b"{}", InDoubt(answered=True, reason="unreadable answer")),
        (httpx.ReadError("cut"), InDoubt(answered=False, reason="ReadError")),
        (httpx.ConnectError("refused"), NotCreated(None, "ConnectError")),
        (httpx.ConnectTimeout("slow"), NotCreated(None, "ConnectTimeout")),
        (httpx.PoolTimeout("full"), NotCreated(None, "PoolTimeout")),
        (transport.TooLateToSendError(), NotCreated(None, "TooLateToSendError")),
        (answered(503), InDoubt(answered=True, reason="HTTP 503")),
    ],
)
def test_request_that_may_have_been_sent_is_a_doubt(
    monkeypatch: pytest.MonkeyPatch, outcome: bytes | Exception, answer: Answer
) -> None:
    exchange = SimpleNamespace(body=outcome, left=None)

    def send(_: object) -> None:
        if isinstance(outcome, Exception):
            raise outcome

    monkeypatch.setattr(transport, "Exchange", lambda *_: exchange)
    monkeypatch.setattr(transport, "send", send)
    new = predictions.NewPrediction(TAG, PHOTO_URL, "Paint it.", 1)
    assert predictions._create(new, "a token", "https://x", 60, TimeBudget(60)) == answer


# ── several requests ──

type OneAnswer = Callable[[predictions.NewPrediction], Answer]


@pytest.fixture
def create(monkeypatch: pytest.MonkeyPatch) -> Callable[[OneAnswer], list[Answer]]:
    """Create three predictions, each of which is answered so."""
    monkeypatch.setattr(transport, "token", lambda **_: "a token")

    def created(answer: OneAnswer) -> list[Answer]:
        monkeypatch.setattr(predictions, "_create", lambda one, *_: answer(one))
        new = [predictions.NewPrediction(TAG._replace(image=image), PHOTO_URL, "", 1) for image in range(3)]
        return predictions.create(new, webhook_url="https://x", cancel_after=60)

    return created


def id_of(one: predictions.NewPrediction) -> Answer:
    return predictions.Created(f"p{one.tag.image}")


IDS = [predictions.Created(f"p{image}") for image in range(3)]


def test_unknown_error_of_one_request_is_a_doubt(
    create: Callable[[OneAnswer], list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(predictions, "unexpected", told.append)

    def answer(one: predictions.NewPrediction) -> Answer:
        if one.tag.image == 1:
            raise LookupError
        return id_of(one)

    assert create(answer) == [IDS[0], InDoubt(answered=False, reason="LookupError"), IDS[2]]
    assert len(told) == 1


def test_request_that_does_not_end_is_a_doubt(
    create: Callable[[OneAnswer], list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "CREATE_SECONDS", 0.3)
    monkeypatch.setattr(predictions, "CREATE_GRACE_SECONDS", 0)
    over = threading.Event()

    def answer(one: predictions.NewPrediction) -> Answer:
        if one.tag.image == 1:
            over.wait(60)
        return id_of(one)

    try:
        assert create(answer)[1] == InDoubt(answered=False, reason="no answer")
    finally:
        over.set()


def test_request_that_is_about_to_end_is_awaited(
    create: Callable[[OneAnswer], list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "CREATE_SECONDS", 0)
    monkeypatch.setattr(predictions, "CREATE_GRACE_SECONDS", 30)

    def answer(one: predictions.NewPrediction) -> Answer:
        threading.Event().wait(0.05)
        return id_of(one)

    assert create(answer) == IDS


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (transport.NoTokenError(), predictions.UNAUTHORIZED),
        (transport.TokenUnreadableError(), Refused(FailureKind.REPLICATE_TOKEN_UNREADABLE)),
        (transport.ReplicateUnavailableError("SSM fails"), NotCreated(None, "SSM fails")),
    ],
)
def test_without_a_token_no_request_is_sent(
    create: Callable[[OneAnswer], list[Answer]],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    answer: Answer,
) -> None:
    def token() -> str:
        raise error

    monkeypatch.setattr(transport, "token", token)
    assert create(id_of) == [answer] * 3


@pytest.mark.parametrize("fresh", ["another", transport.ReplicateUnavailableError("SSM fails")])
def test_refused_token_that_may_be_rotated_refuses_no_prediction(
    create: Callable[[OneAnswer], list[Answer]], monkeypatch: pytest.MonkeyPatch, fresh: str | Exception
) -> None:
    monkeypatch.setattr(transport, "token", token_that_becomes(fresh))
    rotated = NotCreated(None, "the token may have been rotated")
    answers = create(lambda one: id_of(one) if one.tag.image == 1 else predictions.UNAUTHORIZED)
    assert answers == [rotated, IDS[1], rotated]


@pytest.mark.parametrize("fresh", ["a token", transport.NoTokenError(), transport.TokenUnreadableError()])
def test_refused_token_that_is_the_stored_one_refuses_the_prediction(
    create: Callable[[OneAnswer], list[Answer]], monkeypatch: pytest.MonkeyPatch, fresh: str | Exception
) -> None:
    monkeypatch.setattr(transport, "token", token_that_becomes(fresh))
    assert create(lambda _: predictions.UNAUTHORIZED) == [predictions.UNAUTHORIZED] * 3


def token_that_becomes(fresh_one: str | Exception) -> Callable[..., str]:
    def token(*, fresh: bool = False) -> str:
        if fresh and isinstance(fresh_one, Exception):
            raise fresh_one
        return str(fresh_one) if fresh else "a token"

    return token
