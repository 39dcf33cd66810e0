"""The rules under writers that race: what one has read may be old, what happens comes twice, late, in any order.

The machine holds a table with one job, a Replicate that knows what it has made, and letters: events on their way to
the table. Each rule is one step of somebody; hypothesis looks for the order of steps that breaks a promise.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from tests.simulation.aws import Jobs
from triptych.job import (
    AnswerLost,
    Asked,
    Canceled,
    DeadlinePassed,
    Event,
    Failure,
    GenerationRefused,
    ImageFailed,
    ImageStatus,
    Job,
    JobRejected,
    Output,
    OutputStored,
    Photo,
    PredictionCreated,
    PredictionNotCreated,
    Retried,
    UploadArrived,
    UploadExpired,
    apply,
    apply_all,
    new_job,
)
from triptych.table import Conflict

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
IMAGES = 3
WHY = Failure("why", "Because.")

type Post = tuple[int, int]  # image and attempt

writers = st.integers(0, 3)


class Racers(RuleBasedStateMachine):
    """One job, four writers."""

    letters = Bundle("letters")

    @initialize()
    def born(self) -> None:
        photo = Photo("uploads/j/photo.jpg", "image/jpeg", 10)
        job = new_job(job_id="j", owner="ann", photo=photo, prompt=None, image_count=IMAGES, now=START)
        self.now = START
        self.table = Jobs()
        self.last = self.table.put(job)
        self.seen = [self.last] * 4  # what each writer has read last
        self.on_their_way: list[Post] = []  # POSTs that have left and not arrived
        self.made: dict[Post, str] = {}  # predictions, all of them billed
        self.given_up = [0] * IMAGES  # the attempt that had failed when the owner wanted another

    # ── steps ──

    @rule(writer=writers)
    def read(self, writer: int) -> None:
        self.seen[writer] = self.stored()

    @rule(writer=writers)
    def upload(self, writer: int) -> None:
        self.record(writer, UploadArrived("uploads/j/photo.jpg", 10, self.now))

    @rule(
        writer=writers,
        event=st.sampled_from([JobRejected(WHY), UploadExpired(), Canceled(), DeadlinePassed()]),
    )
    def end(self, writer: int, event: Event) -> None:
        self.record(writer, event)

    @rule(writer=writers, images=st.sets(st.integers(0, IMAGES - 1), min_size=1))
    def ask(self, writer: int, images: set[int]) -> None:
        """As `generation.advance`: the intention first, and the POST only where that write was the writer's own."""
        seen = self.seen[writer]
        until = self.now + timedelta(seconds=90)
        asked = [Asked(image, None, self.now, until) for image in sorted(images)]
        after = apply_all(seen, asked, self.now)
        if after is seen:
            return
        try:
            self.seen[writer] = self.table.put(after)
        except Conflict:
            self.seen[writer] = self.stored()
            return
        for before, now in zip(seen.images, after.images, strict=True):
            if now.attempt > before.attempt:
                self.on_their_way.append((now.index, now.attempt))

    @rule(writer=writers)
    def retry(self, writer: int) -> None:
        before = self.stored()
        after = self.record(writer, Retried(self.now))
        if after.retried_at != before.retried_at:
            for image in before.having(ImageStatus.FAILED):
                self.given_up[image.index] = image.attempt

    @precondition(lambda self: self.on_their_way)
    @rule(target=letters, data=st.data(), fate=st.sampled_from(["made", "throttled", "refused", "lost"]))
    def arrive(self, data: st.DataObject, fate: str) -> object:
        """A POST arrives, or never will; its answer is on its way back, or lost."""
        image, attempt = post = data.draw(st.sampled_from(self.on_their_way))
        self.on_their_way.remove(post)
        match fate:
            case "made":
                self.made[post] = f"p{len(self.made)}"
                created = PredictionCreated(image, attempt, self.made[post])
                output = Output(f"outputs/j/{image}.{attempt}.png", "image/png", 100)
                stored = OutputStored(image, attempt, self.made[post], output)
                lost = AnswerLost(image, attempt, self.now)
                return multiple(created, lost, data.draw(st.sampled_from([stored, self.failure(post)])))
            case "throttled":
                return PredictionNotCreated(image, attempt, self.now)
            case "refused":
                return GenerationRefused(image, attempt, WHY)
        return AnswerLost(image, attempt, self.now)

    @rule(writer=writers, letter=letters)
    def deliver(self, writer: int, letter: Event) -> None:
        """A letter comes to a writer: perhaps again, perhaps late. Letters are not taken out of the bundle."""
        self.record(writer, letter)

    @rule(writer=writers)
    def settle_doubts(self, writer: int) -> None:
        """As the list of predictions tells, of those whose POST can no longer be on its way."""
        for image in self.seen[writer].having(ImageStatus.REQUESTING):
            post = (image.index, image.attempt)
            if post in self.made:
                self.record(writer, PredictionCreated(*post, self.made[post]))
            elif post not in self.on_their_way:
                self.record(writer, PredictionNotCreated(*post, self.now))

    # ── what must hold ──

    @invariant()
    def no_picture_is_paid_for_twice(self) -> None:
        for image in range(IMAGES):
            wanted = [post for post in self.made if post[0] == image and post[1] > self.given_up[image]]
            assert len(wanted) <= 1, wanted

    @invariant()
    def what_is_stored_stays_and_is_the_pictures_own(self) -> None:
        job = self.stored()
        for old, new in zip(self.last.images, job.images, strict=True):
            if old.status is ImageStatus.STORED:
                assert new == old
            if new.status is ImageStatus.STORED:
                assert new.output
                assert self.made[new.index, new.attempt] == new.prediction_id
                assert new.output.key == f"outputs/j/{new.index}.{new.attempt}.png"

    @invariant()
    def an_end_is_an_end_but_for_a_retry(self) -> None:
        job = self.stored()
        if self.last.status.is_terminal and job.version != self.last.version:
            assert apply(self.last, Retried(self.now), self.now) is not self.last
        self.last = job

    @invariant()
    def attempts_only_grow_and_each_post_has_its_own(self) -> None:
        for image in self.stored().images:
            made = [attempt for index, attempt in self.made if index == image.index]
            assert image.attempt >= max(made, default=0)

    @invariant()
    def it_can_be_ended(self) -> None:
        job = self.stored()
        end = DeadlinePassed() if job.uploaded_at else UploadExpired()
        assert apply(job, end, self.now).status.is_terminal

    # ── the machine's own ──

    def stored(self) -> Job:
        job = self.table.get("j")
        assert job
        return job

    def record(self, writer: int, event: Event) -> Job:
        """As `table.record`: apply to what was read, and where that is old, read and apply again."""
        self.now += timedelta(seconds=1)
        while True:
            seen = self.seen[writer]
            after = apply(seen, event, self.now)
            if after is seen:
                return seen
            try:
                self.seen[writer] = self.table.put(after)
            except Conflict:
                self.seen[writer] = self.stored()
            else:
                return self.seen[writer]

    def failure(self, post: Post) -> ImageFailed:
        return ImageFailed(*post, self.made[post], replace(WHY, code="prediction_failed"))


TestRacers = Racers.TestCase
TestRacers.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
