"""An account of the stand-in for Replicate: its predictions, from creation to removal, and its webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import random
import re
import secrets
import threading
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, ValidationInfo, field_validator

from tests.localcloud import drawing

if TYPE_CHECKING:
    from tests.localcloud.replicate_faults import Fault, Faults, Kind

Event = Literal["start", "output", "logs", "completed"]
Status = Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"]
DeliveryKind = Literal["genuine", "retry", "duplicate", "late", "forged", "unsigned", "stale"]
Json = dict[str, JsonValue]

NOT_FOUND: Json = {"detail": "The requested resource could not be found.", "status": 404}
PAGE = 100
# https://replicate.com/docs/topics/webhooks/receive-webhook: "We retry several times on an exponential backoff. The
# final retry is sent about 1 minute after the prediction completed."
RETRIES = (0, 4, 12, 28, 60)  # seconds after completion: 4 s later, 8, 16, 32
WEBHOOK_SECONDS = 5.0  # "Your endpoint should respond with a 2xx status code within a few seconds"
# https://replicate.com/docs/topics/predictions/lifecycle: "Predictions time out after running for 30 minutes". The
# error of such a prediction is from https://github.com/replicate/cog/issues/2098.
RUN_SECONDS = 30 * 60.0
TIMED_OUT = "Prediction timed out."
MINIMUM_LIFETIME = 5  # seconds; the least that Cancel-After accepts
CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
CANCEL_AFTER = re.compile(r"(?=.)(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?|([0-9]{1,9})")
PLANNED: tuple[Kind, ...] = ("slow_start", "slow_run", "fail", "abort", "output_null", "output_list")
VERSION_HASH = re.compile(r"[0-9a-f]{64}")
UNPROMISED = ("webhook", "webhook_events_filter", "source")  # the schema of replicate 2.0.0b4 lacks them


@dataclass(frozen=True)
class Model:
    """A model's input for the photo and form of its output."""

    photo: str  # the input field
    formats: tuple[str, ...]  # of output_format, the default first
    takes_list: bool = False
    gives_list: bool = False


MODELS = {
    "black-forest-labs/flux-kontext-pro": Model("input_image", ("png", "jpg")),
    "black-forest-labs/flux-2-pro": Model("input_images", ("webp", "jpg", "png"), takes_list=True),
    "google/nano-banana-2": Model("image_input", ("jpg", "png"), takes_list=True),
    "bytedance/seedream-4": Model("image_input", ("jpg",), takes_list=True, gives_list=True),
    "qwen/qwen-image-edit-2511": Model("image", ("webp", "jpg", "png"), takes_list=True, gives_list=True),
}
PHOTO_FIELDS = sorted({model.photo for model in MODELS.values()})


class RefusedError(Exception):
    """The API refuses a request; holds the answer."""

    def __init__(self, status: int, body: Json, headers: dict[str, str] | None = None) -> None:
        super().__init__(str(body.get("detail") or body.get("title")))
        self.status = status
        self.body = body
        self.headers = headers or {}


def invalid(*problems: tuple[str, str]) -> RefusedError:
    """Return a 422 for pairs of a field and its problem."""
    return RefusedError(
        422,
        {
            "title": "Input validation failed",
            "detail": "".join(f"- {name}: {problem}\n" for name, problem in problems),
            "status": 422,
            "invalid_fields": [{"field": name, "description": problem} for name, problem in problems],
        },
    )


ALLOW_HTTP = "webhook URLs with http are accepted"  # a validation context


class Creation(BaseModel):
    """The body of a create request for a model or a deployment."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: Json
    webhook: str | None = None
    webhook_events_filter: list[Event] | None = None
    stream: bool = False

    @field_validator("webhook")
    @classmethod
    def _absolute(cls, url: str | None, info: ValidationInfo) -> str | None:
        schemes = ("https", "http") if info.context == ALLOW_HTTP else ("https",)
        if url is not None and not is_web_address(url, schemes):
            raise ValueError(f"must be an absolute {' or '.join(schemes)} URL")
        return url


class VersionCreation(Creation):
    """The body of a create request that names its model by `version`."""

    version: str


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


@dataclass
class Prediction:
    """A prediction. Times are nanoseconds since the epoch."""

    id: str
    route: str
    model: str
    version: str
    input: Json
    photo: str  # URL
    webhook: str | None
    events: list[Event] | None
    cancel_after: str | None
    deadline: float  # monotonic seconds
    expires: int | None  # the deadline in nanoseconds, if Cancel-After set one
    look: tuple[int, int]  # the drawing's style and variant
    gives_list: bool
    extension: str
    plan: dict[Kind, Fault | None]  # the faults that will hit it
    changed: threading.Condition
    created: int
    started: int | None = None
    completed: int | None = None
    status: Status = "starting"
    output: str | list[str] | None = None
    error: str | None = None
    logs: str = ""
    data_removed: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    fetched: Fetch | None = None
    fetches: int = 0
    output_fetches: list[OutputFetch] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def view(self, base: str) -> Json:
        """Return the prediction object that the API at `base` and the webhooks send."""
        metrics: Json = {}
        if self.completed is not None:
            metrics["total_time"] = (self.completed - self.created) / 1e9
            if self.started is not None:
                metrics["predict_time"] = (self.completed - self.started) / 1e9
        output: JsonValue = list(self.output) if isinstance(self.output, list) else self.output
        data: Json = {"input": self.input, "logs": self.logs, "output": output}
        removed: Json = {"input": {}, "logs": "", "output": None}
        times = {
            "started_at": self.started,
            "completed_at": self.completed,
            "deadline": self.expires,
        }
        view: Json = {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            **(removed if self.data_removed else data),
            "data_removed": self.data_removed,
            "error": self.error,
            "source": "api",
            "status": self.status,
            "created_at": timestamp(self.created),
            **{name: timestamp(time) for name, time in times.items() if time is not None},
            "metrics": metrics,
            "urls": {
                "get": f"{base}/v1/predictions/{self.id}",
                "cancel": f"{base}/v1/predictions/{self.id}/cancel",
                "web": f"https://replicate.com/p/{self.id}",
            },
        }
        if self.webhook is not None:
            view["webhook"] = self.webhook
        if self.events is not None:
            view["webhook_events_filter"] = list(self.events)
        return view

    def entry(self) -> Entry:
        """Return the prediction's entry in the ledger."""
        return Entry(
            id=self.id,
            route=self.route,
            model=self.model,
            version=self.version,
            seed=self.input.get("seed"),
            input=self.input,
            webhook=self.webhook,
            webhook_events_filter=self.events,
            cancel_after=self.cancel_after,
            created_at=timestamp(self.created),
            started_at=None if self.started is None else timestamp(self.started),
            completed_at=None if self.completed is None else timestamp(self.completed),
            status=self.status,
            error=self.error,
            output=self.output,
            data_removed=self.data_removed,
            billed=self.started is not None,
            fetches=self.fetches,
            fetched=self.fetched,
            output_fetches=list(self.output_fetches),
            deliveries=list(self.deliveries),
        )


class Account:
    """The predictions of one account. Safe to use from many threads."""

    def __init__(
        self,
        base: str,
        faults: Faults,
        *,
        seconds: float = 1.5,
        retention: float = 3600,
        webhook_scale: float = 1,
        run_seconds: float = RUN_SECONDS,
        allow_http_webhooks: bool = False,
    ) -> None:
        """Make an account whose API is at `base`.

        A prediction takes about `seconds` and fails after `run_seconds`. Its data are removed `retention` seconds after
        its end. The pauses between the deliveries of a webhook are multiplied by `webhook_scale`.
        """
        self.secret = new_secret()
        self._base = base
        self._faults = faults
        self._seconds = seconds
        self._retention = retention
        self._webhook_scale = webhook_scale
        self._run_seconds = run_seconds
        self._webhooks = ALLOW_HTTP if allow_http_webhooks else None
        self._lock = threading.RLock()
        self._predictions: dict[str, Prediction] = {}  # in the order of creation
        self._ended: deque[Prediction] = (
            deque()
        )  # in the order of their ends; only those whose data still exist
        self._styles: defaultdict[str, Counter[int]] = defaultdict(
            Counter
        )  # by photo: predictions in each style
        self._drawing = threading.Semaphore(2)  # more concurrent drawings would not finish sooner
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
        self._http = httpx.Client(timeout=10, limits=limits, trust_env=False)

    def create(self, name: str | None, route: str, body: bytes, cancel_after: str | None) -> Prediction:
        """Create a prediction of model `name`, or of the model in the body's `version` if `name` is None.

        Raises:
            RefusedError: Replicate would not accept the request.
        """
        try:
            kind = Creation if name else VersionCreation
            request = kind.model_validate_json(body, context=self._webhooks)
        except ValidationError as error:
            raise _as_invalid(error) from None
        version = "hidden"
        if isinstance(request, VersionCreation):
            name, version = _parse_version(request.version)
        extension, gives_list, photo = _check_input(name, request.input)
        lifetime = parse_cancel_after(cancel_after)
        with self._lock:
            created = time.time_ns()
            used = self._styles[photo.partition("?")[0]]
            style = min(range(len(drawing.STYLES)), key=lambda style: used[style])
            seed = request.input.get("seed")
            prediction = Prediction(
                id="".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(26)),
                route=route,
                model=name or "unknown/unknown",
                version=version,
                input=request.input,
                photo=photo,
                webhook=request.webhook,
                events=request.webhook_events_filter,
                cancel_after=cancel_after,
                deadline=time.monotonic() + lifetime,
                expires=None if math.isinf(lifetime) else created + int(lifetime * 1e9),
                look=(style, used[style] + (seed if isinstance(seed, int) else 0)),
                gives_list=gives_list,
                extension=extension,
                plan={kind: self._faults.take(kind) for kind in PLANNED},
                changed=threading.Condition(self._lock),
                created=created,
            )
            used[style] += 1
            self._predictions[prediction.id] = prediction
        threading.Thread(target=self._live, args=(prediction,), daemon=True).start()
        return prediction

    def get(self, prediction_id: str) -> Prediction:
        """Return the prediction with that id.

        Raises:
            RefusedError: 404, there is no such prediction.
        """
        self._remove_old_data()
        with self._lock:
            if prediction_id not in self._predictions:
                raise RefusedError(404, NOT_FOUND)
            return self._predictions[prediction_id]

    def view(self, prediction: Prediction) -> Json:
        """Return the current prediction object: the fields of the schema, and more while the fault `echo` is active."""
        with self._lock:
            view = prediction.view(self._base)
        if not self._faults.take("echo"):
            for name in UNPROMISED:
                view.pop(name, None)
        return view

    def wait(self, prediction: Prediction, seconds: float) -> bool:
        """Wait up to `seconds` for the prediction's end; return whether it has ended."""
        with prediction.changed:
            return prediction.changed.wait_for(lambda: prediction.completed is not None, seconds)

    def cancel(self, prediction_id: str) -> Prediction:
        """Cancel a prediction. One that has ended does not change.

        Raises:
            RefusedError: 404, there is no such prediction.
        """
        prediction = self.get(prediction_id)
        self._end(prediction, "canceled")
        return prediction

    def page(self, query: dict[str, str], *, lag: float = 0) -> Json:
        """Return a page of the list, newest first.

        Every prediction here was created through the API, so `source=web` returns none. Unknown parameters are ignored;
        Replicate's behaviour is not documented.

        Args:
            query: The parameters: cursor, created_after, created_before, source.
            lag: Predictions of the last `lag` seconds are missing.

        Raises:
            RefusedError: A parameter is invalid.
        """
        self._remove_old_data()
        after = _instant(query, "created_after", -math.inf)
        before = min(
            _instant(query, "created_before", math.inf), time.time_ns() - lag * 1e9 if lag else math.inf
        )
        source = query.get("source")
        if source not in {None, "web"}:
            raise invalid(("source", "must be web"))
        with self._lock:
            made = [] if source else reversed(self._predictions.values())
            rows = [p for p in made if after <= p.created < before]
            ids = [p.id for p in rows]
            first = 0
            if "cursor" in query:
                try:
                    direction, _, at = base64.urlsafe_b64decode(query["cursor"]).decode().partition(" ")
                    first = ids.index(at) + 1 if direction == "next" else max(0, ids.index(at) - PAGE)
                except ValueError:
                    raise RefusedError(404, {"detail": "Invalid cursor", "status": 404}) from None
            last = min(first + PAGE, len(rows))

            def link(direction: str, at: str) -> str:
                cursor = base64.urlsafe_b64encode(f"{direction} {at}".encode()).decode()
                return f"{self._base}/v1/predictions?{httpx.QueryParams({**query, 'cursor': cursor})}"

            return {
                "previous": link("previous", ids[first]) if first else None,
                "next": link("next", ids[last - 1]) if last < len(rows) else None,
                "results": [self.view(prediction) for prediction in rows[first:last]],
            }

    def output(self, prediction_id: str, name: str, *, authorized: bool) -> bytes:
        """Return the bytes of an output, and record the fetch and whether it carried a token.

        Raises:
            RefusedError: 404. The output does not exist or has been removed.
        """
        prediction = self.get(prediction_id)
        with self._lock:
            found = prediction.files.get(name)
            prediction.output_fetches.append(
                OutputFetch(name=name, found=found is not None, authorized=authorized)
            )
        if found is None:
            raise RefusedError(404, {"detail": "Not found", "status": 404})
        return found

    def entries(self) -> list[Entry]:
        """Return the ledger's entries, oldest first. They keep data that have been removed."""
        self._remove_old_data()
        with self._lock:
            return [prediction.entry() for prediction in self._predictions.values()]

    # Each prediction runs in its own thread.

    def _live(self, prediction: Prediction) -> None:
        total = self._seconds * random.uniform(0.75, 1.25)
        slow = prediction.plan["slow_start"]
        if self._hold(prediction, slow.seconds if slow else total / 3, "aborted"):
            if prediction.plan["abort"]:
                self._end(prediction, "aborted")
            else:
                self._run(prediction, total * 2 / 3)
        self._send_completed(prediction)

    def _run(self, prediction: Prediction, seconds: float) -> None:
        slow, fail = prediction.plan["slow_run"], prediction.plan["fail"]
        begin = time.monotonic()
        with prediction.changed:
            if prediction.completed is not None:
                return
            prediction.status, prediction.started = "processing", time.time_ns()
            prediction.logs = "Running prediction...\n"
        self._send_once(prediction, "start")
        failure, drawn = "", b""
        try:
            drawn = self._draw(prediction)
        except Exception as error:  # noqa: BLE001  # a prediction must end, whatever the photo causes
            failure = f"{type(error).__name__}: {error}"
        if fail:
            failure = fail.error
        timeout = begin + self._run_seconds
        end = max(time.monotonic(), begin + (slow.seconds if slow else seconds))
        if not self._hold(prediction, min(end, timeout) - time.monotonic(), "canceled"):
            return
        if end >= timeout:
            failure = TIMED_OUT
        if failure:
            self._end(prediction, "failed", error=failure)
            return
        name = f"out-0.{prediction.extension}"
        url = f"{self._base}/outputs/{prediction.id}/{name}"
        gives_list = prediction.gives_list is not bool(prediction.plan["output_list"])
        with self._lock:
            if prediction.completed is not None:
                return
            if not prediction.plan["output_null"]:
                prediction.output = [url] if gives_list else url
            prediction.files = {name: drawn}
            prediction.logs += f"Generated image in {time.monotonic() - begin:.1f}sec\n"
            self._send_once(prediction, "logs")
            self._send_once(prediction, "output")
            self._end(prediction, "succeeded")

    def _draw(self, prediction: Prediction) -> bytes:
        response = self._http.get(prediction.photo, follow_redirects=True)
        with self._lock:
            prediction.fetches += 1
            prediction.fetched = Fetch(
                status=response.status_code,
                sha256=hashlib.sha256(response.content).hexdigest(),
                bytes=len(response.content),
                content_type=response.headers.get("content-type"),
            )
        response.raise_for_status()
        with self._drawing:
            return drawing.draw(response.content, *prediction.look, prediction.extension)

    def _hold(self, prediction: Prediction, seconds: float, too_late: Status) -> bool:
        """Wait `seconds`; return whether the prediction continues. At its deadline it ends with status `too_late`."""
        left = prediction.deadline - time.monotonic()
        if self.wait(prediction, max(0, min(seconds, left, threading.TIMEOUT_MAX))):
            return False
        if left <= seconds or time.monotonic() >= prediction.deadline:
            self._end(prediction, too_late)
            return False
        return True

    def _end(self, prediction: Prediction, status: Status, error: str | None = None) -> None:
        with prediction.changed:
            if prediction.completed is not None:
                return
            prediction.status, prediction.error, prediction.completed = status, error, time.time_ns()
            self._ended.append(prediction)
            if status != "succeeded":
                drawn = self._styles[prediction.photo.partition("?")[0]]
                drawn[prediction.look[0]] -= 1  # the next attempt may use this style
            prediction.changed.notify_all()

    def _remove_old_data(self) -> None:
        with self._lock:
            horizon = time.time_ns() - int(self._retention * 1e9)
            while self._ended and (self._ended[0].completed or 0) <= horizon:
                prediction = self._ended.popleft()
                prediction.data_removed, prediction.files = True, {}

    def _send_completed(self, prediction: Prediction) -> None:
        if prediction.webhook is None or not _subscribes(prediction, "completed"):
            return
        if prediction.status == "aborted":
            return  # `completed` is documented for succeeded, canceled and failed only
        if self._faults.take("rotate_secret"):
            self.secret = new_secret()
        if self._faults.take("drop_webhook"):
            return
        if delay := self._faults.take("delay_webhook"):
            time.sleep(delay.seconds)
        self._send_forgeries(prediction)
        body = json.dumps(self.view(prediction)).encode()
        webhook_id = self._send_until_accepted(prediction, body)
        if duplicate := self._faults.take("duplicate_webhook"):
            for _ in range(duplicate.copies):
                self._send(prediction, "completed", body, "duplicate", self.secret, webhook_id)
        if self._faults.take("reorder_webhooks"):
            early = {**self.view(prediction), "status": "processing", "output": None}
            del early["completed_at"]
            self._send(prediction, "start", json.dumps(early).encode(), "late", self.secret)

    def _send_forgeries(self, prediction: Prediction) -> None:
        """Send the webhooks of active faults that the receiver must refuse."""
        body = {**self.view(prediction), "status": "failed", "output": None, "error": "forged"}
        forgery = json.dumps(body).encode()
        if self._faults.take("forge_webhook"):
            self._send(prediction, "completed", forgery, "forged", new_secret())
        if self._faults.take("unsign_webhook"):
            self._send(prediction, "completed", forgery, "unsigned", None)
        if self._faults.take("stale_webhook"):
            self._send(prediction, "completed", forgery, "stale", self.secret, at=int(time.time()) - 600)

    def _send_until_accepted(self, prediction: Prediction, body: bytes) -> str:
        """Deliver the terminal webhook, again after no answer, 4xx and 5xx; return the id of all deliveries."""
        webhook_id, begin = _message_id(), time.monotonic()
        for offset in RETRIES:
            time.sleep(max(0, begin + offset * self._webhook_scale - time.monotonic()))
            kind: DeliveryKind = "retry" if offset else "genuine"
            status = self._send(prediction, "completed", body, kind, self.secret, webhook_id)
            if status is not None and status < HTTPStatus.BAD_REQUEST:
                break  # a redirect counts as accepted and is not followed
        return webhook_id

    def _send_once(self, prediction: Prediction, event: Event) -> None:
        """Send a webhook that is not terminal, once, while the prediction continues."""
        if (
            prediction.webhook is None
            or not _subscribes(prediction, event)
            or self._faults.take("drop_webhook")
        ):
            return
        body = json.dumps(self.view(prediction)).encode()
        arguments = (prediction, event, body, "genuine", self.secret)
        threading.Thread(target=self._send, args=arguments, daemon=True).start()

    def _send(
        self,
        prediction: Prediction,
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
        headers = {"content-type": "application/json", "webhook-id": webhook_id, "webhook-timestamp": str(at)}
        if secret is not None:
            headers["webhook-signature"] = sign(secret, webhook_id, at, body)
        delivery = Delivery(event=event, kind=kind, webhook_id=webhook_id, at=timestamp(time.time_ns()))
        try:
            response = self._http.post(
                prediction.webhook or "", content=body, headers=headers, timeout=WEBHOOK_SECONDS
            )
            delivery.status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            delivery.error = f"{type(error).__name__}: {error}"
        with self._lock:
            prediction.deliveries.append(delivery)
        return delivery.status


def sign(secret: str, webhook_id: str, at: int, body: bytes) -> str:
    """Return the header webhook-signature of standardwebhooks.com: base64 of HMAC-SHA256 over `id.timestamp.body`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{webhook_id}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def timestamp(nanoseconds: int) -> str:
    """Return the time in RFC 3339, in UTC with nine fractional digits, as Replicate writes it."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def is_web_address(url: str, schemes: tuple[str, ...] = ("https", "http")) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def parse_cancel_after(header: str | None) -> float:
    """Return the seconds in a Cancel-After header (30s, 5m, 1h30m45s, bare seconds); infinite without a header.

    Raises:
        RefusedError: 422, the value is invalid or shorter than five seconds.
    """
    if header is None:
        return math.inf
    match = CANCEL_AFTER.fullmatch(header)
    if match is None:
        raise invalid(("Cancel-After", f"{header!r} is not a duration such as 30s, 5m or 1h30m45s"))
    hours, minutes, seconds, bare = (int(part or 0) for part in match.groups())
    lifetime = hours * 3600 + minutes * 60 + seconds + bare
    if lifetime < MINIMUM_LIFETIME:
        raise invalid(("Cancel-After", f"must be at least {MINIMUM_LIFETIME} seconds"))
    return lifetime


def _message_id() -> str:
    return f"msg_{secrets.token_urlsafe(20)}"


def _subscribes(prediction: Prediction, event: Event) -> bool:
    # Without a filter Replicate sends "whenever there are new outputs or the prediction has finished".
    return event in (prediction.events or ("output", "completed"))


def _as_invalid(error: ValidationError) -> RefusedError:
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return RefusedError(400, {"detail": "The request body is not JSON", "status": 400})
    problems = [(".".join(map(str, each["loc"])) or "body", each["msg"]) for each in error.errors()]
    return invalid(*problems)


def _instant(query: dict[str, str], name: str, default: float) -> float:
    """Return a query parameter's time in nanoseconds since the epoch."""
    if name not in query:
        return default
    try:
        moment = datetime.fromisoformat(query[name])
    except ValueError:
        raise invalid((name, "must be an ISO 8601 date and time")) from None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    return (
        since // timedelta(microseconds=1) * 1000
    )  # integers: a float would be off by hundreds of nanoseconds


def describe_model(name: str, version: str) -> Json:
    """Return what the API tells of a model, or of one of its versions if `version` is given. Every version of a known model exists.

    Raises:
        RefusedError: 404, there is no such model or version.
    """
    if name not in MODELS or (version and not VERSION_HASH.fullmatch(version)):
        raise RefusedError(404, NOT_FOUND)
    owner, _, short = name.partition("/")
    return {"id": version} if version else {"owner": owner, "name": short, "visibility": "public"}


def _parse_version(version: str) -> tuple[str | None, str]:
    """Return model (None for a bare hash) and version of owner/name, owner/name:hash or a hash."""
    if VERSION_HASH.fullmatch(version):
        return None, version
    name, colon, digest = version.partition(":")
    if "/" not in name or (colon and not VERSION_HASH.fullmatch(digest)):
        raise RefusedError(
            422,
            {
                "title": "Invalid version or not permitted",
                "detail": "The specified version does not exist (or perhaps you don't have permission to use it?)",
                "status": 422,
                "invalid_fields": [{"field": "version", "description": "does not exist"}],
            },
        )
    return name, digest or "hidden"


def _check_input(name: str | None, given: Json) -> tuple[str, bool, str]:
    """Return the output's extension, whether the output is a list, and the photo's URL.

    Raises:
        RefusedError: 404, there is no such model; 422, the model does not accept this input.
    """
    if name is None:  # a bare hash accepts the photo in every known form
        photo_field = next((field for field in PHOTO_FIELDS if field in given), "image")
        model = Model(photo_field, tuple(CONTENT_TYPES), takes_list=isinstance(given.get(photo_field), list))
    elif name in MODELS:
        model = MODELS[name]
    else:
        raise RefusedError(404, NOT_FOUND)
    seed, photo = given.get("seed", 0), given.get(model.photo)
    extension = given.get("output_format", model.formats[0])
    photos = photo if isinstance(photo, list) else [photo]
    problems: list[tuple[str, str]] = []
    if not isinstance(given.get("prompt"), str):
        problems.append(("input.prompt", "is required, as a string"))
    if isinstance(seed, bool) or not isinstance(seed, int):
        problems.append(("input.seed", "must be an integer"))
    if extension not in model.formats:
        problems.append(("input.output_format", f"must be one of {', '.join(model.formats)}"))
    if isinstance(photo, list) is not model.takes_list:
        form = "a list of URLs" if model.takes_list else "a URL"
        problems.append((f"input.{model.photo}", f"is required, as {form}"))
    elif not photos or not all(isinstance(url, str) and is_web_address(url) for url in photos):
        problems.append((f"input.{model.photo}", "must be an http or https URL"))
    if problems:
        raise invalid(*problems)
    return str(extension), model.gives_list, str(photos[0])
