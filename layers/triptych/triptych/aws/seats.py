"""Seats for clients that wait for a change of a job: a few items beside the jobs.

A waiting client holds a function of its own until the job changes. Without a bound, a handful of clients could hold all
functions of an account, and nothing else would run. One owner gets half of the seats at most.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from pynamodb.exceptions import PynamoDBException
from pynamodb.expressions.operand import Path, Value

from triptych.aws import queues, table
from triptych.runtime import clock
from triptych.runtime.observability import logger
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_TRIES = 3  # seats that a client asks for: each costs a write
CONDITION_FAILED = "ConditionalCheckFailedException"


@contextmanager
def seat(owner: str, seconds: float) -> Iterator[bool]:
    """Yield whether the client has a seat, for at most `seconds`. A seat of a process that dies is free after that time.

    If DynamoDB does not answer, there is no seat: the client has its answer already, and need not wait for it.
    """
    seats = settings().waiting_clients
    own = f"seat of {queues.group_of(owner)}"
    with _one_of(own, min(seats, max(1, seats // 2)), seconds) as may:
        if not may:
            yield False
            return
        with _one_of("seat", seats, seconds) as taken:
            yield taken


@contextmanager
def _one_of(kind: str, seats: int, seconds: float) -> Iterator[bool]:
    until = _milliseconds() + int(seconds * 1000)
    numbers = random.sample(range(seats), min(MOST_TRIES, seats))
    taken = next((key for key in (f"{kind} {number}" for number in numbers) if _take(key, until)), None)
    try:
        yield taken is not None
    finally:
        if taken is not None:
            _leave(taken, until)


def _take(key: str, until: int) -> bool:
    taken_until = Path("until")
    free = taken_until.does_not_exist() | (taken_until < Value(_milliseconds()))
    expires_at = clock.now() + timedelta(days=1)
    actions = [
        taken_until.set(Value(until)),
        Path("expires_at").set(Value(int(expires_at.timestamp()))),
    ]
    try:
        table.connection().update_item(key, actions=actions, condition=free)
    except PynamoDBException as error:
        if error.cause_response_code != CONDITION_FAILED:
            logger.warning("seat not taken", reason=type(error).__name__)
        return False
    return True


def _leave(key: str, until: int) -> None:
    taken_until = Path("until")
    try:
        table.connection().update_item(
            key, actions=[taken_until.set(Value(0))], condition=taken_until == Value(until)
        )
    except PynamoDBException as error:  # it is free at `until`
        logger.info("seat not left", reason=type(error).__name__)


def _milliseconds() -> int:
    return int(clock.now().timestamp() * 1000)
