"""Copies of messages, and the one message that must never count as a copy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import example, given
from hypothesis import strategies as st

from triptych.successors import MOST_KEPT, Successors

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_message_is_a_copy_until_its_successor_is_due() -> None:
    known = Successors()
    assert not known.has_later("job", "first", NOW)
    known.sent("job", "second", NOW + 60 * SECOND)
    assert known.has_later("job", "first", NOW + 57 * SECOND)
    assert not known.has_later("job", "first", NOW + 58 * SECOND)
    assert not known.has_later("other job", "first", NOW)
    known.sent("job", "third", NOW + 120 * SECOND)
    assert known.has_later("job", "second", NOW + 60 * SECOND)


def test_successor_itself_is_no_copy() -> None:
    known = Successors()
    known.sent("job", "second", NOW + 60 * SECOND)
    assert not known.has_later("job", "second", NOW)


def test_two_processes_never_drop_each_others_successors() -> None:
    one, other = Successors(), Successors()
    one.sent("job", "second", NOW + 60 * SECOND)
    other.sent("job", "third", NOW + 61 * SECOND)
    assert other.has_later("job", "second", NOW + 58 * SECOND)  # each is delivered 2 s early
    assert not one.has_later("job", "third", NOW + 59 * SECOND)


def test_oldest_successors_are_forgotten() -> None:
    known = Successors()
    due = NOW + 60 * SECOND
    for number in range(MOST_KEPT):
        known.sent(number, "second", due)
    known.sent(0, "third", due)  # now the latest
    known.sent(MOST_KEPT, "second", due)
    assert [number for number in range(MOST_KEPT + 1) if not known.has_later(number, "", NOW)] == [1]


@given(
    deliveries=st.lists(
        st.tuples(
            st.integers(0, 9),  # which message comes next, in the order of their times
            st.integers(0, 2),  # to which process
            st.integers(5, 60),  # the delay of its successor
            st.integers(-2, 5),  # how late the message is; the clocks of SQS and of a process may differ
            st.sampled_from(["handled", "handled", "delivered again", "successor sent twice", "killed"]),
        ),
        max_size=60,
    )
)
# Two successors of one message, each delivered 2 s early to the process that has sent the other one.
@example(
    deliveries=[
        (0, 0, 34, 0, "delivered again"),
        (0, 1, 5, -2, "handled"),
        (0, 0, 9, -2, "handled"),
        (0, 1, 9, -2, "handled"),
    ]
)
def test_a_message_is_left_whatever_is_delivered_twice(
    deliveries: list[tuple[int, int, int, int, str]],
) -> None:
    processes = [Successors() for _ in range(3)]
    ids = count()
    waiting = {next(ids): NOW}
    now = NOW
    for which, process, delay, late, what in deliveries:
        number = sorted(waiting, key=lambda one: waiting[one])[min(which, 1, len(waiting) - 1)]
        now = max(now, waiting[number]) + late * SECOND
        known = processes[process]
        if known.has_later("job", str(number), now):
            del waiting[number]
        else:
            due = now + delay * SECOND
            sent = [next(ids) for _ in range(2 if what == "successor sent twice" else 1)]
            waiting |= dict.fromkeys(sent, due)
            if what != "killed":  # else before SQS has answered
                known.sent("job", str(sent[-1]), due)
            else:
                processes[process] = Successors()
            if what in {"killed", "delivered again"}:
                waiting[number] = now + 30 * SECOND
            else:
                del waiting[number]
        assert waiting
