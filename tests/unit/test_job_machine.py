"""The rules under writers that race: what one has read may be old, what happens comes twice, late, in any order.

The machine holds a table with one job, a Replicate that knows what it has made, and letters: events on their way to
the table. Each rule is one step of somebody; hypothesis looks for the order of steps that breaks a promise.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
from triptych.aws.table import ConflictError, Day
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

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
MOST_IMAGES = 3
WRITERS = 3
WHY = FailureKind.REPLICATE_REFUSED


type Post = tuple[int, int]  # image and attempt

writers = st.integers(0, WRITERS - 1)
fates = st.sampled_from(["made", "throttled", "made in vain", "late", "lost", "refused"])
fates_of_all = st.lists(fates, min_size=MOST_IMAGES, max_size=MOST_IMAGES)
picks = st.lists(st.integers(0, 99), min_size=1, max_size=6)


class Racers(RuleBasedStateMachine):
    """One job, some writers."""

    @initialize(images=st.integers(1, MOST_IMAGES), ends=st.booleans(), first=fates_of_all | st.none())
    def born(self, images: int, ends: bool, first: list[str] | None) -> None:  # noqa: FBT001  # drawn by hypothesis
        photo = Photo("uploads/j/photo.jpg", "image/jpeg", 10)
        job = new_job(job_id="j", owner="ann", photo=photo, prompt=None, image_count=images, now=START)
        self.now = START
        self.table = Jobs()
        self.last = self.table.create(job, Day(START.date(), 0))
        self.seen = [self.last] * WRITERS  # what each has read last
        self.on_their_way: list[Post] = []  # POSTs that have left and not arrived
        self.made: dict[Post, str] = {}  # predictions, all of them billed
        self.given_up = [0] * images  # the attempt that had failed when the owner wanted another
        self.ends = ends  # whether it may end so that no retry opens it again
        self.letters: list[Event] = []  # none is ever thrown away: it may come again, however late
        if first:
            self.post(0, first)

    @rule(writer=writers)
    def read(self, writer: int) -> None:
        self.seen[writer] = self.stored()

    @rule(writer=writers)
    def time_is_up(self, writer: int) -> None:
        self.record(writer, DeadlinePassed())

    @precondition(lambda self: self.ends)
    @rule(writer=writers, event=st.sampled_from([JobRejected(WHY), UploadExpired(), Canceled()]))
    def end(self, writer: int, event: Event) -> None:
        self.record(writer, event)

    @rule(writer=writers, fates=fates_of_all)
    def ask(self, writer: int, fates: list[str]) -> None:
        self.post(writer, fates)

    @precondition(lambda self: self.stored().having(ImageStatus.FAILED))
    @rule(writer=writers)
    def retry(self, writer: int) -> None:
        before = self.stored()
        after = self.record(writer, Retried(self.now))
        if after.retried_at != before.retried_at:
            for image in before.having(ImageStatus.FAILED):
                self.given_up[image.index] = image.attempt

    @precondition(lambda self: self.on_their_way)
    @rule(pick=st.integers(0, 99), fate=fates)
    def arrive_late(self, pick: int, fate: str) -> None:
        self.arrive(self.on_their_way.pop(pick % len(self.on_their_way)), fate)

    @precondition(lambda self: self.letters)
    @rule(writer=writers, picks=picks)
    def deliver(self, writer: int, picks: list[int]) -> None:
        """Some letters come to a writer: in any order, perhaps again, perhaps late."""
        for pick in picks:
            self.record(writer, self.letters[pick % len(self.letters)])

    @rule(writer=writers)
    def settle_doubts(self, writer: int) -> None:
        """As the list of predictions tells, of those whose POST can no longer be on its way."""
        for image in self.seen[writer].having(ImageStatus.REQUESTING):
            post = (image.index, image.attempt)
            if post in self.made:
                self.record(writer, PredictionCreated(*post, self.made[post]))
            elif post not in self.on_their_way:
                self.record(writer, PredictionNotCreated(*post, self.now))

    @invariant()
    def no_picture_is_paid_for_twice(self) -> None:
        for image in range(len(self.given_up)):
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

    def stored(self) -> Job:
        job = self.table.get("j")
        assert job
        return job

    def record(self, writer: int, event: Event) -> Job:
        """As `record.update`: apply to what was read, and where that is old, read and apply again."""
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
        """As `generation.advance`: the intention first, and the POST only where that write was the writer's own."""
        seen = self.seen[writer]
        until = self.now + timedelta(seconds=90)
        asked = [Asked(image.index, None, self.now, until) for image in seen.images]
        after = apply_all(seen, [UploadArrived("uploads/j/photo.jpg", 10, self.now), *asked], self.now)
        try:
            self.seen[writer] = after if after is seen else self.table.put(after)
        except ConflictError:
            self.seen[writer] = self.stored()
            return
        for old, new in zip(seen.images, after.images, strict=True):
            if new.attempt > old.attempt:
                self.arrive((new.index, new.attempt), fates[new.index])

    def arrive(self, post: Post, fate: str) -> None:
        """A POST arrives, or never will, or not yet; letters about it are on their way."""
        match fate:
            case "made":
                self.made[post] = prediction = f"p{len(self.made)}"
                output = Output(f"outputs/j/{post[0]}.{post[1]}.png", "image/png", 100)
                self.letters += [
                    PredictionCreated(*post, prediction),
                    OutputStored(*post, prediction, output),
                ]
            case "made in vain":
                self.made[post] = prediction = f"p{len(self.made)}"
                self.letters += [AnswerLost(*post, self.now), ImageFailed(*post, prediction, WHY)]
            case "throttled":
                self.letters.append(PredictionNotCreated(*post, self.now))
            case "refused":
                self.letters.append(GenerationRefused(*post, WHY))
            case "late":
                self.on_their_way.append(post)
                self.letters.append(AnswerLost(*post, self.now))
            case "lost":
                self.letters.append(AnswerLost(*post, self.now))


TestRacers = Racers.TestCase
TestRacers.settings = settings(max_examples=800, stateful_step_count=40, deadline=None)
