"""Seats for clients that wait for a change of a job: a few items beside the jobs.

A waiting client holds a function of its own until the job changes. Without a bound, a handful of clients could hold all
functions of an account, and nothing else would run.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pynamodb.exceptions import PynamoDBException
from pynamodb.expressions.operand import Path, Value

from triptych.aws import table
from triptych.runtime import clock
from triptych.runtime.observability import logger
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_TRIES = 3  # seats that a client asks for: each costs a write
CONDITION_FAILED = "ConditionalCheckFailedException"


@contextmanager
def seat(seconds: float) -> Iterator[bool]:
    """Yield whether the client has a seat, for at most `seconds`. A seat of a process that dies is free after that time.

    If DynamoDB does not answer, there is no seat: the client has its answer already, and need not wait for it.
    """
    until = _milliseconds() + int(seconds * 1000)
    numbers = range(settings().waiting_clients)
    some = random.sample(numbers, min(MOST_TRIES, len(numbers)))
    taken = next((number for number in some if _take(number, until)), None)
    try:
        yield taken is not None
    finally:
        if taken is not None:
            _leave(taken, until)


def _take(number: int, until: int) -> bool:
    taken_until = Path("until")
    free = taken_until.does_not_exist() | (taken_until < Value(_milliseconds()))
    try:
        table.connection().update_item(_key(number), actions=[taken_until.set(Value(until))], condition=free)
    except PynamoDBException as error:
        if error.cause_response_code != CONDITION_FAILED:
            logger.warning("seat not taken", reason=type(error).__name__)
        return False
    return True


def _leave(number: int, until: int) -> None:
    taken_until = Path("until")
    try:
        table.connection().update_item(
            _key(number), actions=[taken_until.set(Value(0))], condition=taken_until == Value(until)
        )
    except PynamoDBException as error:  # it is free at `until`
        logger.info("seat not left", reason=type(error).__name__)


def _milliseconds() -> int:
    return int(clock.now().timestamp() * 1000)


def _key(number: int) -> str:
    return f"seat {number}"
