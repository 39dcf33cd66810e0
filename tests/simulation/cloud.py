"""The functions on virtual time: their invocations, and the one way for all of their requests."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from types import ModuleType
from typing import Any, Self

from aws_lambda_powertools.event_handler.api_gateway import BaseRouter
from botocore.exceptions import ClientError

from tests.simulation.aws import Answer, Message, Queue, Request
from tests.simulation.checks import OPEN, Checks, Record, ViolationError
from tests.simulation.engine import Engine, Killed, Process
from tests.simulation.faults import LOST_AFTER_DELETION, RARELY_STALLED, Faults
from tests.simulation.functions import FUNCTIONS, environments, loaded, resources
from tests.simulation.lag import Lag
from tests.simulation.patches import patched_io
from tests.simulation.replicate import Replicate
from tests.simulation.retries import Retry
from tests.simulation.services import Services
from tests.simulation.situations import Situation
from tests.support.clock import Clock as WallClock
from tests.support.events import (
    CONTEXT,
    api_event,
    s3_notification,
    signed,
    sqs_event,
    stream_event,
    webhook_event,
)
from tests.support.function_environment import ENVIRONMENT
from triptych.aws import bucket, callback_key, parameters
from triptych.pace import Pace
from triptych.replicate import webhooks
from triptych.settings import Settings
from triptych.successors import Successors

FORGED_SECRET = "whsec_" + base64.b64encode(b"not the secret").decode()
STREAM_BATCH = 10
AT_ONCE_SECONDS = 0.05, 4
LONGEST_BURIED_SECONDS = 5400
DEPLOYMENT_SECONDS = 60
REPLAY_SECONDS = 600  # until an operator replays again what failed
JOB_IN_REQUEST = re.compile(r"(?:jobs/|job_id=)([^/&]+)")
SOURCES = (  # queue, its name in the template, function, and its name for the trigger
    ("generation", "GenerationQueue", "generate", "Upload"),
    ("waiting", "WaitingQueue", "generate", "Turn"),
    ("watchdog", "WatchdogQueue", "watchdog", "Look"),
    ("callback", "JobCallbackQueue", "callback", "JobEnded"),
)
FAIR = {"waiting", "watchdog", "callback"}
DEFAULT: Mapping[str, int] = {}
START = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass(eq=False)
class Source:
    """A queue that invokes a function."""

    queue: Queue
    name: str
    function: str
    concurrency: int
    running: int = 0
    looks_at: float = math.inf  # time of the next look at the queue


class Cloud:
    """The cloud of one run. As a context manager it replaces all I/O of the layer."""

    def __init__(
        self, faults: Faults, *, moto: bool = False, concurrency: Mapping[str, int] = DEFAULT
    ) -> None:
        """Set up the run.

        Args:
            faults: The faults of the run.
            moto: Use moto, whose mock must be active, instead of the stand-ins for DynamoDB, S3 and SSM.
            concurrency: The concurrency of each queue's function, by the queue, instead of the template's default.
        """
        self.engine = Engine()
        self.faults = faults
        self.random = faults.random
        self.requests: list[str] = []  # the name of every request of a handler
        self.trace = hashlib.sha256()
        self.messages: Counter[str] = Counter()  # sent to the queues, by job
        self.looks: Counter[str] = Counter()  # of these, to the watchdog
        self.sent: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)  # queue and body, by job
        self.late_looks = 0  # of the watchdog at jobs that have ended
        self._stream: list[dict[str, Any]] = []  # images of writes that `announce` has not handled yet
        self._stream_failures = 0  # in a row
        self._announcing = False
        (stream,) = resources()["AnnounceFunction"]["Properties"]["Events"].values()
        self._stream_retries: int = stream["Properties"]["MaximumRetryAttempts"]
        self.errors: list[str] = []  # uncaught exceptions of handlers
        self.metrics: Counter[str] = Counter()  # the sum of each
        self.checks = Checks(self)
        self.lag = Lag(self)
        self.clients: dict[str, Callable[[], None]] = {}  # by job: what its client does during a copy
        self.replicate = Replicate(
            self.engine,
            faults,
            START,
            self._webhook,
            self.checks.on_created,
            self._forged_webhook,
            self.checks.on_finished,
        )
        self.aws = Services(self, moto=moto)
        template = resources()
        self.sources: dict[str, Source] = {}
        for name, logical_id, function, trigger in SOURCES:
            queue = template[logical_id]["Properties"]
            event = template[f"{function.title()}Function"]["Properties"]["Events"][trigger]
            dead_letters = Queue(self.now, visibility=30)
            receives = queue["RedrivePolicy"]["maxReceiveCount"]
            self.sources[name] = Source(
                Queue(self.now, queue["VisibilityTimeout"], dead_letters, receives, fair=name in FAIR),
                name,
                function,
                concurrency.get(name) or event["Properties"]["ScalingConfig"]["MaximumConcurrency"],
            )
        self._timeouts = {
            name: template[f"{name.title()}Function"]["Properties"]["Timeout"] for name in FUNCTIONS
        }
        self._ends: dict[Process, Callable[[dict[str, Any] | None], None]] = {}
        self._modules: dict[Process, ModuleType] = {}
        self._frozen: dict[ModuleType, Process] = {}  # invocations that are over, with threads that are not
        self._clocks: dict[ModuleType, float] = {}  # seconds by which a function's clock is ahead
        self._deployed: dict[str, Settings] = {}  # by function
        self._patches = ExitStack()

    def __enter__(self) -> Self:
        self._patches.enter_context(patched_io(self))
        self._deployed = dict.fromkeys(FUNCTIONS, Settings.model_validate(dict(os.environ)))
        if anew := self.faults.deployment:
            self.engine.after(anew.at, partial(self._deploy_all, anew.parameters))
        self._forget()
        for module in (one for idle in environments().values() for one in idle):
            _renew(module)
        return self

    def count(self, *, name: str, unit: str, value: float) -> None:  # powertools' signature
        self.metrics[name] += value  # type: ignore[assignment]  # typeshed: a Counter counts whole things

    def __exit__(self, *_: object) -> None:
        self.engine.close()
        self._patches.close()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.engine.now)

    def clock(self) -> datetime:
        """Return the time of the clock of the running function."""
        task = self.engine.current
        return self.now() + timedelta(seconds=task.process.clock if task else 0.0)

    def settings(self) -> Settings:
        """Return the settings of the running function; between functions, those of `api`."""
        task = self.engine.current
        return (task and task.process.settings) or self._deployed["api"]

    def _deploy_all(self, parameters: dict[str, str]) -> None:
        """Deploy the functions with other parameters, one after another."""
        is_open = [record.status in OPEN for record in self.checks.records.values()]
        self.faults.struck(Situation.DEPLOYED_ANEW, sum(is_open))
        changed = Settings.model_validate({**os.environ, **parameters})
        for function in FUNCTIONS:
            self.engine.after(
                self.random.uniform(0, DEPLOYMENT_SECONDS), partial(self._deploy, function, changed)
            )

    def _deploy(self, function: str, changed: Settings) -> None:
        """Deploy a function: its idle processes are gone, and a running one ends with its invocation."""
        self._deployed[function] = changed
        self._forget()
        for module in environments()[function]:
            self._end_environment(module)

    def _end_environment(self, module: ModuleType) -> None:
        _renew(module)
        if frozen := self._frozen.pop(module, None):
            self.engine.kill(frozen)

    def seconds(self, moment: datetime) -> float:
        """Return a time as seconds from the start."""
        return (moment - START).total_seconds()

    def broken_promise(self, until: float) -> str | None:
        """Run until all is over, or until that time; return the first promise that was broken, None if none was."""
        try:
            self.checks.at_the_end(over=self.engine.run(until))
        except ViolationError as broken:
            return str(broken)
        return None

    def api(self, event: dict[str, Any], done: Callable[[int, dict[str, Any]], None]) -> None:
        """Send a client's request; call `done` with the status (0: no answer) and the JSON body."""

        def answered(result: dict[str, Any] | None) -> None:
            status = int(result["statusCode"]) if result else 0
            if status < 500 and self.faults.happens("answer_to_client_lost", self.engine.now):
                self.faults.struck(Situation.CLIENT_ANSWER_LOST)
                status = 0
            done(status, json.loads(result["body"] or "{}") if result and status else {})

        self.invoke("api", event, answered)

    def upload(self, key: str, content: bytes, *, is_told: bool = False) -> bool:
        """PUT an object as a client does, and send S3's event. Return False if the object exists already.

        Args:
            key: Where.
            content: The bytes.
            is_told: The event is not lost.
        """
        try:
            request = {"Bucket": ENVIRONMENT["BUCKET"], "Key": key, "Body": content, "IfNoneMatch": "*"}
            self.aws.effect(bucket._s3(), "S3", "PutObject", request)
        except ClientError:
            return False
        self.announce_object(key, is_told=is_told)
        return True

    def announce_object(self, key: str, *, is_told: bool = False) -> None:
        """Send S3's event of a photo, unless it is lost."""
        now, faults = self.engine.now, self.faults
        deleted = key.split("/")[1] in self.checks.forgotten
        if deleted:
            faults.struck(Situation.UPLOADED_AFTER_DELETION)
        copies = 1
        if is_told:
            faults.struck(Situation.UPLOADED_AFTER_CLEAN_UP)
        elif faults.happens("s3_event_lost", now, LOST_AFTER_DELETION if deleted else 1):
            faults.struck(Situation.EVENT_LOST_AFTER_DELETION if deleted else Situation.EVENT_LOST)
            copies = 0
        elif faults.happens("s3_event_duplicated", now):
            faults.struck(Situation.EVENT_DOUBLED)
            copies = 2
        body = json.dumps(s3_notification(key.split("/")[1], key))
        for _ in range(copies):
            self.send("generation", body, self.random.uniform(0.1, 2))

    def written(self, record: Record, item: Callable[[], dict[str, Any]]) -> None:
        """Check a job that was stored. Its end goes to the table's stream."""
        before = self.checks.records.get(record.job_id)
        self.checks.on_record(record)
        if before and before.status in OPEN and record.status not in OPEN:
            self._stream.append({"NewImage": item()})
            self._announce_soon()
            failed = record.status in {"FAILED", "PARTIAL"}
            if failed and self.faults.happens("client_retries_at_once", self.engine.now):
                self.engine.after(self.random.uniform(*AT_ONCE_SECONDS), partial(self._retry, record))

    def _retry(self, record: Record) -> None:
        """Retry a job that has just ended, as the receiver of its callback may."""
        retry = Retry(self, record.owner, record.job_id)

        def answered(status: int, body: dict[str, Any]) -> None:
            if status == 200:
                self.faults.struck(Situation.RETRIED_AT_ONCE)
            elif status in {409, 429}:
                retry.refused(body)
            elif not (status in {0, 404} or status >= 500):
                raise ViolationError(f"a retry of job {record.job_id} was answered {status}: {body}")

        self.api(api_event("POST", f"/api/v1/jobs/{record.job_id}/retry", owner=record.owner), answered)

    def removed(self, job_id: str, item: Callable[[], dict[str, Any]]) -> None:
        """Note a job that was deleted. If it had not ended, that goes to the table's stream."""
        before = self.checks.records[job_id]
        self.checks.on_forgotten(job_id)
        if before.status in OPEN:
            self._stream.append({"OldImage": item()})
            self._announce_soon()

    def put_events(self, request: Request) -> Answer:
        """Take the event of a job's end, as EventBridge does."""
        if self.faults.happens("event_refused", self.engine.now):
            self.faults.struck(Situation.EVENT_REFUSED)
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}
        for entry in request["Entries"]:
            self.checks.on_announced(json.loads(entry["Detail"]))
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]}

    def waits_for_watchdog(self, job_id: str) -> float:
        """Return for how many seconds a message about the job has waited for a free watchdog by now."""
        now = self.now()
        waiting = (one for one in self.sources["watchdog"].queue.messages.values() if one.visible_at <= now)
        about = [(now - one.visible_at).total_seconds() for one in waiting if _job_of(one.body) == job_id]
        return max(about, default=0.0)

    def _announce_soon(self) -> None:
        if self._stream and not self._announcing:
            self._announcing = True
            wait = min(60, 2**self._stream_failures)
            self.engine.after(self.random.uniform(0.2, 1) * wait, self._announce)

    def _announce(self) -> None:
        """Invoke `announce` with a batch of the stream, as its event source mapping does."""
        batch = self._stream[:STREAM_BATCH]

        def done(done: int) -> None:
            del self._stream[:done]
            failed = done < len(batch)
            self._stream_failures = (1 if done else self._stream_failures + 1) if failed else 0
            if self._stream_failures > self._stream_retries:
                self._stream_failures = 0
                self._give_up(batch[done:])
            self._announcing = False
            self._announce_soon()

        self._invoke_announce(batch, done)

    def _invoke_announce(self, batch: list[dict[str, Any]], done: Callable[[int], None]) -> None:
        """Invoke `announce`; call `done` with the number of records before the first that failed."""

        def answered(result: dict[str, Any] | None) -> None:
            failed = [int(one["itemIdentifier"]) for one in result["batchItemFailures"]] if result else [0]
            done(min(failed, default=len(batch)))

        event = stream_event(*batch)
        for record, images in zip(event["Records"], batch, strict=True):
            record["dynamodb"] = {**images, "SequenceNumber": record["dynamodb"]["SequenceNumber"]}
        self.invoke("announce", event, answered)

    def _give_up(self, batch: list[dict[str, Any]]) -> None:
        """Make records of the stream a dead letter, which an operator replays later, all of them until none fails."""
        del self._stream[: len(batch)]
        self.faults.struck(Situation.STREAM_GIVEN_UP)

        def replay() -> None:
            self._invoke_announce(batch, done)

        def done(done: int) -> None:
            if done < len(batch):
                self.engine.after(REPLAY_SECONDS, replay)
            else:
                self.faults.struck(Situation.STREAM_REPLAYED)

        self.engine.after(self.random.uniform(10, LONGEST_BURIED_SECONDS), replay)

    def copies(self) -> None:
        """Let the client of the running process's job cancel or delete it, perhaps: its output is being copied."""
        about = self.engine.current and self.engine.current.process.about
        if about in self.clients and self.faults.happens("client_acts_during_copy", self.engine.now):
            self.engine.after(self.random.uniform(0, 0.5), self.clients[about])

    def hinder(self, job_id: str | None = None) -> None:
        """Note that a fault hinders the work for a job: this one, or the one of the running process."""
        about = job_id or (self.engine.current and self.engine.current.process.about)
        if about:
            self.checks.hinder(about, self.engine.now)

    def count_messages_anew(self, job_id: str) -> None:
        """Count the messages that follow by themselves.

        The owner retries the job or repeats its cancellation or deletion, or its id becomes another job's.
        """
        for counter in (self.messages, self.looks):
            counter[f"{job_id}, until {self.engine.now}"] = counter.pop(job_id, 0)

    def send(self, queue: str, body: str, delay: float, group: str | None = None) -> None:
        """Send a message to a function's queue."""
        now = self.engine.now
        about = _job_of(body)
        of = _try_of(about, body)
        self.messages[of] += 1
        self.looks[of] += queue == "watchdog"
        if queue == "callback":
            self.checks.on_callback_ordered(json.loads(body)["webhook_id"])
        if self.faults.retention:
            self.sent[about].append((queue, body))
        if self.faults.happens("message_late", now):
            self.faults.struck(Situation.MESSAGE_LATE)
            delay += self.random.uniform(10, 600)
            self.checks.hinder(about, now + delay)
        self.sources[queue].queue.send(body, delay, group)
        self._pump(self.sources[queue])

    def _webhook(self, body: bytes, query: str, answered: Callable[[int | None], None]) -> None:
        headers = signed(body, WallClock(self.now() + timedelta(seconds=self.faults.skew)))

        def done(result: dict[str, Any] | None) -> None:
            answered(result["statusCode"] if result else None)

        self.invoke("webhook", webhook_event(body, headers, query), done)

    def _forged_webhook(self, body: bytes, query: str) -> None:
        headers = signed(body, WallClock(self.now()), secret=FORGED_SECRET)

        def done(result: dict[str, Any] | None) -> None:
            if result is not None and result["statusCode"] < 400:
                raise ViolationError(f"a forged webhook was answered {result['statusCode']}")

        self.invoke("webhook", webhook_event(body, headers, query), done)

    def _pump(self, source: Source) -> None:
        """Deliver visible messages to the function, and look again when the next one becomes visible."""
        while source.running < source.concurrency and (message := source.queue.receive()):
            if self.faults.happens("message_dead", self.engine.now):
                source.queue.delete(message.number)
                self._bury(source, message, Situation.DEAD_LETTER_REPLAYED)
                continue
            self.checks.on_delivered(_job_of(message.body), message.waited)
            self._deliver(source, message, message.receives, message.receipt)
            if self.faults.happens("message_duplicated", self.engine.now):
                self.faults.struck(Situation.MESSAGE_DOUBLED)
                again = partial(self._deliver, source, message, message.receives, message.receipt)
                self.engine.after(self.random.uniform(0, 30), again)
        waiting = source.queue.messages.values()
        if source.running < source.concurrency and waiting:
            soonest = (min(one.visible_at for one in waiting) - START).total_seconds()
            if not source.looks_at <= soonest:
                source.looks_at = soonest
                self.engine.after(soonest - self.engine.now, partial(self._look, source, soonest))

    def _look(self, source: Source, at: float) -> None:
        # The engine's time may be a little less than `at`, so it does not show whether this look is over.
        if source.looks_at == at:
            source.looks_at = math.inf
        self._pump(source)

    def _bury(self, source: Source, message: Message, situation: Situation) -> None:
        """Make a message a dead letter, and move it back later."""
        wait = self.random.uniform(10, LONGEST_BURIED_SECONDS)
        about = _job_of(message.body)
        if situation is Situation.DEAD_LETTER_REPLAYED:
            until = self.engine.now + wait
            self.checks.hinder(about, until)
            self.checks.held_until[about] = max(until, self.checks.held_until.get(about, 0))

        def replay() -> None:
            self.faults.struck(situation)
            source.queue.send(message.body, 0, message.group)
            self._pump(source)

        self.engine.after(wait, replay)

    def _deliver(self, source: Source, message: Message, receives: int, receipt: str) -> None:
        source.running += 1
        self.late_looks += source.name == "watchdog" and _job_of(message.body) in self.checks.ended_at

        def done(result: dict[str, Any] | None) -> None:
            source.running -= 1
            if result is not None and not result["batchItemFailures"]:
                source.queue.delete(message.number)
                if self.faults.happens("message_dead_after", self.engine.now):
                    self._bury(source, message, Situation.DEAD_LETTER_REPEATED)
            self._pump(source)

        event = sqs_event(
            message.body,
            receives=receives,
            receipt=receipt,
            queue=source.name,
            sent_at=message.sent_at,
            waited=((message.received_at or message.sent_at) - message.sent_at).total_seconds(),
        )
        replaced = source.name == "waiting" and self.checks.is_replaced(json.loads(message.body))
        if replaced:
            self.faults.struck(Situation.MESSAGE_REPLACED)
        self.invoke(source.function, event, done, replaced=replaced)

    def invoke(
        self,
        function: str,
        event: dict[str, Any],
        done: Callable[[dict[str, Any] | None], None],
        *,
        replaced: bool = False,
    ) -> None:
        """Run a handler; call `done` with its result, or None if it raised, died or timed out."""
        process = Process(function, _job_of_event(event), replaced, settings=self._deployed[function])
        idle = environments()[function]
        module = idle.pop() if idle else loaded(function)
        self._enter(process, module)
        over = False

        def end(result: dict[str, Any] | None) -> None:
            nonlocal over
            if over:
                return
            over = True
            self._leave(process, module, lives=result is not None)
            if process.settings is not self._deployed[function]:
                self._end_environment(module)
            del self._ends[process]
            del self._modules[process]
            done(result)

        def body() -> None:
            result = None
            try:
                result = dict(module.handler(event, CONTEXT))
            except Exception as error:  # noqa: BLE001  # Lambda catches everything
                self.errors.append(f"{function}: {error!r}")
                self._note("error", type(error).__name__)
            finally:
                idle.append(module)
                if not process.dead:
                    self.engine.after(0, lambda: end(result))

        self._ends[process] = end
        self._modules[process] = module
        self.engine.start(process, body)

        def time_out() -> None:
            if not over:
                _renew(module)
                self.faults.struck(Situation(f"{function} timed out"))
                if process.about:
                    self.hinder(process.about)
                end(None)

        self.engine.after(self._timeouts[function], time_out)

    def _enter(self, process: Process, module: ModuleType) -> None:
        """Begin an invocation in the environment of an earlier one, with its clock, and its threads that have not ended."""
        if off := self.faults.clocks:
            if module not in self._clocks:
                self._clocks[module] = Random(f"clock {len(self._clocks)}").uniform(-off, off)
            process.clock = self._clocks[module]
            self.faults.struck(Situation.CLOCK_OFF)
        if frozen := self._frozen.pop(module, None):
            self.faults.struck(Situation.THAWED)
            self.engine.thaw(frozen, process)

    def _leave(self, process: Process, module: ModuleType, *, lives: bool) -> None:
        """End an invocation. If its environment lives on, Lambda freezes the threads that have not ended."""
        if lives and process.tasks:
            self.engine.freeze(process)
            self._frozen[module] = process
        else:
            self.engine.kill(process)

    def _crash(self, process: Process) -> None:
        self._forget()
        if process in self._ends:
            _renew(self._modules[process])
            self._ends[process](None)

    def kill_one(self) -> Process | None:
        """Kill a process that runs, in the middle of whatever it does; return it, or None if none runs."""
        running = list(self._ends)
        if not running:
            return None
        process = self.random.choice(running)
        self._note(process.name, "killed")
        if process.about:
            self.hinder(process.about)
        self._crash(process)
        return process

    def _forget(self) -> None:
        """Clear the caches that a new process does not have."""
        parameters.provider().clear_cache()  # type: ignore[no-untyped-call]  # powertools has no types here
        callback_key._provider().clear_cache()  # type: ignore[no-untyped-call]  # as above
        webhooks._kept.secret = None
        webhooks._kept.asked_at = webhooks._NEVER
        webhooks._kept.failures.number = webhooks._unread.number = 0

    def exchange[T](
        self,
        name: str,
        effect: Callable[[], T],
        *,
        there: float,
        back: float | None,
        timeout: float | None = None,
    ) -> T:
        """Send a request of the running handler; return the answer.

        The request takes effect after `there` seconds, even if its process has died by then. The answer arrives `back`
        seconds later, or never if `back` is None.

        Raises:
            Killed: The process died.
            TimeoutError: No answer came within `timeout` seconds.
        """
        engine = self.engine
        process, crash = self._leaves(name)
        wake = engine.waker()
        result: list[T | Exception] = []
        answered = False

        def arrive() -> None:
            result.append(_outcome(effect))
            if crash == "after":
                self._crash(process)
            elif back is not None:
                engine.after(back, come_back)

        def come_back() -> None:
            nonlocal answered
            answered = True
            wake()

        engine.after(there, arrive)
        if timeout is not None:
            wake(timeout)
        saved = BaseRouter.__dict__.get("current_event")  # powertools keeps it on the class
        engine.wait()
        BaseRouter.current_event = saved  # type: ignore[assignment]  # as above
        if not answered:
            raise TimeoutError
        if self.faults.happens("function_stalls", engine.now, RARELY_STALLED.get(process.name, 1)):
            self.hinder()
            engine.sleep(self.random.uniform(5, 90))
        (outcome,) = result
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _leaves(self, name: str) -> tuple[Process, str | None]:
        """Count a request; return its process, and "after" if the process dies after the request's effect.

        Raises:
            Killed: The process dies before the request's effect.
        """
        engine = self.engine
        assert engine.current
        process = engine.current.process
        if process.dead:
            raise Killed
        self.requests.append(f"{process.name}: {name}")
        process.request = name
        crash = self.faults.crash(len(self.requests), name, engine.now)
        if crash:
            self.faults.struck(Situation.KILLED_BEFORE if crash == "before" else Situation.KILLED_AFTER)
            self.faults.struck(Situation(f"killed at {name}"))
            self.hinder()
        self._note(process.name, name, crash or "")
        if crash == "before":
            engine.after(0, partial(self._crash, process))
            engine.wait()
        return process, crash

    def _note(self, *what: str) -> None:
        self.trace.update(f"{self.engine.now:.6f} {' '.join(what)}\n".encode())

    def queue_request(self, operation: str, request: Request) -> Answer:
        name = request["QueueUrl"].rpartition("/")[2]
        if operation == "SendMessage":
            self.send(
                name, request["MessageBody"], request.get("DelaySeconds", 0), request.get("MessageGroupId")
            )
            return {"MessageId": "sent"}
        answer = self.sources[name].queue.handle(operation, request)
        self._pump(self.sources[name])
        return answer


def _renew(module: ModuleType) -> None:
    """Give a function's module the state of a new process."""
    if "pace" in vars(module):
        vars(module)["pace"] = Pace()
    if "successors" in vars(module):
        vars(module)["successors"] = Successors()
    vars(module).get("done", {}).clear()


def _job_of(body: str) -> str:
    """Return the job that a message is about."""
    found = json.loads(body)
    return str(
        found["job_id"] if "job_id" in found else found["Records"][0]["s3"]["object"]["key"].split("/")[1]
    )


def _try_of(job_id: str, body: str) -> str:
    """Return what a message belongs to: its job, or one cancellation or deletion of it. A client may repeat one that fails."""
    found = json.loads(body)
    if found.get("left") is not None:
        return f"{job_id}, deleted at {found['born_at']}"
    if found.get("canceled_at"):
        return f"{job_id}, canceled at {found['canceled_at']}"
    return job_id


def _job_of_event(event: dict[str, Any]) -> str | None:
    """Return the job that an event of a function is about, if it is one."""
    if "Records" in event:
        return _job_of(event["Records"][0]["body"]) if "body" in event["Records"][0] else None
    found = JOB_IN_REQUEST.search(f"{event.get('rawPath', '')}?{event['rawQueryString']}")
    return found and found[1]


def _outcome[T](effect: Callable[[], T]) -> T | Exception:
    try:
        return effect()
    except ViolationError:
        raise
    except Exception as error:  # noqa: BLE001  # the handler must receive it
        return error
