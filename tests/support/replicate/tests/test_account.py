"""The account behind each stand-in for Replicate: states, list and limits under any order of calls."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.replicate import creation, schema, webhooks
from tests.support.replicate.account import PAGE, TIMED_OUT, Account, per_minute
from tests.support.replicate.api import Answer, Api
from tests.support.replicate.limits import LOW_CREDIT_CREATES, Limiter, LowCredit
from tests.support.replicate.prediction import SECOND, Prediction, timestamp
from tests.support.replicate.refusals import Json, RefusedError

START = 1_700_000_000 * SECOND
TOKEN = "r8_test"
KONTEXT = "black-forest-labs/flux-kontext-pro"
INPUT: Json = {"prompt": "a", "input_image": "https://bucket.example/photo.jpg?signed=1"}
BODY = json.dumps({"version": KONTEXT, "input": INPUT, "webhook": "https://api.example.com/hook"}).encode()
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}

type Operation = Literal["create", "start", "succeeded", "failed", "canceled", "aborted", "wait"]


def create(account: Account, now: int, cancel_after: str | None = None) -> Prediction:
    return account.create(creation.read(None, BODY, cancel_after), now)


def account() -> Account:
    return Account(secret="whsec_", run_seconds=100, retention=50)


def ask(api: Api, method: str, target: str, now: int = START, body: bytes = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.answer(method, target, AUTHORIZED | named, body, now)


@settings(deadline=None)  # a shared machine may pause
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["create", "start", "succeeded", "failed", "canceled", "aborted", "wait"]),
            st.integers(0, 3),
            st.integers(0, 60),
        ),
        max_size=30,
    )
)
def test_every_order_of_calls_keeps_the_rules(calls: list[tuple[Operation, int, int]]) -> None:
    it, now, made = account(), START, list[Prediction]()
    ends: dict[str, tuple[object, ...]] = {}

    def ended(prediction: Prediction) -> None:
        assert prediction.id not in ends, "it ended twice"
        ends[prediction.id] = (prediction.status, prediction.completed, prediction.output, prediction.error)

    it.on_end = ended
    for operation, which, number in calls:
        if operation == "create":
            made.append(create(it, now, f"{number}s" if number >= creation.MINIMUM_LIFETIME else None))
        elif operation == "wait":
            now += number * SECOND
        elif made:
            one = made[which % len(made)]
            try:
                if operation == "start":
                    it.start(one, now)
                else:
                    it.end(
                        one, operation, now, output="https://a/b.png" if operation == "succeeded" else None
                    )
            except ValueError:
                assert operation in {"start", "succeeded", "failed", "aborted"}
                assert one.completed is None
        it.advance(now)
        for one in made:
            check(it, one, now)
            state = (one.status, one.completed, one.output, one.error)
            assert (one.completed is not None) == (one.id in ends)
            assert ends.get(one.id, state) == state, "it changed after its end"


def check(it: Account, one: Prediction, now: int) -> None:
    """Check a prediction on its own at this time."""
    schema.Prediction.model_validate_json(json.dumps(it.view(one)))
    assert one.billed == (one.started is not None)
    assert one.status != "aborted" or not one.billed
    assert one.status not in {"succeeded", "failed"} or one.billed
    if one.completed is None:
        assert one.expires is None or now < one.expires
        assert one.started is None or now < one.started + 100 * SECOND
    else:
        assert one.completed <= now
        assert one.expires is None or one.completed <= one.expires
        assert one.data_removed == (now >= one.completed + 50 * SECOND)
        assert not (one.data_removed and (it.view(one)["output"] or it.view(one)["input"]))


@pytest.mark.parametrize(("started", "status"), [(False, "aborted"), (True, "canceled")])
def test_deadline_ends_a_prediction_by_its_state(*, started: bool, status: str) -> None:
    it = account()
    one = create(it, START, "30s")
    if started:
        it.start(one, START + SECOND)
    it.advance(START + 30 * SECOND - 1)
    assert one.completed is None
    it.advance(START + 900 * SECOND)
    assert one.status == status
    assert one.completed == START + 30 * SECOND


def test_run_that_takes_too_long_fails() -> None:
    it = account()
    one = create(it, START)
    assert it.ends_by(one, 7) == 7
    it.start(one, START)
    assert not it.end(one, "succeeded", START + 200 * SECOND)
    assert (one.status, one.error) == ("failed", TIMED_OUT)
    assert one.completed == START + 100 * SECOND == it.ends_by(one, 7)


def test_impossible_move_is_an_error() -> None:
    it = account()
    with pytest.raises(ValueError, match="from starting to succeeded"):
        it.end(create(it, START), "succeeded", START)


# ── the list ──


@settings(deadline=None)  # a shared machine may pause
@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=3 * PAGE),
    st.sampled_from([None, SECOND, 7 * SECOND]),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(0, 30),
)
def test_pages_hold_each_row_of_the_window_once(
    times: list[int], busy_every: int | None, after: int, before: int, lag: int
) -> None:
    it, now = account(), START + 300 * SECOND
    it.busy_every, it.lag = busy_every, float(lag)
    for second in sorted(times):
        create(it, START + second * SECOND)
    query = {
        "created_after": timestamp(START + after * SECOND)[:-4] + "Z",
        "created_before": timestamp(START + before * SECOND)[:-4] + "Z",
    }
    pages = [it.page(query, now)]
    while address := pages[-1]["next"]:
        pages.append(it.page(dict(parse_qsl(urlsplit(str(address)).query)), now))
    read = [schema.Page.model_validate_json(json.dumps(page)) for page in pages]
    rows = [row for page in read for row in page.results]
    end = min(before, 300 - lag + 1)  # a row of now is in the list
    wanted = {one.id for one in it.predictions.values() if after <= (one.created - START) // SECOND < end}
    assert {row.id for row in rows if not row.id.startswith("other")} == wanted
    assert len({row.id for row in rows}) == len(rows)
    assert all(newer.created_at >= older.created_at for newer, older in pairwise(rows))
    assert all(len(page.results) == PAGE for page in read[:-1])
    assert any(row.id.startswith("other") for row in rows) <= (busy_every is not None)
    if len(pages) > 1:
        address = str(pages[-1]["previous"])
        back = it.page(dict(parse_qsl(urlsplit(address).query)), now)
        assert back["results"] == pages[-2]["results"]


# ── limits ──


@settings(deadline=None)  # a shared machine may pause
@given(st.integers(1, 20), st.floats(0.01, 60), st.lists(st.floats(0, 100), max_size=200))
def test_bucket_gives_its_burst_and_its_rate(burst: int, every: float, pauses: list[float]) -> None:
    limit, now, taken = Limiter(burst, every), 1e9, list[float]()
    for pause in pauses:
        now += pause
        left, wait = limit.take(now)
        if left < 0:
            assert 0 < wait <= every * 1.001
            now += wait + 0.001
            assert limit.take(now)[0] >= 0, "the named wait is too short"
        taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) / every + 0.01


@settings(deadline=None)  # a shared machine may pause
@given(st.floats(0, 10), st.floats(0, 120), st.lists(st.floats(0, 30), max_size=60))
def test_low_credit_is_never_exceeded(apart: float, minute: float, pauses: list[float]) -> None:
    limit, now, taken = LowCredit(apart, minute), 1000.0, list[float]()
    for pause in pauses:
        now += pause
        left, wait = limit.take(now)
        if left < 0:
            now += wait + 1e-6
            assert limit.take(now)[0] == 0, "the named wait is too short"
        taken.append(now)
    assert all(later - sooner >= apart - 1e-9 for sooner, later in pairwise(taken))
    of_minute = zip(taken, taken[LOW_CREDIT_CREATES:], strict=False)
    assert all(seventh - first >= minute - 1e-9 for first, seventh in of_minute)


def test_throttled_answer_holds_the_hints() -> None:
    it = account()
    it.creates, it.hints = per_minute(6, burst=1), ("body", "header", "ratelimit")
    api = Api(it, TOKEN)
    first, second = (ask(api, "POST", "/v1/predictions", body=BODY) for _ in range(2))
    assert (first.status, first.headers["ratelimit-remaining"]) == (201, "0")
    assert (second.status, second.body["retry_after"], second.headers["retry-after"]) == (429, 10, "10")
    assert len(it.predictions) == 1
    assert ask(api, "GET", "/v1/predictions").status == 200
    assert ask(api, "POST", "/v1/predictions", START + 10 * SECOND, BODY).status == 201


# ── the API ──


def test_answers_of_every_state_match_the_schema() -> None:
    it = account()
    api = Api(it, TOKEN)
    made = [
        str(ask(api, "POST", "/v1/predictions", body=BODY, cancel_after="90s").body["id"]) for _ in range(6)
    ]
    for name in made[1:5]:
        it.start(it.get(name, START), START)
    it.end(it.get(made[2], START), "succeeded", START, output=["https://a/b.png"])
    it.end(it.get(made[3], START), "failed", START, error="no")
    assert ask(api, "POST", f"/v1/predictions/{made[4]}/cancel").body["status"] == "canceled"
    it.end(it.get(made[5], START), "aborted", START)
    for echoes in (False, True):
        it.echoes = echoes
        answers = [ask(api, "GET", f"/v1/predictions/{name}") for name in made]
        read = [schema.Prediction.model_validate_json(json.dumps(answer.body)) for answer in answers]
        states = ["starting", "processing", "succeeded", "failed", "canceled", "aborted"]
        assert [one.status for one in read] == states
        assert {bool(one.webhook) for one in read} == {echoes}
        page = schema.Page.model_validate_json(json.dumps(ask(api, "GET", "/v1/predictions").body))
        assert [row.id for row in page.results] == made[::-1]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v1/predictions/none", 404),
        ("POST", "/v1/predictions/none/cancel", 404),
        ("PUT", "/v1/predictions", 405),
        ("GET", "/v2/predictions", 404),
        ("GET", "/v1/predictions?created_before=soon", 422),
        ("GET", "/v1/predictions?source=api", 422),
        ("GET", "/v1/predictions?cursor=x", 404),
        ("GET", "/v1/models/nobody/nothing", 404),
        ("POST", "/v1/predictions", 400),
    ],
)
def test_refused_request_changes_nothing(method: str, target: str, status: int) -> None:
    it = account()
    assert ask(Api(it, TOKEN), method, target, body=b"{").status == status
    assert it.predictions == {}


def test_wrong_token_is_refused() -> None:
    answer = Api(account(), "other").answer("POST", "/v1/predictions", AUTHORIZED, BODY, START)
    assert (answer.status, answer.content_type) == (401, "application/problem+json")


def test_ended_prediction_ignores_a_cancellation() -> None:
    it = account()
    one = create(it, START)
    it.start(one, START)
    it.end(one, "succeeded", START, output="https://a/b.png")
    answer = ask(Api(it, TOKEN), "POST", f"/v1/predictions/{one.id}/cancel")
    assert (answer.status, answer.body["status"], answer.body["output"]) == (200, "succeeded", one.output)


def test_aborted_prediction_has_no_webhook() -> None:
    it = account()
    aborted, canceled = (create(it, START) for _ in range(2))
    it.end(aborted, "aborted", START)
    it.end(canceled, "canceled", START)
    assert [webhooks.is_sent(one, "completed") for one in (aborted, canceled)] == [False, True]


@pytest.mark.parametrize(("status", "accepted"), [(200, True), (301, True), (404, False), (500, False)])
def test_webhook_is_repeated_after_an_error(*, status: int, accepted: bool) -> None:
    assert webhooks.is_accepted(status) is accepted
    assert not webhooks.is_accepted(None)


@pytest.mark.parametrize("header", ["4s", "soon"])
def test_create_with_an_invalid_deadline_is_refused(header: str) -> None:
    with pytest.raises(RefusedError, match="Cancel-After"):
        create(account(), START, header)
