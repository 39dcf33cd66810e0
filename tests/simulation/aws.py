"""In-memory stand-ins for the jobs table, S3 and SQS, as far as Triptych uses them.

Requests and answers of S3 and SQS have boto3's format. An unknown request is an error, not a guess.
`tests/simulation/tests/test_stand_ins.py` compares the stand-ins to moto.
"""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tests.support.fair_queues import FairOrder
from triptych.aws import table
from triptych.deadlines import day_of
from triptych.spending import Order, Spent, balance, entry_of, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from triptych.job import Job

type Request = dict[str, Any]
type Answer = dict[str, Any]

OK: Answer = {"ResponseMetadata": {"HTTPStatusCode": 200}}


def refusal(operation: str, code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]  # the other fields are never read
        operation,
    )


class Jobs:
    """The jobs table, with the functions and conditional writes of `triptych.aws.table` and `triptych.aws.counts`."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job | None] = {}  # None: deleted, and the id is blocked
        self._pictures: Counter[tuple[str | None, str]] = Counter()  # by owner and day; None: the whole stack
        self._counted: Counter[tuple[str, str]] = Counter()  # the same by job and day
        self._released: set[tuple[str, str]] = set()
        self._active: defaultdict[str, set[str]] = defaultdict(set)

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def get_keyed(self, job_id: str) -> Job | None:
        """As `get`.

        Raises:
            table.BlockedError: The id is blocked.
        """
        if job_id in self._jobs and self._jobs[job_id] is None:
            raise table.BlockedError(job_id)
        return self.get(job_id)

    def create(self, job: Job, order: Order) -> Job:
        """Store a new job, and count it.

        Raises:
            table.ConflictError: The id is in use or blocked.
            LimitReachedError: The order exceeds a limit.
        """
        if job.job_id in self._jobs:
            raise table.ConflictError(job.job_id)
        return self._write(job, order)

    def put(self, job: Job, order: Order | None = None) -> Job:
        """Store the job if the stored version is the one that was read.

        Raises:
            table.ConflictError: The stored version is another one.
            LimitReachedError: The order exceeds a limit.
        """
        stored = self._jobs.get(job.job_id)
        if stored is None or stored.version != job.version:
            raise table.ConflictError(job.job_id)
        return self._write(job, order)

    def delete(self, job: Job, *, until: datetime | None = None) -> None:
        """Remove the job if the stored version is the one that was read. With `until`, its id stays blocked for good.

        Raises:
            table.ConflictError: The stored version is another one.
        """
        stored = self._jobs.get(job.job_id)
        if stored is None or stored.version != job.version:
            raise table.ConflictError(job.job_id)
        del self._jobs[job.job_id]
        if until:
            self._jobs[job.job_id] = None

    def check(self, order: Order) -> None:
        """Compare an order to what was spent.

        Raises:
            LimitReachedError: The order exceeds a limit.
        """
        day = order.day.isoformat()
        owner, stack = ({day: self._pictures[who, day]} for who in (order.owner, None))
        refuse(order, Spent(owner, frozenset(self._active[order.owner])), Spent(stack))

    def release(self, job: Job) -> None:
        """Count the job as ended."""
        day = day_of(job.watched_since)
        self._active[job.owner].discard(entry_of(job))
        if (entry_of(job), job.job_id) not in self._released:
            self._released.add((entry_of(job), job.job_id))
            for who in (job.owner, None):
                self._pictures[who, day.isoformat()] -= balance(job)
            self._counted[job.job_id, day.isoformat()] -= balance(job)

    def spent(self, owner: str, day: date) -> int:
        """Return how many pictures of an owner count for a day."""
        return self._pictures[owner, day.isoformat()]

    def counted(self, job_id: str, day: date) -> int:
        """Return how many pictures of a job count for the day of its orders."""
        return self._counted[job_id, day.isoformat()]

    def expire(self, job_id: str) -> None:
        """Remove an item, as DynamoDB does when its time has come."""
        self._jobs.pop(job_id, None)

    def _write(self, job: Job, order: Order | None) -> Job:
        if order:
            self.check(order)
            if order.limits.active_jobs:
                self._active[order.owner].add(order.entry)
            for who in (order.owner, None):
                self._pictures[who, order.day.isoformat()] += order.pictures
            self._counted[job.job_id, order.day.isoformat()] += order.pictures
        stored = replace(job, version=(job.version or 0) + 1)
        self._jobs[job.job_id] = stored
        return stored


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in the bucket."""

    content: bytes
    content_type: str
    modified: datetime


class Bucket:
    """One S3 bucket."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.objects: dict[str, Stored] = {}
        self._now = now

    def handle(self, operation: str, request: Request) -> Answer:
        key = request.get("Key", "")
        match operation:
            case "PutObject":
                if request.get("IfNoneMatch") == "*" and key in self.objects:
                    raise refusal(operation, "PreconditionFailed", 412)
                body = request["Body"]
                content = body if isinstance(body, bytes) else body.read()
                kind = request.get("ContentType", "binary/octet-stream")
                self.objects[key] = Stored(content, kind, self._now().replace(microsecond=0))
                return OK
            case "CopyObject":
                if request.get("IfNoneMatch") == "*" and key in self.objects:
                    raise refusal(operation, "PreconditionFailed", 412)
                copied = self._find(operation, request["CopySource"]["Key"], "NoSuchKey")
                self.objects[key] = replace(copied, modified=self._now().replace(microsecond=0))
                return OK
            case "GetObject":
                return self._get(operation, key, request.get("Range"))
            case "HeadObject":
                found = self._find(operation, key, "404")
                return {**OK, "ContentLength": len(found.content), "LastModified": found.modified}
            case "DeleteObject":
                self.objects.pop(key, None)
                return OK
            case "ListObjectsV2":
                keys = sorted(one for one in self.objects if one.startswith(request["Prefix"]))
                return {**OK, "IsTruncated": False, "Contents": [{"Key": one} for one in keys]}
        raise NotImplementedError(operation)

    def _get(self, operation: str, key: str, byte_range: str | None) -> Answer:
        found = self._find(operation, key, "NoSuchKey")
        content, size = found.content, len(found.content)
        answer = {**OK, "LastModified": found.modified, "ContentType": found.content_type}
        if byte_range is not None:
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", byte_range)
            if span is None:
                raise NotImplementedError(byte_range)
            first, last = int(span[1]), min(int(span[2]), size - 1)
            if first >= size:
                raise refusal(operation, "InvalidRange", 416)
            content = content[first : last + 1]
            answer["ContentRange"] = f"bytes {first}-{last}/{size}"
        return {**answer, "Body": io.BytesIO(content), "ContentLength": len(content)}

    def _find(self, operation: str, key: str, code: str) -> Stored:
        if key not in self.objects:
            raise refusal(operation, code, 404)
        return self.objects[key]


@dataclass(eq=False, slots=True)
class Message:
    """A message in a queue."""

    number: int
    body: str
    sent_at: datetime
    visible_at: datetime
    group: str | None = None
    receives: int = 0
    received_at: datetime | None = None  # for the first time
    waited: float = 0.0  # seconds from when it became visible to its latest delivery

    @property
    def receipt(self) -> str:
        """The receipt handle of the latest delivery."""
        return f"{self.number}/{self.receives}"


@dataclass(eq=False)
class Queue:
    """One SQS queue, which delivers at least once and in no guaranteed order."""

    now: Callable[[], datetime]
    visibility: int  # seconds
    dead_letters: Queue | None = None
    max_receives: int = 0
    messages: dict[int, Message] = field(default_factory=dict)
    sent: int = 0
    fair: bool = False  # messages have groups
    order: FairOrder = field(default_factory=FairOrder)

    def handle(self, operation: str, request: Request) -> Answer:
        match operation:
            case "SendMessage":
                message = self.send(
                    request["MessageBody"], request.get("DelaySeconds", 0), request.get("MessageGroupId")
                )
                return {**OK, "MessageId": str(message.number)}
            case "ReceiveMessage":
                received = self.receive()
                return {**OK, "Messages": [self._described(received)]} if received else OK
            case "DeleteMessage":
                number, _, _ = request["ReceiptHandle"].partition("/")
                self.delete(int(number))
                return OK
            case "ChangeMessageVisibility":
                number, _, _ = request["ReceiptHandle"].partition("/")
                found = self.messages.get(int(number))
                if found is None:
                    raise refusal(operation, "InvalidParameterValue")
                found.visible_at = self.now() + timedelta(seconds=request["VisibilityTimeout"])
                self.order.ended(found.number, self.now().timestamp())
                return OK
        raise NotImplementedError(operation)

    def send(self, body: str, delay: float, group: str | None = None) -> Message:
        self.sent += 1
        now = self.now()
        message = Message(self.sent, body, now, now + timedelta(seconds=delay), group)
        self.messages[message.number] = message
        return message

    def delete(self, number: int) -> None:
        self.messages.pop(number, None)
        self.order.ended(number, self.now().timestamp())

    def receive(self) -> Message | None:
        """Return the first visible message and hide it. Move messages with too many receives to the dead-letter queue."""
        now = self.now()
        for message in self._visible(now):
            if self.dead_letters and message.receives >= self.max_receives:
                del self.messages[message.number]
                self.dead_letters.send(message.body, 0)
                continue
            message.receives += 1
            message.received_at = message.received_at or now
            self.order.received(message.group, message.number, now.timestamp())
            message.waited = (now - message.visible_at).total_seconds()
            message.visible_at = now + timedelta(seconds=self.visibility)
            return message
        return None

    def _visible(self, now: datetime) -> Iterable[Message]:
        visible = (one for one in self.messages.values() if one.visible_at <= now)
        if not self.fair:
            return list(visible)
        return self.order.sort([(one.group, one) for one in visible], now.timestamp())

    def _described(self, message: Message) -> dict[str, Any]:
        return {
            "MessageId": str(message.number),
            "ReceiptHandle": message.receipt,
            "Body": message.body,
            "Attributes": {"ApproximateReceiveCount": str(message.receives)},
        }
