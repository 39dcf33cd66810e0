"""Virtual time, and threads that wait in it.

Handlers are synchronous code, so each runs in a thread. Only one thread runs at a time, and only a heap of events
decides which. Therefore a run with the same seed is always the same. The running thread processes the heap until an
event belongs to another thread, so that most waits need no switch.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from triptych.settings import Settings


class Killed(BaseException):
    """Ends the threads of a dead process. As after SIGKILL, no handler may catch it: it is no Exception."""


def _closed() -> threading.Lock:
    """Return a closed gate, which one thread waits for and another opens."""
    gate = threading.Lock()
    gate.acquire()
    return gate


@dataclass(eq=False)
class Process:
    """One invocation of a function; its tasks die together."""

    name: str
    about: str | None = None  # the job
    replaced: bool = False  # its message is one of the line, and a later one has replaced it
    request: str = ""  # the last
    create_fault: str | None = None  # that all of its POSTs meet
    dead: bool = False
    clock: float = 0.0  # seconds by which the function's clock is ahead
    settings: Settings | None = None  # those with which the function was deployed
    frozen: bool = False  # the invocation is over, and a thread of it has not ended
    tasks: list[Task] = field(default_factory=list)
    woken: list[_Wake] = field(default_factory=list)  # the ends of waits while it was frozen


@dataclass(eq=False)
class Task:
    """One thread of a process. `waits` counts its waits, so that a late event does not end a later wait."""

    process: Process
    worker: _Worker
    waits: int = 0


@dataclass(slots=True)
class _Wake:
    """The event that ends a task's wait."""

    task: Task
    waits: int


class Engine:
    """The clock and the future events. `now` is in seconds from the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self.current: Task | None = None  # None: an event is being processed, no handler runs
        self._events: list[tuple[float, int, Callable[[], None] | _Wake]] = []
        self._numbers = itertools.count()
        self._until = 0.0
        self._failure: BaseException | None = None
        self._over = _closed()  # opened for the thread that called `run`, or `close`
        self._tasks: dict[Task, None] = {}  # those that have not ended
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + max(0.0, seconds), next(self._numbers), do))

    def run(self, until: float) -> bool:
        """Process events until none is left (True) or until that time (False).

        Raises the exception of an event, if one raises.
        """
        self._until = until
        if following := self._advance():
            following.worker.turn.release()
            self._over.acquire()
        if self._failure:
            raise self._failure
        return not self._events

    def start(self, process: Process, body: Callable[[], None]) -> None:
        """Run `body` as a new task of `process`."""
        if not self._idle:
            self._workers.append(_Worker(self))
            self._idle.append(self._workers[-1])
        task = Task(process, self._idle.pop())
        process.tasks.append(task)
        self._tasks[task] = None

        def guarded() -> None:
            self.current = task
            task.waits += 1
            try:
                if not task.process.dead:
                    body()
            except Killed:
                pass
            finally:
                task.process.tasks.remove(task)
                del self._tasks[task]

        task.worker.body = guarded
        self._wake(task, task.waits)

    def waker(self) -> Callable[..., None]:
        """Return a function that ends the next wait of the current task after some seconds. It does not end a later wait."""
        task = self.current
        assert task
        waits = task.waits

        def wake(seconds: float = 0.0) -> None:
            self._wake(task, waits, seconds)

        return wake

    def wait(self) -> None:
        """Let the current task wait until its `waker` is called.

        Raises:
            Killed: The process died during the wait.
        """
        task = self.current
        assert task
        following = self._advance()
        if following is not task:
            self._hand_over(following)
            task.worker.turn.acquire()
        self.current = task
        task.waits += 1
        if task.process.dead:
            raise Killed

    def sleep(self, seconds: float) -> None:
        """Let the current task wait for some seconds."""
        self.waker()(seconds)
        self.wait()

    def run_tasks[T](self, tasks: Sequence[Callable[[], T]], seconds: float) -> list[T | None]:
        """Replace `triptych.runtime.budget.run_in_threads`: run `tasks` as new tasks of the current process."""
        assert self.current
        process, ends_at = self.current.process, self.now + seconds
        futures: list[Future[T]] = [Future() for _ in tasks]
        for task, future in zip(tasks, futures, strict=True):
            self.start(process, partial(_settle, future, task))
        for future in futures:
            if future.done():
                continue
            wake = self.waker()
            future.add_done_callback(lambda _, wake=wake: wake())  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            wake(ends_at - self.now)
            self.wait()
            if not future.done():
                break
        return [future.result() if future.done() else None for future in futures]

    def kill(self, process: Process) -> None:
        process.dead = True
        for task in process.tasks:
            if task is not self.current:
                self._wake(task, task.waits)

    def freeze(self, process: Process) -> None:
        """Stop the threads of a process, as Lambda does after an invocation."""
        process.frozen = True

    def thaw(self, process: Process, into: Process) -> None:
        """Let the threads of a frozen process go on beside those of `into`, the next invocation."""
        for task in process.tasks:
            task.process = into
        into.tasks += process.tasks
        for wake in process.woken:
            self._wake(wake.task, wake.waits)

    def close(self) -> None:
        """Kill all waiting tasks and end the threads."""
        self._events.clear()
        for task in list(self._tasks):
            task.process.dead = True
            while task in self._tasks:
                task.worker.turn.release()
                self._over.acquire()
        for worker in self._workers:
            worker.turn.release()
        for worker in self._workers:
            worker.join()

    def next_for(self, worker: _Worker) -> bool:
        """Process events for an idle worker; return True if it has a new task."""
        self._idle.append(worker)
        following = self._advance()
        if following and following.worker is worker:
            return True
        self._hand_over(following)
        return False

    def _wake(self, task: Task, waits: int, seconds: float = 0.0) -> None:
        event = (self.now + max(0.0, seconds), next(self._numbers), _Wake(task, waits))
        heapq.heappush(self._events, event)

    def _advance(self) -> Task | None:
        """Process events until one wakes a task; return the task, or None if the run is over."""
        self.current = None
        try:
            while self._events and self._events[0][0] <= self._until and not self._failure:
                self.now, _, do = heapq.heappop(self._events)
                if not isinstance(do, _Wake):
                    do()
                elif do.task.waits == do.waits and do.task in self._tasks:
                    if not do.task.process.frozen:
                        return do.task
                    do.task.process.woken.append(do)
        except BaseException as failure:  # noqa: BLE001  # `run` raises it again
            self._failure = failure
        return None

    def _hand_over(self, following: Task | None) -> None:
        (following.worker.turn if following else self._over).release()


def _settle[T](future: Future[T], task: Callable[[], T]) -> None:
    try:
        future.set_result(task())
    except Exception as error:  # noqa: BLE001  # the future carries it, as in an executor
        future.set_exception(error)


class _Worker(threading.Thread):
    """A thread that runs one task after the other."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(daemon=True)
        self.turn = _closed()
        self.body: Callable[[], None] | None = None
        self._engine = engine
        self.start()

    def run(self) -> None:
        self.turn.acquire()
        while body := self.body:
            self.body = None
            body()
            if not self._engine.next_for(self):
                self.turn.acquire()
