"""Clients that create a job, upload, and poll until the job ends. Some cancel, delete or retry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from random import Random
from typing import Any
from urllib.parse import urlsplit

from tests.simulation.checks import (
    LARGE_JPEG,
    PHOTOS,
    RETENTION,
    SLOW_UPLOAD_SECONDS,
    UPLOAD_SECONDS,
    Record,
    ViolationError,
)
from tests.simulation.cloud import Cloud
from tests.simulation.receiver import URL
from tests.simulation.retries import Retry
from tests.simulation.situations import Situation
from tests.support.events import api_event
from tests.support.photos import JPEG
from tests.support.replicate.account import RETENTION_SECONDS
from triptych.job import MOST_RETRIES

RETRY_SECONDS = 20.0
SLOW, SLOW_SECONDS = 0.5, (300, 3000)  # how many late uploads take how much longer than the layer allows
DELETED_SOURCES = 0.3  # how many clients delete the job whose photo they have just used again
GONE, CONFLICT = 404, 409
TOO_MANY = 429
MIDNIGHT = 3 * 3600.0  # the next day begins in Seoul
POLLS = (20.0, 90.0, 600.0)  # seconds between polls; the last repeats
OPEN = {"AWAITING_UPLOAD", "GENERATING"}


@dataclass
class Client:
    """A client with one job. `view` is the job as the client last saw it."""

    cloud: Cloud
    number: int
    job_id: str = ""
    photo_key: str = ""
    created_at: float = 0.0
    view: dict[str, Any] | None = None
    polls: int = 0
    retries: int = 0
    deleted: bool = False
    reuses: Record | None = None  # the expired job, whose key is used again
    key: str | None = None
    at_the_edge: bool = False
    put_off: bool = False  # by the daily limit, until the next day
    stubborn: bool = False  # retries until the API refuses it
    source: Client | None = None  # the client of the job whose photo is used
    image: int | None = None  # the image of that job that is ordered once more
    has_ordered_again: bool = False

    @property
    def owner(self) -> str:
        return f"owner {self.number % 7}"

    @property
    def wants_callback(self) -> bool:
        """Whether all its orders name a URL. It says the same if it sends an order again."""
        share = self.cloud.faults.rates.get("client_wants_callback", 0.0)
        return Random(f"callback {self.number}").random() < share

    def start(self) -> None:
        self.stubborn = self._happens("client_keeps_retrying")
        name = f"order {self.number}"
        if self.source:
            name += f" again at {self.source.created_at}"  # a key of its own, also if the job's key is used once more
        key = None if self._happens("client_without_key") else name
        self.key = key
        self._create(key)
        if key and self._happens("client_creates_twice_at_once"):
            self.cloud.faults.struck(Situation.CREATED_TWICE)
            self._create(key)
        if not key:
            self.cloud.faults.struck(Situation.CREATED_WITHOUT_KEY)

    def retry_at_the_edge(self) -> None:
        """Retry in the last hour of the job's retention."""
        self.at_the_edge = True
        self._act("retry")

    def _create(self, key: str | None) -> None:
        path, request = "/api/v1/jobs", None
        url = {"callback_url": URL} if self.wants_callback else {}
        if not self.source:
            request = {"content_type": "image/jpeg", "content_length": len(JPEG), **url}
        elif self.image is None:
            request = {"photo_of": self.source.job_id, **url}
        else:
            path += f"/{self.source.job_id}/images/{self.image}/again"
        headers = {"idempotency_key": key} if key else {}
        event = api_event("POST", path, request, owner=self.owner, **headers)
        self.cloud.api(event, partial(self._created, key))

    def _created(self, key: str | None, status: int, body: dict[str, Any]) -> None:
        if status == TOO_MANY:
            self.cloud.checks.on_full(self.owner, body["error"]["code"], Situation.DAY_FULL)
            if not self.job_id and not self.put_off:
                self.put_off = True
                wait = max(60.0, MIDNIGHT - self.cloud.engine.now) + self.cloud.random.uniform(0, 300)
                self.cloud.engine.after(wait, partial(self._create, key))
        elif status in {CONFLICT, GONE} and self._lost_its_source():
            self.cloud.faults.struck(Situation.SOURCE_GONE)
        elif status == CONFLICT and self.deleted:
            pass  # the same request once more, after the deletion
        elif status != 201:
            self._expect(status == 0 or status >= 500, f"POST of a valid job was answered {status}: {body}")
            if not self.job_id:
                self.cloud.engine.after(RETRY_SECONDS, partial(self._create, key))
        elif self.job_id:
            self._expect(body["job_id"] == self.job_id, f"one idempotency key created two jobs: {body}")
        else:
            self._begin(body)

    def _lost_its_source(self) -> bool:
        """Return whether the photo that this order uses may be gone, or has never arrived."""
        if not self.source:
            return False
        record = self.cloud.checks.records.get(self.source.job_id)
        # If S3 fails at its deadline, a job without a photo ends as if the photo might be there.
        uploaded = self.source.job_id in self.cloud.checks.uploads
        if self.source.deleted or not record or not record.started_at or not uploaded:
            return True
        return self.cloud.now() >= record.created_at + RETENTION

    def _begin(self, body: dict[str, Any]) -> None:
        """Upload the photo of the new job, and perhaps cancel or delete it."""
        self.job_id = body["job_id"]
        self.created_at = self.cloud.engine.now
        if self.wants_callback:
            self.cloud.faults.injected["client_wants_callback"] += 1
            self.cloud.checks.with_callback.add(self.job_id)
        if self.reuses:
            early = self.cloud.checks.records[self.job_id].created_at == self.reuses.created_at
            self.cloud.faults.struck(Situation.KEY_REUSED_EARLY if early else Situation.KEY_REUSED)
            if early:
                return  # the job as it is: it has ended
        self.cloud.clients[self.job_id] = self._act_during_copy
        if self.source:
            self._poll()
        else:
            self.photo_key = urlsplit(body["upload"]["url"]).path.removeprefix("/")
            self._will_upload()
        for kind, action, latest in (
            ("client_cancels", "cancel", 200),
            ("client_cancels_soon", "cancel", 20),
            ("client_deletes", "delete", 200),
            ("client_deletes_soon", "delete", 6),
        ):
            if self._happens(kind):
                self.cloud.engine.after(self.cloud.random.uniform(0.1, latest), partial(self._act, action))

    def _will_upload(self) -> None:
        rng = self.cloud.random
        faults = self.cloud.faults
        if self._happens("client_never_uploads"):
            faults.struck(Situation.NEVER_UPLOADED)
            self.cloud.engine.after(60, self._poll)
            return
        photo = LARGE_JPEG if self._happens("client_uploads_large") else JPEG
        content = bytes(len(JPEG)) if self._happens("client_uploads_rubbish") else photo
        if content not in PHOTOS:
            faults.struck(Situation.UPLOADED_RUBBISH)
        if self._happens("client_renews_url"):
            self.cloud.engine.after(rng.uniform(0, UPLOAD_SECONDS), partial(self._renew, content))
            return
        late = rng.uniform(0.1, 5)
        if self._happens("client_uploads_late"):
            faults.struck(Situation.UPLOADED_LATE)
            late = rng.uniform(60, 899)
        self.cloud.engine.after(late, partial(self._upload, content))

    def _upload(self, content: bytes) -> None:
        if not self.deleted:
            self.cloud.upload(self.photo_key, content)
            self._poll()

    def _renew(self, content: bytes) -> None:
        """Upload with a new URL, because the first upload broke off."""
        self._get(partial(self._renewed, content))

    def _renewed(self, content: bytes, status: int, body: dict[str, Any]) -> None:
        if status != 200 and not self.deleted:
            self._expect(status == 0 or status >= 500, f"GET of the job was answered {status}: {body}")
            self.cloud.engine.after(RETRY_SECONDS, partial(self._renew, content))
        elif status == 200 and body["upload"]:
            ends = self.cloud.seconds(datetime.fromisoformat(body["upload"]["expires_at"]))
            begins = self.cloud.random.uniform(self.cloud.engine.now, ends)
            self.cloud.faults.struck(Situation.UPLOADED_SLOWLY)
            wait = begins + self.cloud.random.uniform(0, SLOW_UPLOAD_SECONDS) - self.cloud.engine.now
            self.cloud.engine.after(max(0, wait), partial(self._upload, content))
        else:
            self.cloud.engine.after(60, self._poll)

    def _upload_late(self) -> None:
        """Begin an upload. A GET before the deletion has renewed its URL."""
        if self.cloud.engine.now >= self.created_at + UPLOAD_SECONDS:
            return
        if self.cloud.random.random() >= SLOW:
            seconds = self.cloud.random.uniform(0, SLOW_UPLOAD_SECONDS)
            self.cloud.engine.after(seconds, self._upload_in_time)
            return
        # After the clean-up, only the event tells of the photo.
        arrives = self.created_at + UPLOAD_SECONDS + self.cloud.random.uniform(*SLOW_SECONDS)
        self.cloud.engine.after(arrives - self.cloud.engine.now, self._upload_slowly)

    def _upload_in_time(self) -> None:
        self.cloud.upload(self.photo_key, JPEG)

    def _upload_slowly(self) -> None:
        self.cloud.upload(self.photo_key, JPEG, is_told=True)

    def _order_again(self) -> None:
        """Order one more image like one of this job, or a new job for its photo."""
        image = self.cloud.random.choice([None, 0])
        again = Situation.PHOTO_USED_AGAIN if image is None else Situation.ONE_MORE_IMAGE
        self.has_ordered_again = True
        self.cloud.faults.struck(again)
        following = Client(self.cloud, self.number, source=self, image=image)
        self.cloud.engine.after(self.cloud.random.uniform(0, 60), following.start)
        if self.cloud.random.random() < DELETED_SOURCES:
            self.cloud.engine.after(self.cloud.random.uniform(0, 60), partial(self._act, "delete"))

    def _act_during_copy(self) -> None:
        if not self.deleted:
            self.cloud.faults.struck(Situation.ENDED_DURING_COPY)
            self.ask(self.cloud.random.choice(["cancel", "cancel", "delete"]))

    def _act(self, action: str) -> None:
        """Cancel, delete or retry, perhaps in two tabs at once."""
        self.ask(action)
        if self._happens("client_acts_twice"):
            self.cloud.faults.struck(Situation.TWO_TABS)
            other = self._request(self.cloud.random.choice(["cancel", "delete", "retry", action]))
            self.cloud.engine.after(self.cloud.random.uniform(0, 0.5), partial(self._ask, *other))

    def ask(self, action: str) -> None:
        """Cancel, delete or retry."""
        self._ask(*self._request(action))

    def _request(self, action: str) -> tuple[str, str]:
        path = f"/api/v1/jobs/{self.job_id}"
        return ("DELETE", path) if action == "delete" else ("POST", f"{path}/{action}")

    def _ask(self, method: str, path: str) -> None:
        """Cancel, delete or retry; repeat until there is an answer."""
        self.deleted |= method == "DELETE"
        retry = Retry(self.cloud, self.owner, self.job_id) if path.endswith("/retry") else None
        self.cloud.api(api_event(method, path, owner=self.owner), partial(self._asked, method, path, retry))

    def _asked(self, method: str, path: str, retry: Retry | None, status: int, body: dict[str, Any]) -> None:
        if status == 0 or status >= 500:
            if not retry:  # each may have left a message that has the job cleaned up
                self.cloud.count_messages_anew(self.job_id)
            self.cloud.engine.after(RETRY_SECONDS, partial(self._ask, method, path))
            return
        if (
            method == "DELETE"
            and status < 300
            and self.photo_key
            and self._happens("client_uploads_after_deleting")
        ):
            self.cloud.engine.after(self.cloud.random.uniform(0.1, UPLOAD_SECONDS), self._upload_late)
        gone = status == 404 and (self.deleted or self.job_id in self.cloud.checks.expired)
        if retry and status in {CONFLICT, TOO_MANY}:
            retry.refused(body)
            return
        self._expect(status < 300 or gone, f"{method} {path} was answered {status}: {body}")
        if gone:
            return
        if self.at_the_edge and retry:
            self.cloud.faults.struck(Situation.RETRIED_AT_THE_EDGE)
        if retry:
            self.polls = 0
            self._poll()

    def _poll(self) -> None:
        self._get(self._seen)

    def _get(self, answered: Callable[[int, dict[str, Any]], None]) -> None:
        """Get the job, unless it is deleted."""
        if not self.deleted:
            self.cloud.api(api_event("GET", f"/api/v1/jobs/{self.job_id}", owner=self.owner), answered)

    def _seen(self, status: int, body: dict[str, Any]) -> None:
        if self.deleted:
            return
        if status == 200:
            # The answers to two requests at once may come in another order.
            older, self.view = sorted((self.view or body, body), key=itemgetter("updated_at"))
            self._same_or_further(older, self.view)
            if body["status"] not in OPEN:
                if self.photo_key and not self.has_ordered_again and self._happens("client_orders_again"):
                    self._order_again()
                failed = body["status"] in {"PARTIAL", "FAILED"}
                stubborn = self.stubborn and self.retries <= MOST_RETRIES
                if failed and (stubborn or self._happens("client_retries")):
                    self.retries += 1
                    wait = 0.0
                    if self._happens("client_retries_late"):
                        wait = self.cloud.random.uniform(0, 2 * RETENTION_SECONDS)
                    self.cloud.engine.after(wait, partial(self._act, "retry"))
                return
        else:
            self._expect(status == 0 or status >= 500, f"GET of the job was answered {status}: {body}")
        self.polls += 1
        self.cloud.engine.after(POLLS[min(self.polls, len(POLLS)) - 1], self._poll)

    def _same_or_further(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        for old, new in zip(before["images"], after["images"], strict=True):
            if old["status"] == "STORED":
                self._expect(
                    new["status"] == "STORED" and bool(new["url"]), f"a stored output disappeared: {after}"
                )

    def _happens(self, kind: str) -> bool:
        return self.cloud.faults.happens(kind, self.cloud.engine.now)

    def _expect(self, holds: bool, promise: str) -> None:  # noqa: FBT001  # the calls read as assertions
        if not holds:
            raise ViolationError(f"client {self.number}: {promise}")
