"""The promises that hold under all faults, checked at every write, at every prediction and at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from tests.simulation.replicate import Slot, output
from tests.simulation.situations import Situation
from tests.support.function_environment import ENVIRONMENT
from tests.support.photos import JPEG, picture
from triptych.aws import bucket, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.cloud import Cloud
    from tests.simulation.engine import Process
    from tests.simulation.replicate import Prediction
    from triptych.job import Job

UPLOAD_SECONDS = 900 + 300  # until when a job has upload URLs
SLOW_UPLOAD_SECONDS = 300  # how long an upload may take
HOPELESS_SECONDS = 600  # how long S3 may fail to say whether the photo is there
VISIBILITY_SECONDS = 240
# The longest time until the watchdog notices a change, while faults go on: looks fail, messages are late, and processes die.
LASTING_PATIENCE = 3600
RUN_ON_SECONDS = 60.0  # how long a prediction may run after its job's end, cancellation or deletion
RECOVERY_SECONDS = VISIBILITY_SECONDS + 120  # after a fault: redelivery and two tries
SOON_SECONDS = 10
CROWD_SECONDS = 5.0  # a message that waits longer for a free function waits in a crowd
DEADLINE_SECONDS = int(ENVIRONMENT["GENERATION_DEADLINE_SECONDS"])
LOOK_SECONDS = int(ENVIRONMENT["WATCHDOG_DELAY_SECONDS"])
# With these, for one job from its creation, a retry, or an unanswered cancellation or deletion on, under any faults.
MOST_MESSAGES = 160  # while others use up the limit, two processes move a job within the line every 40 s
MOST_LOOKS = 60  # of these, messages to the watchdog
MOST_CALLBACKS = 12  # messages for one callback
FORGETFUL = {"crash_before", "crash_after", "function_stalls"}  # a process that dies forgets what it has done
MOST_CALLBACKS_OF_FORGETFUL = 30  # the stream delivers a record 21 times, and an operator replays it
RETENTION = timedelta(days=30)
SEOUL = timedelta(hours=9)
LONGEST_REQUEST = timedelta(seconds=60)  # of a client
MOST_PICTURES = int(ENVIRONMENT["IMAGE_COUNT"])  # of one order
LARGE_JPEG = picture(size=(600, 40))  # larger than MAX_PHOTO_EDGE
PHOTOS = {JPEG, LARGE_JPEG}
# Replicate may still hold the output.
RECLAIMABLE = {
    "output_unavailable",
    "deadline_exceeded",
    "prediction_lost",
    "output_too_large",
    "output_not_a_picture",
    "output_host_not_allowed",
}
OPEN = {"AWAITING_UPLOAD", "GENERATING"}
MOVES = {
    "PENDING": {"REQUESTING", "FAILED", "CANCELED"},
    "REQUESTING": {"PENDING", "GENERATING", "STORED", "FAILED", "CANCELED"},
    "GENERATING": {"STORED", "FAILED", "CANCELED", "PENDING"},
}


class ViolationError(Exception):
    """A promise was broken."""


@dataclass(frozen=True, slots=True)
class Image:
    status: str
    attempt: int
    prediction_id: str | None
    output_key: str | None
    error: str | None
    asked_at: datetime | None
    repeated: int  # attempts since the last order, beyond the first, that may have cost money
    billable: int  # attempts that may have cost money


@dataclass(frozen=True, slots=True)
class Record:
    """A job in the table."""

    job_id: str
    owner: str
    status: str
    version: int
    created_at: datetime
    started_at: datetime | None  # the upload, or the last retry
    images: tuple[Image, ...]
    entered_again_at: datetime | None
    retries: int
    error: str | None  # the code of the failure of the job as a whole

    @classmethod
    def of_job(cls, job: Job) -> Self:
        images = tuple(
            Image(
                str(image.status),
                image.attempt,
                image.prediction_id,
                image.output.key if image.output else None,
                image.error.code if image.error else None,
                image.asked_at,
                max(0, image.billable - image.billable_before - 1),
                image.billable,
            )
            for image in job.images
        )
        return cls(
            job.job_id,
            job.owner,
            str(job.status),
            job.version or 0,
            job.created_at,
            job.started_at,
            images,
            job.entered_again_at,
            job.retries,
            job.error.code if job.error else None,
        )

    @classmethod
    def of_item(cls, item: dict[str, Any]) -> Self:
        """Make the record of an item in DynamoDB's format."""

        def plain(value: dict[str, Any]) -> Any:
            ((kind, inner),) = value.items()
            match kind:
                case "L":
                    return [plain(one) for one in inner]
                case "M":
                    return {name: plain(one) for name, one in inner.items()}
                case "N":
                    return int(inner)
            return str(inner)

        def moment(text: str | None) -> datetime | None:
            return datetime.fromisoformat(text) if text else None

        job = {name: plain(value) for name, value in item.items()}
        images = tuple(
            Image(
                one["status"],
                one["attempt"],
                one.get("prediction_id"),
                one.get("output_key"),
                one.get("error_code"),
                moment(one.get("asked_at")),
                max(0, one.get("billable", 0) - one.get("billable_before", 0) - 1),
                one.get("billable", 0),
            )
            for one in job["images"]
        )
        return cls(
            job["job_id"],
            job["owner"],
            job["status"],
            job["version"],
            datetime.fromisoformat(job["created_at"]),
            moment(job.get("retried_at") or job.get("uploaded_at")),
            images,
            moment(job.get("entered_again_at")),
            job.get("retries", 0),
            job.get("error_code"),
        )


class Checks:
    """Checks the promises against the events in `cloud`."""

    def __init__(self, cloud: Cloud) -> None:
        self.records: dict[str, Record] = {}
        self.versions: defaultdict[str, list[Record]] = defaultdict(list)  # all that were ever stored, by job
        self.forgotten: dict[str, float] = {}  # deleted jobs: when
        self.expired: set[str] = set()  # jobs removed by their TTL; a late retry's outputs stay for longer
        self.hindered: dict[str, float] = {}  # by job: until when a fault can delay what is done for it
        # By job: the waits of its messages for a free function, each with its end. The queue has few functions, so in a
        # crowd (after an outage, say) a cancellation waits its turn.
        self.crowded: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self.longest_wait = 0.0
        self.held_until: dict[str, float] = {}  # by job: when its dead letter was moved back
        self.ends: Counter[tuple[str, str]] = Counter()  # by job and status
        self.announced: Counter[tuple[str, str]] = Counter()
        self.with_callback: set[str] = set()  # jobs whose order named a URL
        self.callbacks: Counter[str] = Counter()  # messages for each callback
        self.called_back: defaultdict[tuple[str, str], set[str]] = defaultdict(set)  # ids, by job and status
        self.orders: dict[str, tuple[str, date]] = {}  # owner and day of each job's last order
        # Pictures, by the owner or None for all, and the day: at least as many as ever counted.
        self.ordered: Counter[tuple[str | None, date]] = Counter()
        self.made: Counter[tuple[str, date]] = (
            Counter()
        )  # predictions by the owner and the day of their orders
        self.made_by_all: Counter[date] = Counter()
        # The same by job. A day of an owner has doubts that count and have no prediction: they would hide one that is made
        # and does not count.
        self.made_for: Counter[tuple[str, date]] = Counter()
        self.longest_run_on = 0.0
        self.longest_run_on_hindered = 0.0
        self.uploads: dict[str, bytes] = {}  # the uploaded photo, by job
        self.outputs: dict[str, bytes] = {}  # the objects in S3 under outputs/
        self.billed: defaultdict[tuple[str, int], list[Prediction]] = defaultdict(list)
        self.doubled: set[Slot] = set()  # of which one POST made two
        self.taken: dict[Slot, str] = {}  # the prediction that the image took
        # Until when `Cancel-After` lets the prediction run of an image that the deadline has ended. That is after the job's
        # end if a deployment lowered the deadline, and the only cancellation failed.
        self.overdue: dict[tuple[str, int], float] = {}
        self.given_up: dict[
            tuple[str, int], int
        ] = {}  # by image: the failed attempt before the owner's last retry
        self.retried_at: dict[str, float] = {}  # by job: the owner's last retry
        self.ended_at: dict[str, float] = {}
        self._cloud = cloud
        # The least and the greatest, in seconds.
        self._deadlines = cloud.faults.values_of("GENERATION_DEADLINE_SECONDS")
        # The longest time until the watchdog notices a change, without faults.
        self._patience = max(cloud.faults.values_of("WATCHDOG_DELAY_SECONDS")) + VISIBILITY_SECONDS + 120

    def on_record(self, new: Record) -> None:
        old = self.records.get(new.job_id)
        self.records[new.job_id] = new
        self.forgotten.pop(new.job_id, None)
        self._note(new)
        if old is None:
            self._expect(new.version == 1, f"job {new.job_id} came back: {new}")
            self._begin_anew(new)
            self._order(new, new.created_at, len(new.images))
            return
        if new.status == "CANCELED" != old.status:
            self._struck(self._runs(new), Situation.CANCELED_IN_FLIGHT, Situation.CANCELED_BEFORE)
        where = f"job {new.job_id}"
        self._expect(new.version == old.version + 1, f"{where}: version {old.version} → {new.version}")
        retried = new.started_at != old.started_at and old.status in {"FAILED", "PARTIAL"}
        self._expect(
            old.status in OPEN or retried, f"{where} was written after its end: {old.status} → {new.status}"
        )
        retries = old.retries + retried
        self._expect(new.retries == retries, f"{where}: {new.retries} retries are stored, not {retries}")
        if retried and new.started_at:
            pictures = sum(
                before.status == "FAILED" != after.status
                for before, after in zip(old.images, new.images, strict=True)
            )
            self._order(new, new.started_at, pictures)
            self.retried_at[new.job_id] = self._cloud.engine.now
            self._cloud.count_messages_anew(new.job_id)
        deadline = self._earliest_deadline(old, new)
        for index, (before, after) in enumerate(zip(old.images, new.images, strict=True)):
            if retried and before.status == "FAILED":
                reclaimed = before.error in RECLAIMABLE and before.prediction_id
                doubtful = before.error == "deadline_exceeded" and after.status == "REQUESTING"
                expected = "GENERATING" if reclaimed else "REQUESTING" if doubtful else "PENDING"
                self._expect(after.status == expected, f"{where}, image {index} was retried: {after}")
                self._struck(bool(reclaimed), Situation.RECLAIMED, Situation.RETRIED)
                if not reclaimed and not doubtful:
                    self.given_up[new.job_id, index] = before.attempt
            else:
                self._on_image((new.job_id, index), before, after, deadline)

    def _note(self, new: Record) -> None:
        """Note a version of a job, when it ended, and the predictions that its images took."""
        self.versions[new.job_id].append(new)
        if new.status in OPEN:
            self.ended_at.pop(new.job_id, None)
        else:
            if new.job_id not in self.ended_at:
                self.ends[new.job_id, new.status] += 1
                self._count_repeated(new)
            self.ended_at.setdefault(new.job_id, self._cloud.engine.now)
        for index, image in enumerate(new.images):
            if image.prediction_id:
                self.taken[Slot(new.job_id, index, image.attempt)] = image.prediction_id

    def _earliest_deadline(self, old: Record, new: Record) -> float:
        end = self._cloud.seconds(new.started_at or new.created_at) + min(self._deadlines)
        if old.started_at is None:
            uploaded_by = self._cloud.seconds(new.created_at) + UPLOAD_SECONDS + SLOW_UPLOAD_SECONDS
            end = min(end, uploaded_by + HOPELESS_SECONDS)
        return end - 2  # S3 and the functions' clocks may be a second off

    def _on_image(self, slot: tuple[str, int], before: Image, after: Image, deadline: float) -> None:
        where = f"job {slot[0]}, image {slot[1]}"
        step = f"{where}: {before.status} → {after.status}"
        if before.status != after.status:
            self._expect(after.status in MOVES.get(before.status, ()), step)
        if (before.status, after.status) == ("GENERATING", "PENDING"):
            held = self._cloud.replicate.holds(before.prediction_id or "")
            self._expect(not held, f"{where}: Replicate still holds the output, but a new one is requested")
            self._cloud.faults.struck(Situation.RECLAIMED_TOO_LATE)
            self.given_up[slot] = before.attempt
        if after.status == "STORED":
            content = self.outputs.get(after.output_key or "")
            right = after.prediction_id and content == output(after.prediction_id)
            self._expect(bool(right), f"{where} is STORED, but its output is not in S3")
        if after.error == "deadline_exceeded" and before.error is None:
            self._expect(self._cloud.engine.now >= deadline, f"{where} ended before its job's deadline")
            self.overdue[slot] = deadline - min(self._deadlines) + max(self._deadlines)
            if self._cloud.faults.lasting:
                self._cloud.faults.struck(Situation.ENDED_UNDER_FAULTS)
        if after.error == "prediction_lost":
            self._expect(
                after.prediction_id not in self._cloud.replicate.predictions,
                f"{where}: {after.prediction_id} is taken as lost, but Replicate has it",
            )
        if after.status == "FAILED":
            self._expect(bool(after.error), f"{where} is FAILED without a code")
        if after.attempt != before.attempt:
            self._expect(
                after.attempt == before.attempt + 1 and after.status == "REQUESTING",
                f"{step}, attempt {before.attempt} → {after.attempt}",
            )
            exists = self._usable(slot)
            self._expect(not exists, f"{where} gets a new attempt, but a prediction exists: {exists}")

    def on_forgotten(self, job_id: str) -> None:
        record = self.records.pop(job_id)
        self.forgotten[job_id] = self._cloud.engine.now
        if record.status in OPEN:
            self._count_repeated(record)
        if self._cloud.engine.now - self._cloud.seconds(record.created_at) < SOON_SECONDS:
            self._cloud.faults.struck(Situation.DELETED_SOON)
        before = Situation.DELETED_BEFORE if record.status in OPEN else Situation.DELETED_AFTER
        self._struck(self._runs(record), Situation.DELETED_IN_FLIGHT, before)

    def _runs(self, record: Record) -> bool:
        """Return whether a prediction of the job runs at Replicate."""
        slots = [(record.job_id, index) for index in range(len(record.images))]
        return any(made.finished_at is None for slot in slots for made in self.billed.get(slot, ()))

    def _struck(self, which: bool, one: Situation, other: Situation) -> None:  # noqa: FBT001  # which of the two
        self._cloud.faults.struck(one if which else other)

    def on_object(self, key: str, content: bytes) -> None:
        if key.startswith("uploads/"):
            self.uploads[key.split("/")[1]] = content
        else:
            if key.startswith("prepared/"):
                self._cloud.faults.struck(Situation.UPLOADED_LARGE)
            if self._is_referenced(key):
                self._expect(self.outputs.get(key) == content, f"a stored output was overwritten: {key}")
            self.outputs[key] = content

    def on_removed(self, key: str) -> None:
        self._expect(not self._is_referenced(key), f"an output was removed while a job refers to it: {key}")
        self.outputs.pop(key, None)

    def _is_referenced(self, key: str) -> bool:
        record = self.records.get(key.split("/")[1])
        return record is not None and any(image.output_key == key for image in record.images)

    def on_created(self, prediction: Prediction) -> None:
        """Check a prediction that was made and billed."""
        job_id, index, attempt = prediction.slot
        where = f"job {job_id}, image {index}"
        if prediction.doubled:
            self.doubled.add(prediction.slot)
            self.billed[job_id, index].append(prediction)
            return
        usable = self._usable((job_id, index))
        self._expect(not usable, f"{where} is paid for twice: attempt {attempt}, and {usable}")
        held = [
            one.id
            for one in self.billed.get((job_id, index), ())
            if not self._is_spare(one) and self._cloud.replicate.holds(one.id)
        ]
        self._expect(not held, f"{where} is paid for again, but Replicate holds {held}")
        self.billed[job_id, index].append(prediction)
        self._count(job_id)
        record = self.records.get(job_id)
        if record is None:
            self._expect(job_id in self.forgotten, f"{where} has a prediction, but the job never existed")
        else:
            image = record.images[index]
            self._expect(image.attempt == attempt, f"{where} was requested before its intention was stored")
            given = [str(one) for one in prediction.core.input.values() if str(one).startswith("https://")]
            keys = [urlsplit(one).path.removeprefix("/") for one in given]
            self._expect(
                all(map(self._cloud.aws.holds, keys)), f"{where} is given a photo that is not in S3: {keys}"
            )

    def _begin_anew(self, record: Record) -> None:
        """Forget the photo and the predictions of an expired job with the same id."""
        self.uploads.pop(record.job_id, None)
        for index in range(len(record.images)):
            self.billed.pop((record.job_id, index), None)
            self.given_up.pop((record.job_id, index), None)
        self.retried_at.pop(record.job_id, None)

    def on_expired(self, job_id: str) -> None:
        """Check a record that its TTL removes."""
        record = self.records.pop(job_id)
        self.expired.add(job_id)
        self.ended_at.pop(job_id, None)
        # A key that is used again gives the id to another job, whose messages count by themselves.
        self._cloud.count_messages_anew(job_id)
        self._expect(record.status not in OPEN, f"job {job_id} expired before its end: {record}")
        self._cloud.faults.struck(Situation.EXPIRED_RECORD)

    def on_object_expired(self, key: str, modified: datetime) -> None:
        """Check an object that the bucket's lifecycle removes."""
        record = self.records.get(key.split("/")[1])
        # An older object belongs to an expired job with the same id.
        own = record is not None and modified >= record.created_at
        alive = own and record is not None and self._cloud.now() < record.created_at + RETENTION
        self._expect(not alive, f"an object of a job that has not expired was removed: {key}")
        self.outputs.pop(key, None)
        self._cloud.faults.struck(Situation.EXPIRED_OBJECT)

    def hinder(self, job_id: str, until: float) -> None:
        """Note that a fault hinders the work for a job until then."""
        self.hindered[job_id] = max(until, self.hindered.get(job_id, 0.0))

    def asked_at(self, prediction_id: str) -> float | None:
        """Return when the prediction of an image was requested, None if no image has it."""
        made = self._cloud.replicate.predictions.get(prediction_id)
        record = made and self.records.get(made.slot.job_id)
        image = record.images[made.slot.image] if made and record else None
        known = image and image.prediction_id == prediction_id and image.asked_at
        return self._cloud.seconds(known) if known else None

    def is_replaced(self, message: dict[str, Any]) -> bool:
        """Return whether a later message has replaced this one of the line."""
        record = self.records.get(message["job_id"])
        latest = record and record.entered_again_at
        entered = message["entered_at"] and datetime.fromisoformat(message["entered_at"])
        return bool(latest and (not entered or entered < latest))

    def on_send(self, queue_url: str, process: Process) -> None:
        """Check a message that a process sends."""
        record = self.records.get(process.about or "")
        counts_again = record is not None and record.entered_again_at is None  # since a retry
        again = process.replaced and not counts_again and queue_url.endswith("/waiting")
        self._expect(not again, f"a replaced message of job {process.about} entered the line again")

    def on_delivered(self, job_id: str, waited: float) -> None:
        """Note how long a message for a job waited for a free function."""
        self.longest_wait = max(self.longest_wait, waited)
        if waited > CROWD_SECONDS:
            self.crowded[job_id].append((self._cloud.engine.now, waited))
            self._cloud.faults.struck(Situation.MESSAGE_CROWDED)

    def on_finished(self, prediction: Prediction) -> None:
        """Check that a prediction did not run on after its job was over."""
        job_id, now = prediction.slot.job_id, self._cloud.engine.now
        over = self.forgotten.get(job_id, self.ended_at.get(job_id))
        if over is None or self._is_spare(prediction):
            return
        hindered = self.hindered.get(job_id, -RUN_ON_SECONDS)
        slot = (job_id, prediction.slot.image)
        since = max(over, prediction.created_at, self.overdue.get(slot, 0.0))
        if hindered >= over + min(self._deadlines) < over + max(self._deadlines):
            # A lowered deadline has ended the tries to cancel: `Cancel-After` ends the prediction.
            since = max(since, prediction.created_at + max(self._deadlines))
        allowed = RUN_ON_SECONDS + sum(waited for at, waited in self.crowded[job_id] if at >= since)
        allowed += self._cloud.waits_for_watchdog(job_id)
        if hindered >= since - RUN_ON_SECONDS:
            allowed += max(0.0, hindered - since) + RECOVERY_SECONDS
            self.longest_run_on_hindered = max(self.longest_run_on_hindered, now - since)
        else:
            self.longest_run_on = max(self.longest_run_on, now - since)
        self._expect(
            now - since <= allowed,
            f"{prediction.id} ran on for {now - since:.0f} s after the end of job {job_id}",
        )

    def on_announced(self, detail: dict[str, Any]) -> None:
        """Check the event of a job's end."""
        end = detail["job_id"], detail["status"]
        self._expect(self.ends[end] > 0, f"an end was announced that never was: {end}")
        self.announced[end] += 1
        if self.announced[end] > self.ends[end]:
            self._cloud.faults.struck(Situation.ANNOUNCED_AGAIN)

    def on_callback_ordered(self, webhook_id: str) -> None:
        """Check that an end is not called back for ever, because another step of its announcement fails."""
        self.callbacks[webhook_id] += 1
        times = self.callbacks[webhook_id]
        most = MOST_CALLBACKS_OF_FORGETFUL if FORGETFUL & self._cloud.faults.rates.keys() else MOST_CALLBACKS
        self._expect(times <= most, f"{times} messages were sent for the callback {webhook_id}")

    def on_called_back(self, end: dict[str, Any], webhook_id: str, *, signed: bool) -> None:
        """Check a callback that a client's server took."""
        job_id, status = end["job_id"], end["status"]
        ids = self.called_back[job_id, status]
        again = webhook_id in ids
        ids.add(webhook_id)
        self._cloud.faults.struck(Situation.CALLED_BACK_AGAIN if again else Situation.CALLED_BACK)
        self._expect(signed, f"a callback of job {job_id} is not signed")
        few = len(ids) <= self.ends[job_id, status]
        self._expect(few, f"job {job_id} ended as {status} less often than callbacks say: {ids}")

    def on_full(self, owner: str, code: str, situation: Situation) -> None:
        """Check that an order may be refused for a daily limit, and count that: the owner's as this situation."""
        faults, now = self._cloud.faults, self._cloud.now()
        if code == "stack_limit_reached":
            who, limit, situation = None, faults.stack_limit, Situation.STACK_FULL
        else:
            self._expect(code == "daily_limit_reached", f"an order of {owner} was refused: {code}")
            who, limit = owner, faults.daily_limit
        # The order may have come before midnight.
        days = {(at + SEOUL).date() for at in (now, now - LONGEST_REQUEST)}
        most = max(self.ordered[who, day] for day in days) + MOST_PICTURES
        self._expect(
            0 < limit < most, f"{code} for an order of {owner}, but {most} pictures are no more than {limit}"
        )
        faults.struck(situation)

    def _order(self, job: Record, at: datetime, pictures: int) -> None:
        day = (at + SEOUL).date()
        self.orders[job.job_id] = job.owner, day
        for who in (job.owner, None):
            self.ordered[who, day] += pictures

    def _count_repeated(self, job: Record) -> None:
        """Count what a job has cost beyond its order, once it is over."""
        owner, day = self.orders[job.job_id]
        for who in (owner, None):
            self.ordered[who, day] += sum(image.repeated for image in job.images)

    def _count(self, job_id: str) -> None:
        """Count a prediction toward its owner's day."""
        if job_id in self.orders:
            order = self.orders[job_id]
            self.made[order] += 1
            self.made_for[job_id, order[1]] += 1
            self.made_by_all[order[1]] += 1
            for made, limit in (
                (self.made[order], self._cloud.faults.daily_limit),
                (self.made_by_all[order[1]], self._cloud.faults.stack_limit),
            ):
                self._expect(
                    not limit or made <= limit, f"{made} predictions, and {limit} are allowed: {order}"
                )

    def _is_spare(self, prediction: Prediction) -> bool:
        """Return whether its POST made two, and its image has not taken this one: nothing may ever tell of it."""
        return prediction.slot in self.doubled and self.taken.get(prediction.slot) != prediction.id

    def _usable(self, slot: tuple[str, int]) -> list[str]:
        """Return the predictions for this image since the owner's last retry, and those that the retry may still have.

        A retry finds some only in Replicate's list: their image was in doubt at the deadline. If such a prediction ends
        without an available output, or its output is no picture, a new one is made.
        """
        given_up = self.given_up.get(slot, 0)
        retried_at = self.retried_at.get(slot[0], 0.0)
        return [
            f"{one.id}, attempt {one.slot.attempt}"
            for one in self.billed.get(slot, ())
            if one.slot.attempt > given_up
            and not one.doubled
            and not (
                one.created_at < retried_at and (one.no_picture or self._cloud.replicate.has_lost(one.id))
            )
        ]

    def at_the_end(self, *, over: bool) -> None:
        """Check the end of a run. `over` is False if the run took too long and events are left."""
        for name, source in self._cloud.sources.items():
            self._expect(not source.queue.messages, f"messages are left in the {name} queue")
            dead = source.queue.dead_letters
            # A message of a photo can meet 20 deaths in hours of faults. The watchdog continues its job.
            replaceable = name != "watchdog" and self._cloud.faults.lasting
            self._expect(replaceable or not (dead and dead.messages), f"the {name} queue has dead letters")
        for record in self.records.values():
            self._expect(record.status not in OPEN, f"a job has not ended: {record}")
            uploaded = record.job_id in self.uploads
            self._expect(
                record.status != "EXPIRED" or not uploaded, f"a job expired despite its photo: {record}"
            )
            self._in_time(record)
            self._own_outputs(record)
            self._nothing_lost(record)
        self._expect(over, "the run does not end")
        for job_id in self.forgotten:
            left = [key for folder in bucket.FOLDERS for key in self._cloud.aws.stored(f"{folder}/{job_id}/")]
            self._expect(not left, f"objects of the deleted job {job_id} are left: {', '.join(left)}")
            self._expect(table.get(job_id) is None, f"the deleted job {job_id} is still in the table")
        for end, times in self.ends.items():
            self._expect(self.announced[end] >= times, f"an end was not announced: {end}")
            called = end[0] not in self.with_callback or len(self.called_back[end]) >= times
            self._expect(called, f"an end was not called back: {end}")
        for (job_id, day), made in self.made_for.items():
            counted = self._cloud.aws.counted(job_id, day)
            less = counted is not None and counted < made
            self._expect(
                not less, f"{made} predictions were made for job {job_id} on {day}, and {counted} count"
            )
        for (owner, day), made in self.made.items():
            spent = self._cloud.aws.spent(owner, day)
            self._expect(
                spent >= made, f"{made} predictions were made for {owner} on {day}, and {spent} count"
            )
        for counter, bound in self._bounds():
            most = max(counter.values(), default=0)
            self._expect(most <= bound, f"{most} of {bound} messages were sent for one try of a job")
        injected = +self._cloud.faults.injected
        orphans = [key for key in self.orphans() if key.split("/")[1] not in self.hindered]
        self._expect(not orphans, f"outputs without a job: {orphans}")
        if not any(
            kind.startswith(("crash", "aws")) or kind.endswith(("outage", "throttled")) for kind in injected
        ):
            self._expect(not self._cloud.errors, f"handlers raised: {self._cloud.errors}")

    def _bounds(self) -> Iterator[tuple[Counter[str], int]]:
        """Yield each count of messages, by job, with its bound. Other parameters need more of them."""
        longer = max(self._deadlines) / DEADLINE_SECONDS
        oftener = LOOK_SECONDS / min(self._cloud.faults.values_of("WATCHDOG_DELAY_SECONDS"))
        # boto3 repeats a message whose answer was lost, and each of the two has successors in other processes.
        doubled = 1 + 5 * self._cloud.faults.rates.get("aws_error_after", 0)
        looks = longer * max(1, oftener) * doubled * MOST_LOOKS
        yield self._cloud.messages, int(longer * (MOST_MESSAGES - MOST_LOOKS) + looks)
        yield self._cloud.looks, int(looks)

    def orphans(self) -> list[str]:
        """Return the outputs in S3 that no job refers to."""
        outputs = (
            key
            for key in self.outputs
            if key.startswith(f"{bucket.OUTPUTS}/") and key.split("/")[1] not in self.expired
        )
        return [key for key in outputs if not self._is_referenced(key)]

    def _own_outputs(self, record: Record) -> None:
        """Check that each output's bytes are those of its own prediction."""
        for index, image in enumerate(record.images):
            if image.status == "STORED":
                own = {
                    made.id
                    for made in self.billed[record.job_id, index]
                    if made.slot.attempt == image.attempt
                }
                self._expect(
                    image.prediction_id in own, f"job {record.job_id}, image {index}: not its own prediction"
                )
                stored = self._cloud.aws.content(image.output_key or "?")
                right = stored == output(image.prediction_id or "")
                self._expect(right, f"job {record.job_id}, image {index}: not its own prediction's bytes")

    def _in_time(self, record: Record) -> None:
        if record.started_at is None:
            due = self._cloud.seconds(record.created_at) + UPLOAD_SECONDS + SLOW_UPLOAD_SECONDS
        else:
            due = self._cloud.seconds(record.started_at) + max(self._deadlines)
        faults = self._cloud.faults
        patience = LASTING_PATIENCE if faults.lasting else self._patience
        # A message that SQS delivers late may be the only one that comes.
        held = max(one.get(record.job_id, 0.0) for one in (self.held_until, self.hindered))
        due = max(due, held, 0.0 if faults.lasting else faults.until)
        late = self.ended_at[record.job_id] - (due + patience)
        self._expect(late <= 0, f"job {record.job_id} ended {late:.0f} s too late")

    def _nothing_lost(self, record: Record) -> None:
        """Check that every output is stored whose prediction succeeded in time to copy it."""
        if record.started_at is None or record.status == "CANCELED":
            return
        deadline = self._cloud.seconds(record.started_at) + min(self._deadlines)
        if (
            self.uploads.get(record.job_id) in PHOTOS
            and self._cloud.faults.until + self._patience <= deadline
        ):
            rejected = [image.error for image in record.images if (image.error or "").startswith("photo_")]
            self._expect(not rejected, f"job {record.job_id} rejected a good photo: {rejected}")
        for index, image in enumerate(record.images):
            for made in self.billed.get((record.job_id, index), ()):
                usable = (
                    made.status == "succeeded" and made.core.output and image.error != "output_not_a_picture"
                )
                if (
                    image.status == "STORED"
                    or self._is_spare(made)
                    or made.slot.attempt != image.attempt
                    or made.slot.attempt <= self.given_up.get((record.job_id, index), 0)
                    or not usable
                ):
                    continue
                if made.was_bad and (
                    image.error == "output_unavailable" or self._cloud.replicate.has_lost(made.id)
                ):
                    # Every look found it cut. The owner's retry asks for it again, or for a new one if it is removed.
                    continue
                held = self.held_until.get(record.job_id, 0.0)
                seen = max(made.finished_at or 0, self._cloud.faults.until, held) + self._patience
                self._expect(
                    seen > deadline,
                    f"job {record.job_id}, image {index}: {made.id} succeeded, the image is {image.status} ({image.error})",
                )

    def summary(self) -> Counter[str]:
        states = Counter(record.status for record in self.records.values())
        states["(deleted)"] = len(self.forgotten)
        return +states

    def _expect(self, holds: bool, promise: str) -> None:  # noqa: FBT001  # the calls read as assertions
        if not holds:
            raise ViolationError(f"{promise} (at {self._cloud.engine.now:.1f} s)")
