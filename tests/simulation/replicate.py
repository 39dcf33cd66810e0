"""Replicate on virtual time: the core in `tests/support/replicate`, with the simulation's faults, outputs and webhooks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from tests.simulation.engine import Engine
from tests.simulation.faults import Faults
from tests.simulation.situations import Situation
from tests.support.fake_replicate import answer_to, answered, response
from tests.support.function_environment import SECRET, TOKEN
from tests.support.replicate import webhooks
from tests.support.replicate.account import (
    PAGE,
    REQUESTS_PER_MINUTE,
    RETENTION_SECONDS,
    Account,
    per_minute,
)
from tests.support.replicate.api import Answer, Api
from tests.support.replicate.prediction import SECOND, nanoseconds
from tests.support.replicate.refusals import Hint, throttled

if TYPE_CHECKING:
    from tests.support.replicate.prediction import Prediction as CorePrediction
    from tests.support.replicate.prediction import Status

MODEL_SECONDS = (3.0, 40.0)
LATE_SECONDS = 60, 1500
TOO_LATE_SECONDS = 1700, 2400  # most of them beyond the deadline, at which `Cancel-After` ends a prediction
QUEUED = 0.3  # the part of its time that a prediction waits before it starts
THROTTLED_SECONDS = 7.0
FEWER = (
    5  # times fewer rows on a page and of other users: the same pages to request, and less to read on them
)
HINTS: tuple[Hint, ...] = ("body",)
ENDS: dict[str | None, tuple[Status, Situation | None]] = {
    None: ("succeeded", None),
    "prediction_failed": ("failed", Situation.PREDICTION_FAILED),
    "prediction_canceled": ("canceled", Situation.PREDICTION_CANCELED),
    "prediction_aborted": ("aborted", Situation.PREDICTION_ABORTED),
}
END_FAULTS = tuple(kind for kind in ENDS if kind)


class Slot(NamedTuple):
    """The job, image and attempt that a prediction belongs to."""

    job_id: str
    image: int
    attempt: int


def output(prediction_id: str) -> bytes:
    """Return a prediction's output: different bytes for each prediction."""
    return b"\x89PNG\r\n\x1a\n" + prediction_id.encode() * 3 + b"IEND\xaeB`\x82"


@dataclass(eq=False)
class Prediction:
    """A prediction that was made, as the checks see it."""

    core: CorePrediction
    slot: Slot
    created_at: float
    query: str  # of the webhook's URL
    doubled: bool = False  # the second prediction of one POST
    finished_at: float | None = None
    cut_until: float = 0.0  # its output is cut in every download until then
    was_bad: bool = False  # a download of its output was cut, or was no picture
    no_picture: bool = False  # a download of its output was no picture

    @property
    def id(self) -> str:
        return self.core.id

    @property
    def status(self) -> str:
        return self.core.status


@dataclass
class Replicate:
    """The stand-in.

    `call` delivers a webhook with body and query, and reports the status of the answer (None: no answer). `forge`
    delivers one with a wrong signature.
    """

    engine: Engine
    faults: Faults
    start: datetime
    call: Callable[[bytes, str, Callable[[int | None], None]], None]
    on_created: Callable[[Prediction], None] = lambda _: None
    forge: Callable[[bytes, str], None] = lambda _body, _query: None
    on_finished: Callable[[Prediction], None] = lambda _: None
    predictions: dict[str, Prediction] = field(default_factory=dict)
    _doomed: dict[str, bool] = field(default_factory=dict)  # jobs of which every prediction fails
    _doubling: bool = False  # a POST makes its second prediction

    def __post_init__(self) -> None:
        faults = self.faults
        others = faults.others_per_minute / FEWER
        self._account = Account(
            secret=SECRET,
            creates=per_minute(faults.per_minute, faults.burst),
            others=per_minute(REQUESTS_PER_MINUTE),
            hints=HINTS,
            echoes=faults.echoes,
            lag=faults.list_lag,
            page_rows=PAGE // FEWER,
            busy_every=int(60 * SECOND / others) if others else None,
            on_create=self._created,
            on_end=self._ended,
        )
        self._api = Api(self._account, TOKEN)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request to the API or the delivery host."""
        path = request.url.path
        if request.url.host == "replicate.delivery":
            return self._download(path.split("/")[1])
        if request.method == "POST" and path == "/v1/predictions":
            return self._create(request)
        answer = answer_to(self._api, request, self._time())
        if path == "/v1/predictions" and answer.status == httpx.codes.OK:
            self._note_list(answer)
        return response(answer)

    def _time(self) -> int:
        """Return Replicate's time, in nanoseconds since the epoch."""
        return nanoseconds(self.start + timedelta(seconds=self.engine.now + self.faults.skew))

    def _create(self, request: httpx.Request) -> httpx.Response:
        now = self.engine.now
        if self.faults.happens("create_throttled", now):
            self._note_throttled(Situation.POST_THROTTLED)
            refused = throttled(THROTTLED_SECONDS, HINTS)
            return httpx.Response(refused.status, json=refused.body)
        answer = answered(self._api, request, self._time())
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self._note_throttled(Situation.POST_LOW_CREDIT)
        if not answer.is_success:
            return answer
        if self.faults.skew:
            self.faults.struck(Situation.CLOCK_SKEWED)
        if self.faults.happens("create_doubled", now):
            self._doubling = True
            if answered(self._api, request, self._time()).is_success:
                self.faults.struck(Situation.POST_DOUBLED)
            self._doubling = False
        if self.faults.happens("create_odd", now):
            self.faults.struck(Situation.POST_ODD)
            return httpx.Response(201, json={**answer.json(), "version": None, "model": None})
        return answer

    def _note_throttled(self, situation: Situation) -> None:
        self.faults.injected["throttled"] += 1
        self.faults.struck(situation)

    def _note_list(self, answer: Answer) -> None:
        if answer.body["next"]:
            self.faults.struck(Situation.LIST_PAGED)
        lag = self.faults.list_lag
        latest = list(islice(reversed(self.predictions.values()), 10)) if lag else []
        if any(one.created_at > self.engine.now - lag for one in latest):
            self.faults.struck(Situation.LIST_LAGGED)

    def holds(self, name: str) -> bool:
        """Return whether the output of this prediction can be had whole now, and could be had before."""
        found = self.predictions.get(name)
        if found is None or found.finished_at is None or found.was_bad:
            return False
        return not self.has_lost(name)

    def has_lost(self, name: str) -> bool:
        """Return whether this prediction has ended without an output, or its output has been removed."""
        found = self.predictions[name]
        if found.finished_at is None:
            return False
        removed = self.engine.now > found.finished_at + RETENTION_SECONDS
        return found.status != "succeeded" or not found.core.output or removed

    def _download(self, name: str) -> httpx.Response:
        found = self.predictions[name]
        now = self.engine.now
        if found.finished_at is None or now > found.finished_at + RETENTION_SECONDS:
            return httpx.Response(404)
        content = output(name)
        length = {"content-length": str(len(content))}
        if self.faults.happens("output_no_picture", now):
            content, length = b"<html>", {"content-length": "6"}
            found.was_bad = found.no_picture = True
            self.faults.struck(Situation.OUTPUT_NO_PICTURE)
        elif now < found.cut_until or self.faults.happens("download_cut", now):
            content, length = content[:-9], {}
            found.was_bad = True
            self.faults.struck(Situation.OUTPUT_CUT_LONG if now < found.cut_until else Situation.DOWNLOAD_CUT)
        return httpx.Response(200, stream=httpx.ByteStream(content), headers=length)

    def _created(self, core: CorePrediction) -> None:
        query = urlsplit(core.webhook or "").query
        named = parse_qs(query)
        slot = Slot(named["job_id"][0], int(named["image"][0]), int(named["attempt"][0]))
        made = Prediction(core, slot, self.engine.now, query, doubled=self._doubling)
        self.predictions[core.id] = made
        self._plan(made)
        self.on_created(made)

    def _plan(self, prediction: Prediction) -> None:
        """Draw when and how the prediction ends."""
        now, faults, core = self.engine.now, self.faults, prediction.core
        seconds, situation = self._drawn_seconds()
        status, why = self._drawn_end(prediction.slot.job_id)
        if faults.happens("output_cut_long", now):
            prediction.cut_until = now + faults.random.uniform(600, 2 * RETENTION_SECONDS)

        def end() -> None:
            if prediction.finished_at is None:
                for one in filter(None, (situation, why)):
                    faults.struck(one)
            error = "The model has failed." if status == "failed" else None
            found = self._output(prediction) if status == "succeeded" else None
            self._account.end(core, status, self._time(), output=found, error=error)

        def start() -> None:
            self._account.start(core, self._time())

        if status != "aborted":
            self.engine.after(seconds * QUEUED, start)
        self.engine.after(seconds, end)
        left = math.inf if core.expires is None else (core.expires - self._time()) / SECOND
        if left <= seconds:
            self.engine.after(left + 0.001, lambda: self._account.advance(self._time()))

    def _drawn_seconds(self) -> tuple[float, Situation | None]:
        now, faults = self.engine.now, self.faults
        seconds = faults.random.uniform(*MODEL_SECONDS)
        if faults.happens("finished_at_once", now):
            return 0.01, Situation.FINISHED_AT_ONCE
        if faults.happens("finished_late", now):
            return faults.random.uniform(*LATE_SECONDS), Situation.FINISHED_LATE
        if faults.happens("finished_too_late", now):
            return faults.random.uniform(*TOO_LATE_SECONDS), None
        return seconds, None

    def _drawn_end(self, job_id: str) -> tuple[Status, Situation | None]:
        now, faults = self.engine.now, self.faults
        drawn = ENDS[faults.one_of(END_FAULTS, now)]
        doomed = self._doomed.setdefault(job_id, faults.happens("predictions_all_fail", now))
        return ("failed", Situation.ALWAYS_FAILED) if doomed else drawn

    def _output(self, prediction: Prediction) -> str | list[str] | None:
        if prediction.finished_at is None and self.faults.happens("output_missing", self.engine.now):
            self.faults.struck(Situation.OUTPUT_MISSING)
            return None
        url = f"https://replicate.delivery/{prediction.id}/out.png"
        return [url] if len(prediction.id) % 2 else url

    def _ended(self, core: CorePrediction) -> None:
        prediction = self.predictions[core.id]
        prediction.finished_at = self.engine.now
        if prediction.doubled and core.status == "canceled":
            self.faults.struck(Situation.DOUBLE_CANCELED)
        self.on_finished(prediction)
        if webhooks.is_sent(core, "completed"):
            self._call_webhook(prediction)

    def _call_webhook(self, prediction: Prediction) -> None:
        faults, now = self.faults, self.engine.now
        if faults.is_down("replicate", now) or faults.happens("webhook_dropped", now):
            faults.struck(Situation.WEBHOOK_LOST)
            return
        query = prediction.query
        view = self._account.view(prediction.core)
        body = json.dumps(view).encode()
        late = faults.random.uniform(60, 900) if faults.happens("webhook_late", now) else 0
        copies = faults.random.randint(2, 5) if faults.happens("webhook_duplicated", now) else 1
        if late:
            faults.struck(Situation.WEBHOOK_LATE)
        if copies > 1:
            faults.struck(Situation.WEBHOOK_DOUBLED)
        for _ in range(copies):
            delay = late + faults.random.uniform(0.05, 0.5)
            self.engine.after(delay, lambda: self._deliver(body, query, list(webhooks.RETRIES)))
        if faults.happens("webhook_out_of_order", now):
            faults.struck(Situation.WEBHOOK_OUT_OF_ORDER)
            old = json.dumps({**view, "status": "processing", "output": None}).encode()
            self.engine.after(late + 1, lambda: self._deliver(old, query, [0]))
        self._mislead(prediction, body)

    def _mislead(self, prediction: Prediction, body: bytes) -> None:
        """Send webhooks that must change nothing."""
        faults, now = self.faults, self.engine.now
        if faults.happens("webhook_forged", now):
            faults.struck(Situation.WEBHOOK_FORGED)
            claimed = f"https://replicate.delivery/{prediction.id}/forged.png"
            forged = json.dumps({**json.loads(body), "status": "succeeded", "output": claimed}).encode()
            self.engine.after(0.01, lambda: self.forge(forged, prediction.query))
        if faults.happens("webhook_misdirected", now):
            faults.struck(Situation.WEBHOOK_MISDIRECTED)
            slot = prediction.slot
            other = urlencode({**slot._replace(image=(slot.image + 1) % 3)._asdict()})
            self.engine.after(0.01, lambda: self._deliver(body, other, [0]))

    def _deliver(self, body: bytes, query: str, tries: list[int]) -> None:
        tried = tries.pop(0)

        def done(status: int | None) -> None:
            if not webhooks.is_accepted(status) and tries:
                self.engine.after(tries[0] - tried, lambda: self._deliver(body, query, tries))

        self.call(body, query, done)
