"""The stand-in for Replicate on virtual time: it makes, bills and lists predictions, and calls webhooks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from tests.simulation.engine import Engine
from tests.simulation.faults import Faults
from tests.simulation.situations import Situation
from tests.support.function_environment import SECRET

RETENTION_SECONDS = 3600
WEBHOOK_TRIES = (
    0,
    5,
    15,
    35,
    60,
)  # seconds after the end, as Replicate documents: the last after about a minute
PAGE = 100
MODEL_SECONDS = (3.0, 40.0)
ENDS = {
    "prediction_failed": ("failed", Situation.PREDICTION_FAILED),
    "prediction_canceled": ("canceled", Situation.PREDICTION_CANCELED),
    "prediction_aborted": ("aborted", Situation.PREDICTION_ABORTED),
}


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
    """A prediction that was made and billed."""

    id: str
    slot: Slot
    body: dict[str, Any]
    created_at: float
    query: str  # of the webhook's URL
    finished_at: float | None = None
    cut_until: float = 0.0  # its output is cut in every download until then
    was_bad: bool = False  # a download of its output was cut, or was no picture

    @property
    def status(self) -> str:
        return str(self.body["status"])


@dataclass
class Replicate:
    """The stand-in.

    `call` delivers a webhook with body and query, and reports whether the answer was 2xx. `forge` delivers one with a
    wrong signature.
    """

    engine: Engine
    faults: Faults
    start: datetime
    call: Callable[[bytes, str, Callable[[bool], None]], None]
    on_created: Callable[[Prediction], None] = lambda _: None
    forge: Callable[[bytes, str], None] = lambda _body, _query: None
    on_finished: Callable[[Prediction], None] = lambda _: None
    predictions: dict[str, Prediction] = field(default_factory=dict)
    _doomed: dict[str, bool] = field(default_factory=dict)  # jobs of which every prediction fails
    _credit: float = 0
    _credit_at: float = 0

    def __post_init__(self) -> None:
        self._credit = self.faults.burst

    def answer(self, request: httpx.Request) -> httpx.Response:  # noqa: PLR0911  # one return for each route
        """Answer a request to the API or the delivery host."""
        path = request.url.path
        if request.url.host == "replicate.delivery":
            return self._download(path.split("/")[1])
        match request.method, path.removeprefix("/v1/").split("/"):
            case "POST", ["predictions"]:
                return self._create(request)
            case "GET", ["predictions"]:
                return self._list(request.url.params)
            case "GET", ["predictions", name]:
                found = self.predictions.get(name)
                if found is None:
                    return httpx.Response(404, json={"detail": "Not found."})
                return httpx.Response(200, json=self._visible(found))
            case "POST", ["predictions", name, "cancel"]:
                self._end(self.predictions[name], "canceled")
                return httpx.Response(200, json=self._visible(self.predictions[name]))
            case "GET", ["webhooks", "default", "secret"]:
                return httpx.Response(200, json={"key": SECRET})
        raise NotImplementedError(f"{request.method} {path}")

    def _create(self, request: httpx.Request) -> httpx.Response:
        now = self.engine.now
        self._credit += (now - self._credit_at) * self.faults.per_minute / 60
        self._credit, self._credit_at = min(self._credit, self.faults.burst), now
        if self._credit < 1 or self.faults.happens("create_throttled", now):
            self.faults.injected["throttled"] += 1
            low = self._credit < 1
            self.faults.struck(Situation.POST_LOW_CREDIT if low else Situation.POST_THROTTLED)
            soonest = math.ceil(max(0.0, 1 - self._credit) * 60 / self.faults.per_minute) or 7
            return httpx.Response(429, json={"detail": "Throttled.", "status": 429, "retry_after": soonest})
        self._credit -= 1
        asked = json.loads(request.content)
        query = parse_qs(urlsplit(asked["webhook"]).query)
        slot = Slot(query["job_id"][0], int(query["image"][0]), int(query["attempt"][0]))
        name = f"p{len(self.predictions)}"
        body = {
            "id": name,
            "model": "black-forest-labs/flux-kontext-pro",
            "version": "hidden",
            "status": "starting",
            "input": asked["input"],
            "output": None,
            "error": None,
            "logs": "",
            "webhook": asked["webhook"],
            "created_at": self._time(now),
        }
        made = Prediction(name, slot, body, now, urlsplit(asked["webhook"]).query)
        if not self.faults.echoes:
            del body["webhook"]
        self.predictions[name] = made
        self._plan(made, int(request.headers["cancel-after"].removesuffix("s")))
        answer = dict(body)
        if self.faults.happens("create_odd", now):
            answer |= {"version": None, "model": None}
            self.faults.struck(Situation.POST_ODD)
        if self.faults.skew:
            self.faults.struck(Situation.CLOCK_SKEWED)
        self.on_created(made)
        return httpx.Response(201, json=answer)

    def holds(self, name: str) -> bool:
        """Return whether the output of this prediction can be had whole now, and could be had before."""
        found = self.predictions.get(name)
        if found is None or found.finished_at is None or found.was_bad:
            return False
        removed = self.engine.now > found.finished_at + RETENTION_SECONDS
        return found.status == "succeeded" and bool(found.body["output"]) and not removed

    def _list(self, params: httpx.QueryParams) -> httpx.Response:
        after, before = (
            (datetime.fromisoformat(params[name]) - self.start).total_seconds() - self.faults.skew
            for name in ("created_after", "created_before")
        )
        before = min(before, self.engine.now - self.faults.list_lag + 1e-6)
        skip = int(params.get("cursor", 0))
        own = [(one.created_at, one) for one in self.predictions.values() if after <= one.created_at < before]
        if any(before <= one.created_at <= self.engine.now for one in self._latest()):
            self.faults.struck(Situation.LIST_LAGGED)
        rows = sorted(own + self._others(after, before), key=lambda row: row[0], reverse=True)
        following = None
        if len(rows) > skip + PAGE:
            self.faults.struck(Situation.LIST_PAGED)
            asked = params.set("cursor", str(skip + PAGE))
            following = f"https://api.replicate.com/v1/predictions?{asked}"
        page = [self._row(at, one) for at, one in rows[skip : skip + PAGE]]
        return httpx.Response(200, json={"previous": None, "next": following, "results": page})

    def _latest(self) -> list[Prediction]:
        """Return the latest predictions, if the list lags behind."""
        return list(self.predictions.values())[-10:] if self.faults.list_lag else []

    def _others(self, after: float, before: float) -> list[tuple[float, Prediction | None]]:
        """Return the times of the predictions that other users of the account have created, before this run too."""
        if not self.faults.others_per_minute:
            return []
        every = 60 / self.faults.others_per_minute
        first, last = math.ceil(after / every), math.ceil(min(before, self.engine.now) / every)
        return [(number * every, None) for number in range(first, last)]

    def _row(self, at: float, one: Prediction | None) -> dict[str, Any]:
        other = {"id": f"other{at:.1f}", "status": "succeeded", "input": {}, "created_at": self._time(at)}
        return self._visible(one) if one else other

    def _download(self, name: str) -> httpx.Response:
        found = self.predictions[name]
        now = self.engine.now
        if found.finished_at is None or now > found.finished_at + RETENTION_SECONDS:
            return httpx.Response(404)
        content = output(name)
        length = {"content-length": str(len(content))}
        if self.faults.happens("output_no_picture", now):
            content, length = b"<html>", {"content-length": "6"}
            found.was_bad = True
            self.faults.struck(Situation.OUTPUT_NO_PICTURE)
        elif now < found.cut_until or self.faults.happens("download_cut", now):
            content, length = content[:-9], {}
            found.was_bad = True
            self.faults.struck(Situation.OUTPUT_CUT_LONG if now < found.cut_until else Situation.DOWNLOAD_CUT)
        return httpx.Response(200, stream=httpx.ByteStream(content), headers=length)

    def _visible(self, prediction: Prediction) -> dict[str, Any]:
        ended = prediction.finished_at
        if ended is not None and self.engine.now > ended + RETENTION_SECONDS:
            return {**prediction.body, "input": {}, "output": None, "logs": None}
        return prediction.body

    def _time(self, at: float) -> str:
        return (
            (self.start + timedelta(seconds=at + self.faults.skew))
            .isoformat(timespec="microseconds")
            .replace("+00:00", "123Z")
        )

    def _plan(self, prediction: Prediction, cancel_after: int) -> None:
        now, faults = self.engine.now, self.faults
        seconds = faults.random.uniform(*MODEL_SECONDS)
        situation = None
        if faults.happens("finished_at_once", now):
            seconds, situation = 0.01, Situation.FINISHED_AT_ONCE
        elif faults.happens("finished_late", now):
            seconds, situation = faults.random.uniform(60, 1500), Situation.FINISHED_LATE
        status, why = ENDS.get(faults.one_of(tuple(ENDS), now) or "", ("succeeded", None))
        job_id = prediction.slot.job_id
        if self._doomed.setdefault(job_id, faults.happens("predictions_all_fail", now)):
            status, why = "failed", Situation.ALWAYS_FAILED
        if faults.happens("output_cut_long", now):
            prediction.cut_until = now + faults.random.uniform(600, 2 * RETENTION_SECONDS)
        if seconds > cancel_after:
            seconds, status, why = cancel_after, "canceled", None

        def end() -> None:
            if prediction.finished_at is None:
                for one in filter(None, (situation, why)):
                    faults.struck(one)
            self._end(prediction, status)

        self.engine.after(seconds, end)

    def _end(self, prediction: Prediction, status: str) -> None:
        if prediction.finished_at is not None:
            return
        now = self.engine.now
        prediction.finished_at = now
        prediction.body |= {"status": status, "completed_at": self._time(now)}
        if status == "failed":
            prediction.body["error"] = "The model has failed."
        if status == "succeeded":
            if self.faults.happens("output_missing", now):
                self.faults.struck(Situation.OUTPUT_MISSING)
            else:
                url = f"https://replicate.delivery/{prediction.id}/out.png"
                prediction.body["output"] = [url] if len(prediction.id) % 2 else url
        self.on_finished(prediction)
        self._call_webhook(prediction)

    def _call_webhook(self, prediction: Prediction) -> None:
        faults, now = self.faults, self.engine.now
        if faults.is_down("replicate", now) or faults.happens("webhook_dropped", now):
            faults.struck(Situation.WEBHOOK_LOST)
            return
        query = prediction.query
        body = json.dumps(prediction.body).encode()
        late = faults.random.uniform(60, 900) if faults.happens("webhook_late", now) else 0
        copies = faults.random.randint(2, 5) if faults.happens("webhook_duplicated", now) else 1
        if late:
            faults.struck(Situation.WEBHOOK_LATE)
        if copies > 1:
            faults.struck(Situation.WEBHOOK_DOUBLED)
        for _ in range(copies):
            delay = late + faults.random.uniform(0.05, 0.5)
            self.engine.after(delay, lambda: self._deliver(body, query, list(WEBHOOK_TRIES)))
        if faults.happens("webhook_out_of_order", now):
            faults.struck(Situation.WEBHOOK_OUT_OF_ORDER)
            old = json.dumps({**prediction.body, "status": "processing", "output": None}).encode()
            self.engine.after(late + 1, lambda: self._deliver(old, query, [0]))
        self._mislead(prediction, body)

    def _mislead(self, prediction: Prediction, body: bytes) -> None:
        """Send webhooks that must change nothing."""
        faults, now = self.faults, self.engine.now
        if faults.happens("webhook_forged", now):
            faults.struck(Situation.WEBHOOK_FORGED)
            claimed = f"https://replicate.delivery/{prediction.id}/forged.png"
            claim = {**prediction.body, "status": "succeeded", "output": claimed}
            forged = json.dumps(claim).encode()
            self.engine.after(0.01, lambda: self.forge(forged, prediction.query))
        if faults.happens("webhook_misdirected", now):
            faults.struck(Situation.WEBHOOK_MISDIRECTED)
            slot = prediction.slot
            other = urlencode({**slot._replace(image=(slot.image + 1) % 3)._asdict()})
            self.engine.after(0.01, lambda: self._deliver(body, other, [0]))

    def _deliver(self, body: bytes, query: str, tries: list[int]) -> None:
        tried = tries.pop(0)

        def answered(well: bool) -> None:  # noqa: FBT001  # a callback has one argument
            if not well and tries:
                self.engine.after(tries[0] - tried, lambda: self._deliver(body, query, tries))

        self.call(body, query, answered)
