"""The predictions of the stand-in for Replicate, run on this machine: photos fetched, outputs drawn, webhooks sent."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import secrets
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import httpx
from pydantic import BaseModel, JsonValue

from tests.localcloud import drawing
from tests.support.replicate import creation, webhooks
from tests.support.replicate.account import RUN_SECONDS, Account
from tests.support.replicate.creation import Event
from tests.support.replicate.prediction import SECOND, Prediction, Status, timestamp
from tests.support.replicate.refusals import Json, RefusedError

if TYPE_CHECKING:
    from tests.localcloud.replicate_faults import Fault, Faults, Kind

DeliveryKind = Literal["genuine", "retry", "duplicate", "late", "forged", "unsigned", "stale"]

WEBHOOK_SECONDS = 5.0  # "Your endpoint should respond with a 2xx status code within a few seconds"
PLANNED: tuple[Kind, ...] = ("slow_start", "slow_run", "fail", "abort", "output_null", "output_list")


class Delivery(BaseModel):
    """One delivery of a webhook."""

    event: Event
    kind: DeliveryKind
    webhook_id: str
    at: str
    status: int | None = None  # None: no answer came; `error` says why
    error: str | None = None


class Fetch(BaseModel):
    """The answer to a fetch of the photo."""

    status: int
    sha256: str
    bytes: int
    content_type: str | None


class OutputFetch(BaseModel):
    """A request for an output that no fault refused."""

    name: str
    found: bool
    authorized: bool  # it carried an Authorization header


class Entry(BaseModel):
    """A prediction in the ledger. Times are RFC 3339 in UTC."""

    id: str
    route: str  # the path of the create request
    model: str
    version: str
    seed: JsonValue
    input: Json  # as received, with the photo's presigned URL
    webhook: str | None
    webhook_events_filter: list[Event] | None
    cancel_after: str | None  # the request's header
    created_at: str
    started_at: str | None
    completed_at: str | None
    status: Status
    error: str | None
    output: str | list[str] | None
    data_removed: bool
    billed: (
        bool  # it has started; an aborted prediction and one that is canceled before its start cost nothing
    )
    fetches: int  # of the photo
    fetched: Fetch | None  # the last fetch
    output_fetches: list[OutputFetch]
    deliveries: list[Delivery]


@dataclass(eq=False)
class Run:
    """What this machine makes of a prediction."""

    prediction: Prediction
    request: creation.Request
    look: tuple[int, int]  # the drawing's style and variant
    plan: dict[Kind, Fault | None]  # the faults that will hit it
    changed: threading.Condition
    route: str = ""  # the path of the create request
    files: dict[str, bytes] = field(default_factory=dict)
    fetched: Fetch | None = None
    fetches: int = 0
    output_fetches: list[OutputFetch] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def entry(self) -> Entry:
        """Return the prediction's entry in the ledger."""
        made, asked = self.prediction, self.request
        return Entry(
            id=made.id,
            route=self.route,
            model=made.model,
            version=made.version,
            seed=made.input.get("seed"),
            input=made.input,
            webhook=made.webhook,
            webhook_events_filter=None if made.events is None else list(made.events),
            cancel_after=asked.cancel_after,
            created_at=timestamp(made.created),
            started_at=None if made.started is None else timestamp(made.started),
            completed_at=None if made.completed is None else timestamp(made.completed),
            status=made.status,
            error=made.error,
            output=made.output,
            data_removed=made.data_removed,
            billed=made.billed,
            fetches=self.fetches,
            fetched=self.fetched,
            output_fetches=list(self.output_fetches),
            deliveries=list(self.deliveries),
        )


class Runner:
    """Runs the predictions of an account, each in its own thread. `lock` guards the account."""

    def __init__(
        self,
        base: str,
        faults: Faults,
        *,
        seconds: float = 1.5,
        retention: float = 3600,
        webhook_scale: float = 1,
        run_seconds: float = RUN_SECONDS,
    ) -> None:
        """Make an account whose API is at `base`.

        A prediction takes about `seconds` and fails after `run_seconds`. Its data are removed `retention` seconds after
        its end. The pauses between the deliveries of a webhook are multiplied by `webhook_scale`.
        """
        self.lock = threading.RLock()
        self.account = Account(
            base=base,
            secret=new_secret(),
            retention=retention,
            run_seconds=run_seconds,
            new_id=lambda: "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(26)),
            on_create=self._begin,
            on_end=self._ended,
            on_remove=lambda prediction: self._runs[prediction.id].files.clear(),
        )
        self._faults = faults
        self._seconds = seconds
        self._webhook_scale = webhook_scale
        self._runs: dict[str, Run] = {}
        self._styles: defaultdict[str, Counter[int]] = defaultdict(
            Counter
        )  # by photo: predictions in each style
        self._drawing = threading.Semaphore(2)  # more concurrent drawings would not finish sooner
        self.delivery = base  # the base URL of the outputs
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
        self._http = httpx.Client(timeout=10, limits=limits, trust_env=False)

    def run(self, prediction_id: str) -> Run:
        return self._runs[prediction_id]

    def view(self, run: Run) -> Json:
        """Return the current prediction object: the fields of the schema, and more while the fault `echo` is active."""
        with self.lock:
            self.account.echoes = self._faults.take("echo") is not None
            return self.account.view(run.prediction)

    def wait(self, run: Run, seconds: float) -> bool:
        """Wait up to `seconds` for the prediction's end; return whether it has ended."""
        with run.changed:
            return run.changed.wait_for(lambda: run.prediction.completed is not None, seconds)

    def output(self, prediction_id: str, name: str, *, authorized: bool) -> bytes:
        """Return the bytes of an output, and record the fetch and whether it carried a token.

        Raises:
            RefusedError: 404. The output does not exist or has been removed.
        """
        with self.lock:
            run = self._runs[self.account.get(prediction_id, time.time_ns()).id]
            found = run.files.get(name)
            run.output_fetches.append(OutputFetch(name=name, found=found is not None, authorized=authorized))
        if found is None:
            raise RefusedError(404, {"detail": "Not found", "status": 404})
        return found

    def entries(self) -> list[Entry]:
        """Return the ledger's entries, oldest first. They keep data that have been removed."""
        with self.lock:
            self.account.advance(time.time_ns())
            return [run.entry() for run in self._runs.values()]

    def _begin(self, prediction: Prediction) -> None:
        request = prediction.request
        assert request  # the API creates all predictions here
        used = self._styles[request.photo.partition("?")[0]]
        style = min(range(len(drawing.STYLES)), key=lambda style: used[style])
        seed = request.input.get("seed")
        run = Run(
            prediction,
            request,
            look=(style, used[style] + (seed if isinstance(seed, int) else 0)),
            plan={kind: self._faults.take(kind) for kind in PLANNED},
            changed=threading.Condition(self.lock),
        )
        used[style] += 1
        self._runs[prediction.id] = run
        threading.Thread(target=self._live, args=(run,), daemon=True).start()

    def _ended(self, prediction: Prediction) -> None:
        run = self._runs[prediction.id]
        if prediction.status != "succeeded":
            drawn = self._styles[run.request.photo.partition("?")[0]]
            drawn[run.look[0]] -= 1  # the next attempt may use this style
        run.changed.notify_all()

    # Each prediction runs in its own thread.

    def _live(self, run: Run) -> None:
        total = self._seconds * random.uniform(0.75, 1.25)
        slow = run.plan["slow_start"]
        if self._hold(run, slow.seconds if slow else total / 3):
            if run.plan["abort"]:
                self._end(run, "aborted")
            else:
                self._run(run, total * 2 / 3)
        self._send_completed(run)

    def _run(self, run: Run, seconds: float) -> None:
        slow, fail = run.plan["slow_run"], run.plan["fail"]
        prediction = run.prediction
        begin = time.monotonic()
        with self.lock:
            if not self.account.start(prediction, time.time_ns()):
                return
            prediction.logs = "Running prediction...\n"
        self._send_once(run, "start")
        failure, drawn = "", b""
        try:
            drawn = self._draw(run)
        except Exception as error:  # noqa: BLE001  # a prediction must end, whatever the photo causes
            failure = f"{type(error).__name__}: {error}"
        if fail:
            failure = fail.error
        if not self._hold(run, begin + (slow.seconds if slow else seconds) - time.monotonic()):
            return
        if failure:
            self._end(run, "failed", error=failure)
            return
        name = f"out-0.{run.request.extension}"
        url = f"{self.delivery}/outputs/{prediction.id}/{name}"
        gives_list = run.request.gives_list is not bool(run.plan["output_list"])
        with self.lock:
            if prediction.completed is not None:
                return
            output: str | list[str] | None = None if run.plan["output_null"] else [url] if gives_list else url
            prediction.output = output
            run.files = {name: drawn}
            prediction.logs += f"Generated image in {time.monotonic() - begin:.1f}sec\n"
            self._send_once(run, "logs")
            self._send_once(run, "output")
            self._end(run, "succeeded", output=output)

    def _draw(self, run: Run) -> bytes:
        response = self._http.get(run.request.photo, follow_redirects=True)
        with self.lock:
            run.fetches += 1
            run.fetched = Fetch(
                status=response.status_code,
                sha256=hashlib.sha256(response.content).hexdigest(),
                bytes=len(response.content),
                content_type=response.headers.get("content-type"),
            )
        response.raise_for_status()
        with self._drawing:
            return drawing.draw(response.content, *run.look, run.request.extension)

    def _hold(self, run: Run, seconds: float) -> bool:
        """Wait `seconds`; return whether the prediction continues. At its deadline it ends."""
        until = time.time_ns() + int(seconds * SECOND)
        with run.changed:
            while True:
                now = time.time_ns()
                self.account.advance(now)
                if run.prediction.completed is not None or now >= until:
                    return run.prediction.completed is None
                soonest = min(until, self.account.ends_by(run.prediction, until))
                run.changed.wait(min((soonest - now) / SECOND, threading.TIMEOUT_MAX))

    def _end(
        self, run: Run, status: Status, *, output: str | list[str] | None = None, error: str | None = None
    ) -> None:
        with self.lock:
            self.account.end(run.prediction, status, time.time_ns(), output=output, error=error)

    def _send_completed(self, run: Run) -> None:
        if not webhooks.is_sent(run.prediction, "completed"):
            return
        if self._faults.take("rotate_secret"):
            self.account.secret = new_secret()
        if self._faults.take("drop_webhook"):
            return
        if delay := self._faults.take("delay_webhook"):
            time.sleep(delay.seconds)
        self._send_forgeries(run)
        body = json.dumps(self.view(run)).encode()
        webhook_id = self._send_until_accepted(run, body)
        if duplicate := self._faults.take("duplicate_webhook"):
            for _ in range(duplicate.copies):
                self._send(run, "completed", body, "duplicate", self.account.secret, webhook_id)
        if self._faults.take("reorder_webhooks"):
            early = {**self.view(run), "status": "processing", "output": None}
            del early["completed_at"]
            self._send(run, "start", json.dumps(early).encode(), "late", self.account.secret)

    def _send_forgeries(self, run: Run) -> None:
        """Send the webhooks of active faults that the receiver must refuse."""
        body = {**self.view(run), "status": "failed", "output": None, "error": "forged"}
        forgery = json.dumps(body).encode()
        if self._faults.take("forge_webhook"):
            self._send(run, "completed", forgery, "forged", new_secret())
        if self._faults.take("unsign_webhook"):
            self._send(run, "completed", forgery, "unsigned", None)
        if self._faults.take("stale_webhook"):
            self._send(run, "completed", forgery, "stale", self.account.secret, at=int(time.time()) - 600)

    def _send_until_accepted(self, run: Run, body: bytes) -> str:
        """Deliver the terminal webhook, again after no answer, 4xx and 5xx; return the id of all deliveries."""
        webhook_id, begin = _message_id(), time.monotonic()
        for offset in webhooks.RETRIES:
            time.sleep(max(0, begin + offset * self._webhook_scale - time.monotonic()))
            kind: DeliveryKind = "retry" if offset else "genuine"
            status = self._send(run, "completed", body, kind, self.account.secret, webhook_id)
            if webhooks.is_accepted(status):
                break
        return webhook_id

    def _send_once(self, run: Run, event: Event) -> None:
        """Send a webhook that is not terminal, once, while the prediction continues."""
        if not webhooks.is_sent(run.prediction, event) or self._faults.take("drop_webhook"):
            return
        body = json.dumps(self.view(run)).encode()
        arguments = (run, event, body, "genuine", self.account.secret)
        threading.Thread(target=self._send, args=arguments, daemon=True).start()

    def _send(
        self,
        run: Run,
        event: Event,
        body: bytes,
        kind: DeliveryKind,
        secret: str | None,  # None: no signature
        webhook_id: str | None = None,
        *,
        at: int | None = None,  # seconds since the epoch; None is now
    ) -> int | None:
        """Deliver the webhook once; return the status of the answer, or None if there is none."""
        webhook_id = webhook_id or _message_id()
        at = at or int(time.time())
        headers = webhooks.headers(secret, webhook_id, at, body)
        delivery = Delivery(event=event, kind=kind, webhook_id=webhook_id, at=timestamp(time.time_ns()))
        try:
            response = self._http.post(
                run.prediction.webhook or "", content=body, headers=headers, timeout=WEBHOOK_SECONDS
            )
            delivery.status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            delivery.error = f"{type(error).__name__}: {error}"
        with self.lock:
            run.deliveries.append(delivery)
        return delivery.status


def new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _message_id() -> str:
    return f"msg_{secrets.token_urlsafe(20)}"
