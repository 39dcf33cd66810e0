"""The rules when several writers race: reads may be stale, and events arrive twice, late and in any order.

The state machine holds a table with one job, the predictions that Replicate made, and the events to deliver.
Each rule is one step of one writer. Hypothesis searches for an order of steps that breaks a promise.
"""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.simulation.aws import Jobs
from tests.support.jobs import START, waiting_job
from triptych.aws.table import ConflictError
from triptych.failures import FailureKind
from triptych.job import (
    AnswerLost,
    Asked,
    Canceled,
    DeadlinePassed,
    Event,
    GenerationRefused,
    ImageFailed,
    ImageStatus,
    Job,
    JobRejected,
    Output,
    OutputStored,
    PredictionCreated,
    PredictionNotCreated,
    Retried,
    UploadArrived,
    UploadExpired,
    apply,
    apply_all,
)
from triptych.spending import Order

MOST_IMAGES = 3
WRITERS = 3
KIND = FailureKind.REPLICATE_REFUSED


type Post = tuple[int, int]  # image and attempt

writers = st.integers(0, WRITERS - 1)
fates = st.sampled_from(["made", "throttled", "made and failed", "late", "lost", "refused"])
fates_of_all = st.lists(fates, min_size=MOST_IMAGES, max_size=MOST_IMAGES)
picks = st.lists(st.integers(0, 99), min_size=1, max_size=6)


class Racers(RuleBasedStateMachine):
    """One job and several writers."""

    @initialize(images=st.integers(1, MOST_IMAGES), ends=st.booleans(), first=fates_of_all | st.none())
    def create(self, images: int, ends: bool, first: list[str] | None) -> None:  # noqa: FBT001  # drawn by hypothesis
        job = waiting_job(images)
        self.now = START
        self.table = Jobs()
        self.last = self.table.create(job, Order(owner=job.owner, entry="e", day=START.date(), pictures=0))
        self.seen = [self.last] * WRITERS  # the last version that each writer read
        self.in_flight: list[Post] = []  # POSTs that were sent and have not arrived
        self.made: dict[Post, str] = {}  # the predictions, each of them billed
        self.failed_attempts = [0] * images  # the last failed attempt when the owner retried
        self.ends = ends  # whether the job may end in a way that no retry reopens
        self.events: list[Event] = []  # never removed: each may be redelivered, however late
        if first:
            self.post(0, first)

    @rule(writer=writers)
    def read(self, writer: int) -> None:
        self.seen[writer] = self.stored()

    @rule(writer=writers)
    def pass_deadline(self, writer: int) -> None:
        self.record(writer, DeadlinePassed(self.seen[writer].retries))

    @precondition(lambda self: self.ends)
    @rule(writer=writers, event=st.sampled_from([JobRejected(KIND), UploadExpired(), Canceled()]))
    def end(self, writer: int, event: Event) -> None:
        self.record(writer, event)

    @rule(writer=writers, fates=fates_of_all)
    def request(self, writer: int, fates: list[str]) -> None:
        self.post(writer, fates)

    @precondition(lambda self: self.stored().having(ImageStatus.FAILED))
    @rule(writer=writers)
    def retry(self, writer: int) -> None:
        before = self.stored()
        after = self.record(writer, Retried(self.now))
        if after.retried_at != before.retried_at:
            for image in before.having(ImageStatus.FAILED):
                self.failed_attempts[image.index] = image.attempt

    @precondition(lambda self: self.in_flight)
    @rule(pick=st.integers(0, 99), fate=fates)
    def arrive_late(self, pick: int, fate: str) -> None:
        self.arrive(self.in_flight.pop(pick % len(self.in_flight)), fate)

    @precondition(lambda self: self.events)
    @rule(writer=writers, picks=picks)
    def deliver(self, writer: int, picks: list[int]) -> None:
        """Deliver some events to a writer, in any order."""
        for pick in picks:
            self.record(writer, self.events[pick % len(self.events)])

    @rule(writer=writers)
    def settle_doubts(self, writer: int) -> None:
        """Settle each image in doubt by the list of predictions, once its POST is no longer in flight."""
        for image in self.seen[writer].having(ImageStatus.REQUESTING):
            post = (image.index, image.attempt)
            if post in self.made:
                self.record(writer, PredictionCreated(*post, self.made[post]))
            elif post not in self.in_flight:
                self.record(writer, PredictionNotCreated(*post, self.now))

    @invariant()
    def no_image_is_paid_for_twice(self) -> None:
        for image in range(len(self.failed_attempts)):
            paid = [post for post in self.made if post[0] == image and post[1] > self.failed_attempts[image]]
            assert len(paid) <= 1, paid

    @invariant()
    def stored_output_stays_and_belongs_to_its_image(self) -> None:
        job = self.stored()
        for old, new in zip(self.last.images, job.images, strict=True):
            if old.status is ImageStatus.STORED:
                assert new == old
            if new.status is ImageStatus.STORED:
                assert new.output
                assert self.made[new.index, new.attempt] == new.prediction_id
                assert new.output.key == f"outputs/j/{new.index}.{new.attempt}.png"

    @invariant()
    def only_a_retry_reopens_an_ended_job(self) -> None:
        job = self.stored()
        if self.last.status.is_terminal and job.version != self.last.version:
            assert apply(self.last, Retried(self.now), self.now) is not self.last
        self.last = job

    @invariant()
    def each_post_has_its_own_attempt(self) -> None:
        for image in self.stored().images:
            made = [attempt for index, attempt in self.made if index == image.index]
            assert image.attempt >= max(made, default=0)

    @invariant()
    def job_can_end(self) -> None:
        job = self.stored()
        end = DeadlinePassed(job.retries) if job.uploaded_at else UploadExpired()
        assert apply(job, end, self.now).status.is_terminal

    def stored(self) -> Job:
        job = self.table.get("j")
        assert job
        return job

    def record(self, writer: int, event: Event) -> Job:
        """Apply the event as `record.update` does: after a lost race, read and apply again."""
        self.now += timedelta(seconds=1)
        while True:
            seen = self.seen[writer]
            after = apply(seen, event, self.now)
            if after is seen:
                return seen
            try:
                self.seen[writer] = self.table.put(after)
            except ConflictError:
                self.seen[writer] = self.stored()
            else:
                return self.seen[writer]

    def post(self, writer: int, fates: list[str]) -> None:
        """Write the intention first, as `generate.advance` does; POST only if this write succeeded."""
        seen = self.seen[writer]
        until = self.now + timedelta(seconds=90)
        asked = [Asked(image.index, None, self.now, until) for image in seen.images]
        after = apply_all(seen, [UploadArrived("uploads/j/photo.jpg", self.now), *asked], self.now)
        try:
            self.seen[writer] = after if after is seen else self.table.put(after)
        except ConflictError:
            self.seen[writer] = self.stored()
            return
        for old, new in zip(seen.images, after.images, strict=True):
            if new.attempt > old.attempt:
                self.arrive((new.index, new.attempt), fates[new.index])

    def arrive(self, post: Post, fate: str) -> None:
        """Let a POST arrive now, later or never; add the events that follow from it."""
        match fate:
            case "made":
                self.made[post] = prediction = f"p{len(self.made)}"
                output = Output(f"outputs/j/{post[0]}.{post[1]}.png", "image/png", 100)
                self.events += [
                    PredictionCreated(*post, prediction),
                    OutputStored(*post, prediction, output),
                ]
            case "made and failed":
                self.made[post] = prediction = f"p{len(self.made)}"
                self.events += [AnswerLost(*post, self.now), ImageFailed(*post, prediction, KIND)]
            case "throttled":
                self.events.append(PredictionNotCreated(*post, self.now))
            case "refused":
                self.events.append(GenerationRefused(*post, KIND))
            case "late":
                self.in_flight.append(post)
                self.events.append(AnswerLost(*post, self.now))
            case "lost":
                self.events.append(AnswerLost(*post, self.now))


TestRacers = Racers.TestCase
TestRacers.settings = settings(max_examples=800, stateful_step_count=40, deadline=None)
