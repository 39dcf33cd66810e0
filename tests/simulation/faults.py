"""The faults of a run: which kinds happen, how often and until when. The seed decides all of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.situations import Situation
from tests.support.function_environment import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable

# kind of fault → its highest rate among the requests, messages and so on that it can hit
HIGHEST = {
    # The process dies before or after a request takes effect.
    "crash_before": 0.01,
    "crash_after": 0.01,
    # Each of boto3's three tries of a request to AWS fails with this rate.
    "aws_error_before": 0.1,
    "aws_error_after": 0.1,
    "dynamodb_throttled": 0.3,
    "s3_throttled": 0.3,
    "ssm_throttled": 0.7,
    "aws_hangs": 0.03,  # no answer, in most of boto3's tries
    "aws_slow": 0.1,
    "s3_body_slow": 0.1,
    "s3_body_cut": 0.1,
    "function_stalls": 0.02,  # the function goes on long after an answer, or never
    "event_refused": 0.5,
    # Messages.
    "s3_event_lost": 0.3,
    "s3_event_duplicated": 0.3,
    "message_late": 0.3,
    "message_duplicated": 0.2,
    "message_dead": 0.03,  # becomes a dead letter, and is moved back later
    "message_dead_after": 0.03,  # likewise, although it was processed
    # Create requests.
    "create_refused_connection": 0.2,
    "create_throttled": 0.3,
    "create_connects_late": 0.1,
    "create_cut_before": 0.2,
    "create_cut_after": 0.3,
    "create_hangs_after": 0.2,
    "create_late": 0.1,  # Replicate makes the prediction after the client has given up
    "create_5xx_before": 0.2,
    "create_5xx_after": 0.3,
    "create_500_after": 0.2,  # an answer of Replicate's own, although the prediction was made
    "create_unreadable": 0.2,
    "create_doubled": 0.2,  # one POST makes two predictions
    "create_odd": 0.3,  # an answer that the client library cannot parse
    "create_alike": 0.7,  # all POSTs of an invocation meet the fault of the first
    # Other requests to Replicate.
    "body_trickles": 0.1,
    "read_failed": 0.3,
    "get_unknown": 0.5,  # 404 for a prediction that was just made
    "list_lags_long": 0.7,  # by minutes, if the layer can know it
    "cancel_failed": 0.8,
    "download_failed": 0.3,
    "download_cut": 0.2,
    "output_cut_long": 0.2,
    "output_no_picture": 0.1,
    # Ends of predictions.
    "finished_at_once": 0.5,  # the webhook arrives before the answer to the POST
    "finished_late": 0.2,
    "finished_too_late": 0.2,
    "prediction_failed": 0.2,
    "predictions_all_fail": 0.5,  # of one job, however often it is retried
    "prediction_canceled": 0.05,
    "prediction_aborted": 0.1,
    "output_missing": 0.1,
    # Webhooks.
    "webhook_dropped": 0.5,
    "webhook_duplicated": 0.5,
    "webhook_late": 0.3,
    "webhook_out_of_order": 0.3,  # a webhook with `processing` arrives after the end
    "webhook_forged": 0.2,  # signed with another secret
    "webhook_misdirected": 0.2,  # the query, which is not signed, names another image
    # Callbacks of orders that name a URL.
    "secrets manager_throttled": 0.7,
    "callback_refused": 0.5,
    "callback_cut": 0.3,
    "callback_hangs": 0.3,
    "callback_unwanted": 0.1,
    # Clients.
    "answer_to_client_lost": 0.1,
    "client_never_uploads": 0.2,
    "client_uploads_late": 0.3,
    "client_renews_url": 0.2,
    "client_uploads_rubbish": 0.2,
    "client_uploads_large": 0.4,
    "client_creates_twice_at_once": 0.2,
    "client_without_key": 0.3,
    "client_wants_callback": 0.9,
    "client_cancels": 0.1,
    "client_deletes": 0.3,
    "client_deletes_soon": 0.2,
    "client_cancels_soon": 0.2,
    "client_acts_twice": 0.5,
    "client_orders_again": 0.8,  # one more image like one of its job, or a new job for its photo
    "client_acts_during_copy": 0.3,
    "client_uploads_after_deleting": 0.9,
    "client_retries": 0.9,  # after a job with failed images
    "client_keeps_retrying": 0.5,
    "client_retries_late": 0.5,  # when Replicate may not hold the output any more
    "client_retries_at_once": 0.5,  # within seconds of the end, as the receiver of a callback may
}
JOBS_PER_SECOND = 0.1
LASTING_SECONDS = 2 * 3600.0
CLOCKS_OFF = 0.5  # seconds; the layer allows that the clocks of two functions differ by 1 s
LOWEST = 0.3  # rate of a kind in a run, of its highest rate
# Each kind has its turn once in so many seeds (1 to 5, 6 to 10 and so on), so that no kind is left out for long.
TURNS = 5
WITH_CRASHES = (
    "client_cancels",
    "client_deletes",
    "client_without_key",
    "client_orders_again",
    "client_wants_callback",
)
# These have their turn together, because each alone never shows what both do.
TOGETHER = {
    "crash_before": WITH_CRASHES,
    "crash_after": WITH_CRASHES,
    "client_uploads_after_deleting": ("client_deletes",),
    "event_refused": ("client_wants_callback",),
    "secrets manager_throttled": ("client_wants_callback",),
    "callback_refused": ("client_wants_callback",),
    "callback_cut": ("client_wants_callback",),
    "callback_hangs": ("client_wants_callback",),
    "callback_unwanted": ("client_wants_callback",),
    "client_keeps_retrying": ("predictions_all_fail",),
    "output_cut_long": ("client_retries",),
    "client_acts_twice": ("client_cancels", "client_deletes", "client_retries"),
    "client_cancels_soon": ("finished_late",),
    "client_retries_late": ("client_retries", "output_cut_long"),
    "client_retries_at_once": ("finished_too_late", "message_duplicated", "predictions_all_fail"),
    "get_unknown": ("webhook_dropped", "finished_late"),
    "list_lags_long": ("create_cut_after", "webhook_dropped", "finished_late"),
    "cancel_failed": ("client_cancels_soon", "client_deletes", "finished_late"),
    "s3_event_lost": ("client_deletes", "client_uploads_after_deleting"),
}
# A crash hits these more often, because a run has few of them.
RARE = {
    "DynamoDB DeleteItem": 60,
    "S3 GetObject": 3,
    "S3 HeadObject": 5,
    "S3 CopyObject": 60,
    "S3 DeleteObject": 5,
    "S3 ListObjectsV2": 5,
    "EventBridge PutEvents": 3,
    "SSM GetParameter": 20,
    "Secrets Manager GetSecretValue": 20,
    "client callback": 3,
    "SQS ChangeMessageVisibility": 5,
    "Replicate cancel": 20,
    "Replicate secret": 20,
    "Replicate list": 3,
    "Replicate get": 3,
    "Replicate download": 3,
}
# So do stalls these functions, which send few requests.
RARELY_STALLED = {"announce": 5, "callback": 5}
LOST_AFTER_DELETION = 4  # times as often the event of a photo is lost whose job is deleted
OUTAGES: dict[str, tuple[float, float]] = {  # the shortest and the longest
    "replicate": (60, 480),
    "dynamodb": (60, 480),
    "s3": (60, 480),
    "sqs": (60, 480),
    "eventbridge": (900, 3000),  # long enough that Lambda gives up records of the stream
}
# The kinds of an outage of Replicate, as fault rates. No other fault happens during an outage.
REPLICATE_OUTAGES: dict[str, dict[str, float]] = {
    "unreachable": {},  # half of the requests get no connection, the other half get 503
    "429": {"create_throttled": 1.0},
    "5xx": {"create_5xx_before": 1.0, "read_failed": 1.0},
    "slow": {"create_hangs_after": 1.0},  # Replicate makes the prediction but does not answer
}
# What a deployment in the middle of a run may change, as environment variables.
PARAMETERS = {
    "GENERATION_DEADLINE_SECONDS": ("900", "2700"),
    "WATCHDOG_DELAY_SECONDS": ("120", "600"),
    "MAX_PHOTO_EDGE": ("0", "32"),
    # These have other names for the fields of the input.
    "REPLICATE_MODEL": ("black-forest-labs/flux-2-pro", "google/nano-banana-2"),
}
CHANGED = 0.6  # how many of them it changes


@dataclass(frozen=True)
class Deployment:
    """A deployment that changes parameters of the stack while jobs are open."""

    at: float  # seconds from the start
    parameters: dict[str, str]  # as environment variables

    @classmethod
    def drawn(cls, random: Random, span: float) -> Deployment:
        """Draw a deployment in the middle of `span` seconds."""
        at = random.uniform(0.1, 0.9) * span
        changed = [name for name in PARAMETERS if random.random() < CHANGED]
        return cls(at, {name: random.choice(PARAMETERS[name]) for name in changed})

    def __str__(self) -> str:
        changed = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return f"a deployment at {self.at:.0f} s changes {changed or 'nothing'}"


@dataclass
class Faults:
    """The faults of one run. The simulation calls `happens` wherever a fault is possible."""

    random: Random
    rates: dict[str, float] = field(default_factory=dict)
    outages: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # seconds from the start
    per_minute: float = 600  # Replicate's limit for predictions
    burst: int = 600
    others_per_minute: float = 0.0  # predictions that other users of the account create
    list_lag: float = 0.0  # seconds by which Replicate's list lags behind
    skew: float = 0.0  # seconds by which Replicate's clock is ahead
    clocks: float = 0.0  # seconds by which the clock of a function may be ahead or behind
    daily_limit: int = 0  # pictures of an owner in a day
    stack_limit: int = 0  # pictures of all owners in a day
    retention: bool = False  # the run goes on until all jobs have expired
    at_the_edge: bool = False  # faults happen there too
    deployment: Deployment | None = None
    lasting: bool = False  # faults go on through the deadlines
    echoes: bool = False  # Replicate's answers hold `webhook`, which its schema lacks
    until: float = 0.0  # no fault happens from this second on
    paused: float = 0.0  # nor between `until` of the first part of the run and this second
    crashes: dict[int, str] = field(default_factory=dict)  # number of a request → "before" or "after"
    injected: Counter[str] = field(default_factory=Counter)  # faults that were drawn
    situations: Counter[Situation] = field(default_factory=Counter)  # what has really happened

    @classmethod
    def drawn(cls, seed: int, span: float) -> Faults:
        """Draw the faults of run `seed`, in which new jobs start for `span` seconds.

        A run has the kinds whose turn it is, and some others, so that each kind is also seen without most others.
        """
        random = Random(f"faults {seed}")
        faults = cls(Random(f"strikes {seed}"), until=span + 600)
        share = random.choice([0.05, 0.2, 0.4])

        def has(kind: str, *, also: float = share) -> bool:
            return _has_its_turn(kind, seed) or random.random() < also

        for kind in HIGHEST:
            if has(kind):
                for one in (kind, *TOGETHER.get(kind, ())):
                    faults.rates[one] = round(HIGHEST[one] * random.uniform(LOWEST, 1), 3)
        for service, lengths in OUTAGES.items():
            if has(f"{service} down", also=share / 4):
                begin, length = random.uniform(0, span), random.uniform(*lengths)
                faults.outages[service] = [(begin, begin + length)]
        faults._draw_conditions(random, has, share, span)
        return faults

    def _draw_conditions(self, random: Random, has: Callable[..., bool], share: float, span: float) -> None:
        """Draw what holds for the whole run."""
        if has("low credit", also=0):
            self.per_minute, self.burst = 6, 1
        self.echoes = random.random() < 0.25
        if has("other users", also=share):
            self.others_per_minute = random.choice([60.0, 600.0, 600.0])
        if has("list lag", also=share):
            # A prediction is created up to 52 s after its POST, and the layer allows 90 s for creation and list together.
            self.list_lag = random.choice([5.0, 35.0, 35.0])
            # Only a job of which every prediction is in doubt has none that shows the lag.
            for kind in ("create_500_after", "create_unreadable", "create_alike"):
                self.rates.setdefault(kind, round(HIGHEST[kind] * random.uniform(LOWEST, 1), 3))
        if has("skew", also=share):
            self.skew = random.choice([-30.0, 30.0])
        if has("daily limit", also=0):
            self.daily_limit, self.stack_limit = 18, 108
            # A retry is an order too.
            self.rates.setdefault("client_retries", HIGHEST["client_retries"])
            self.rates.setdefault("prediction_failed", HIGHEST["prediction_failed"])
        self.retention = has("retention", also=share / 2)
        self.at_the_edge = has("faults at the edge", also=0)
        self.retention |= self.at_the_edge
        if self.retention:  # the keys of deleted jobs are used again
            self.rates.setdefault("client_deletes", HIGHEST["client_deletes"])
        if has("lasting", also=share / 2):
            self.lasting, self.until = True, span + LASTING_SECONDS
        if has("clocks of functions", also=share):
            self.clocks = CLOCKS_OFF
        self.deployment = Deployment.drawn(random, span) if has("deployment", also=share / 2) else None

    @classmethod
    def of_outage(cls, kind: str, seconds: float, seed: int) -> Faults:
        """Return an outage of Replicate, one of REPLICATE_OUTAGES, which begins at once."""
        faults = cls(Random(f"{kind} {seed}"), dict(REPLICATE_OUTAGES[kind]), until=seconds)
        if not faults.rates:
            faults.outages["replicate"] = [(0.0, seconds)]
        return faults

    def happens(self, kind: str, now: float, weight: float = 1) -> bool:
        rate = self.rates.get(kind)
        if rate is None or not self.paused <= now < self.until or self.random.random() >= rate * weight:
            return False
        self.injected[kind] += 1
        if self.paused:
            self.struck(Situation.FAULT_AT_THE_EDGE)
        return True

    def values_of(self, parameter: str) -> tuple[int, int]:
        """Return the least and the greatest value that a parameter has in this run."""
        first = int(ENVIRONMENT[parameter])
        changed = self.deployment.parameters if self.deployment else {}
        second = int(changed.get(parameter, first))
        return min(first, second), max(first, second)

    def resume(self, since: float, until: float) -> None:
        """Let faults happen again in this time."""
        self.paused, self.until = since, until

    def struck(self, situation: Situation, times: int = 1) -> None:
        """Count a situation that has really happened."""
        self.situations[situation] += times

    def one_of(self, kinds: tuple[str, ...], now: float) -> str | None:
        """Return the first of `kinds` that happens, or None."""
        return next((kind for kind in kinds if self.happens(kind, now)), None)

    def is_down(self, service: str, now: float) -> bool:
        down = any(begin <= now < end for begin, end in self.outages.get(service, ()))
        self.injected[f"{service}_outage"] += down
        return down

    def crash(self, number: int, name: str, now: float) -> str | None:
        """Return whether the process dies at this request: "before" or "after" its effect, or None."""
        if number in self.crashes:
            return self.crashes[number]
        weight = RARE.get(name, 1)
        return next((how for how in ("before", "after") if self.happens(f"crash_{how}", now, weight)), None)

    def described(self) -> str:
        """Return one line for people."""
        parts = [f"{kind} {rate:.1%}" for kind, rate in self.rates.items()]
        parts += [
            f"{service} down {begin:.0f}-{end:.0f} s"
            for service, windows in self.outages.items()
            for begin, end in windows
        ]
        if self.per_minute < 600:
            parts.append(f"{self.per_minute:.0f} predictions a minute, burst {self.burst}")
        if self.others_per_minute:
            parts.append(f"{self.others_per_minute:.0f} predictions of others a minute")
        if self.list_lag:
            parts.append(f"the list lags by {self.list_lag:.0f} s")
        if self.skew:
            parts.append(f"Replicate's clock is {self.skew:+.0f} s off")
        if self.clocks:
            parts.append(f"the clocks of functions are up to {self.clocks} s off")
        if self.daily_limit:
            parts.append(f"{self.daily_limit} pictures a day of an owner, {self.stack_limit} of all")
        if self.retention:
            parts.append("until all jobs have expired" + ", with faults" * self.at_the_edge)
        if self.lasting:
            parts.append("faults go on through the deadlines")
        if self.echoes:
            parts.append("webhooks echoed")
        parts += [str(self.deployment)] if self.deployment else []
        return ", ".join(parts) or "none"


def _has_its_turn(kind: str, seed: int) -> bool:
    turns, turn = divmod(seed - 1, TURNS)
    return Random(f"{kind} {turns}").randrange(TURNS) == turn
