"""Virtual time, and code that waits in it.

Handlers are plain synchronous code, so each runs in a thread; but only one thread ever moves, and which one is
decided by a heap of events alone. So a run is the same each time. Whichever thread moves works the heap off, until
an event says that another thread is next: most waits need no switch at all.
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


class Killed(BaseException):
    """The process is dead. As after SIGKILL, no handler gets to see it and no request leaves any more."""


def _closed() -> threading.Lock:
    """A gate that one thread waits at and another opens."""
    gate = threading.Lock()
    gate.acquire()
    return gate


@dataclass(eq=False)
class Process:
    """What lives and dies together: one invocation of a function."""

    name: str
    dead: bool = False
    tasks: list[Task] = field(default_factory=list)


@dataclass(eq=False)
class Task:
    """One thread of a process. `waits` counts its waits, so that nobody wakes it from a later one."""

    process: Process
    worker: _Worker
    waits: int = 0


@dataclass(slots=True)
class _Wake:
    """The event that lets a task move on from its wait."""

    task: Task
    waits: int


class Engine:
    """The clock and what is still to happen. `now` is in seconds from the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self.current: Task | None = None  # None: an event is at work, not a handler
        self._events: list[tuple[float, int, Callable[[], None] | _Wake]] = []
        self._numbers = itertools.count()
        self._until = 0.0
        self._failure: BaseException | None = None
        self._over = _closed()  # opened for the thread that called `run`, or `close`
        self._tasks: dict[Task, None] = {}  # that have not ended
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + max(0.0, seconds), next(self._numbers), do))

    def run(self, until: float) -> bool:
        """Let things happen until nothing is left to (True), or until that time (False).

        Whatever an event raises is raised from here.
        """
        self._until = until
        if following := self._advance():
            following.worker.turn.release()
            self._over.acquire()
        if self._failure:
            raise self._failure
        return not self._events

    def start(self, process: Process, body: Callable[[], None]) -> None:
        """Run `body` as a further task of `process`, from now on."""
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
                if not process.dead:
                    body()
            except Killed:
                pass
            finally:
                process.tasks.remove(task)
                del self._tasks[task]

        task.worker.body = guarded
        self._wake(task, task.waits)

    def waker(self) -> Callable[..., None]:
        """What ends the wait that the current task is about to begin, in so many seconds: of no effect on a later one."""
        task = self.current
        assert task
        waits = task.waits

        def wake(seconds: float = 0.0) -> None:
            self._wake(task, waits, seconds)

        return wake

    def wait(self) -> None:
        """Wait, as the current task, until its `waker` is called.

        Raises:
            Killed: the process died meanwhile.
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
        """Wait, as the current task."""
        self.waker()(seconds)
        self.wait()

    def run_tasks[T](self, tasks: Sequence[Callable[[], T]], seconds: float) -> list[T | None]:
        """`triptych.runtime.budget.run_in_threads`: run `tasks` as further tasks of the current process."""
        assert self.current
        process, ends_at = self.current.process, self.now + seconds
        futures: list[Future[T]] = [Future() for _ in tasks]
        for task, future in zip(tasks, futures, strict=True):
            self.start(process, partial(_settle, future, task))
        for future in futures:
            if future.done():
                continue
            wake = self.waker()
            future.add_done_callback(lambda _, wake=wake: wake())  # type: ignore[misc]  # mypy wants no default here
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

    def close(self) -> None:
        """End the threads; what still waits is killed."""
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
        """Go on, as a worker that has nothing to do; True: it has again."""
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
        """Work the events off until one lets a task move, or (None) it is over."""
        self.current = None
        try:
            while self._events and self._events[0][0] <= self._until and not self._failure:
                self.now, _, do = heapq.heappop(self._events)
                if not isinstance(do, _Wake):
                    do()
                elif do.task.waits == do.waits and do.task in self._tasks:
                    return do.task
        except BaseException as failure:  # noqa: BLE001  # raised again where `run` was called
            self._failure = failure
        return None

    def _hand_over(self, following: Task | None) -> None:
        (following.worker.turn if following else self._over).release()


def _settle[T](future: Future[T], task: Callable[[], T]) -> None:
    try:
        future.set_result(task())
    except Exception as error:  # noqa: BLE001  # as an executor does
        future.set_exception(error)


class _Worker(threading.Thread):
    """A thread that is used again and again."""

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
