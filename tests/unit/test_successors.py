"""Copies of messages, and the one message that must never count as a copy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from triptych.successors import CLOCKS, MOST_KEPT, Successors

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PROCESSES = 3
OFF = CLOCKS // SECOND // 2  # seconds by which the clock of a process is ahead or behind


def test_message_that_was_sent_before_its_successor_is_a_copy() -> None:
    known = Successors()
    assert not known.has_later("job", NOW)
    known.sent("job", NOW + 60 * SECOND)
    assert known.has_later("job", NOW + 56 * SECOND)
    assert not known.has_later("job", NOW + 57 * SECOND)  # the clocks may differ by so much
    assert not known.has_later("other job", NOW)
    known.sent("job", NOW + 120 * SECOND)
    assert known.has_later("job", NOW + 60 * SECOND)


def test_oldest_successors_are_forgotten() -> None:
    known = Successors()
    for number in range(MOST_KEPT):
        known.sent(number, NOW)
    known.sent(0, NOW)  # now the latest
    known.sent(MOST_KEPT, NOW)
    long_ago = NOW - 60 * SECOND
    assert [number for number in range(MOST_KEPT + 1) if not known.has_later(number, long_ago)] == [1]


@given(
    clocks=st.lists(st.integers(-OFF, OFF), min_size=PROCESSES, max_size=PROCESSES),
    deliveries=st.lists(
        st.tuples(
            st.integers(0, 9),  # which message comes next, in any order
            st.integers(0, PROCESSES - 1),  # to which process
            st.integers(0, 300),  # seconds until then
            st.sampled_from(["handled", "handled", "delivered again", "successor sent twice", "killed"]),
        ),
        max_size=60,
    ),
)
# Two successors of one message, each delivered to the process that has sent the other one.
@example(
    clocks=[0, 0, 0],
    deliveries=[
        (0, 0, 0, "delivered again"),
        (0, 1, 0, "handled"),
        (1, 0, 60, "handled"),
        (0, 1, 0, "handled"),
    ],
)
def test_a_message_is_left_whatever_is_delivered_twice(
    clocks: list[int], deliveries: list[tuple[int, int, int, str]]
) -> None:
    processes = [Successors() for _ in range(PROCESSES)]
    waiting = [NOW]  # when each message was sent
    now = NOW
    for which, process, seconds, what in deliveries:
        now += seconds * SECOND
        sent_at = waiting.pop(which % len(waiting))
        known = processes[process]
        if not known.has_later("job", sent_at):
            waiting += [now] * (2 if what == "successor sent twice" else 1)
            if what == "killed":  # before SQS has answered
                processes[process] = Successors()
            else:
                known.sent("job", now + clocks[process] * SECOND)
            if what in {"killed", "delivered again"}:
                waiting.append(sent_at)
        assert waiting
