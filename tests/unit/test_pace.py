from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych import pace as rules
from triptych.pace import Left, Pace

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


class Bucket:
    """Replicate's limit."""

    def __init__(self, every: float, burst: int) -> None:
        self.every, self.burst, self.tokens, self.at = every, burst, float(burst), 0.0

    def take(self, at: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (at - self.at) / self.every)
        self.at = at
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def ask(pace: Pace, bucket: Bucket, seconds: float, *, hinted: bool) -> tuple[int, int]:
    """Ask as a turn does for so many seconds; return how many requests succeeded and how many were refused."""
    made = refused = 0
    at = 0.0
    while at < seconds:
        most = pace.allowed(after(at))
        answers = [bucket.take(at) for _ in range(3 if most is None else most)]
        made += sum(answers)
        for _ in range(sum(answers)):
            pace.created(after(at))
        if not all(answers):
            refused += len(answers) - sum(answers)
            wait = max(1.0, (1 - bucket.tokens) * bucket.every) if hinted else None
            pace.refused(after(at), wait)
        at += max(0.01, pace.seconds_to_wait(after(at)))
    return made, refused


def test_process_that_was_never_refused_knows_no_limit() -> None:
    pace = Pace()
    pace.created(NOW)
    assert pace.allowed(NOW) is None
    assert not pace.is_throttled(NOW)
    assert pace.seconds_to_wait(NOW) == 0


def test_refused_process_waits_as_replicate_says() -> None:
    pace = Pace()
    pace.refused(NOW, 7)
    assert pace.is_throttled(NOW)
    assert pace.seconds_to_wait(NOW) == 7
    assert pace.allowed(after(6.9)) == 0
    assert pace.allowed(after(7)) == 1


@pytest.mark.parametrize(("every", "burst"), [(1 / 3, 12), (1 / 10, 600), (1, 5)])
@pytest.mark.parametrize("hinted", [True, False])
def test_process_finds_the_limit_and_wastes_little(every: float, burst: int, *, hinted: bool) -> None:
    seconds = 300.0
    made, refused = ask(Pace(), Bucket(every, burst), seconds, hinted=hinted)
    assert made >= 0.95 * (burst + seconds / every)
    assert refused <= 0.3 * made


def test_process_alone_uses_up_a_slow_limit() -> None:
    made, refused = ask(Pace(), Bucket(10, 1), 1200, hinted=True)
    assert made >= 0.93 * 120
    assert refused <= 0.25 * made


def test_loser_at_a_slow_limit_rests_ever_longer() -> None:
    pace, turns, at = Pace(), [], 0.0
    for turn in range(60):
        if not pace.leaves_the_turn(after(at)):
            turns.append(turn)
            pace.refused(after(at), 10)
        at += 40
    gaps = [later - earlier for earlier, later in pairwise(turns)]
    assert gaps == sorted(gaps)
    assert rules.MOST_PASSES < max(gaps) <= rules.MOST_PASSES + 2
    assert len(turns) < 20


def test_fast_limit_makes_nobody_rest() -> None:
    pace = Pace()
    for _ in range(10):
        pace.refused(NOW, 1)
        assert not pace.leaves_the_turn(NOW)


def test_winner_is_no_loser() -> None:
    pace = Pace()
    for second in (0, 10):
        pace.refused(after(second), 10)
    assert pace.leaves_the_turn(NOW)
    pace.created(after(20))
    assert not pace.leaves_the_turn(NOW)


def test_outage_is_no_measured_limit() -> None:
    """Refusals without a success between them do not keep the process from speeding up afterwards."""
    pace, at = Pace(), 0.0
    while at < 300:
        pace.leaves_the_turn(after(at))
        pace.refused(after(at), 10)
        at += 40
    for _ in range(15):
        pace.created(after(at))
        at += pace.seconds_to_wait(after(at))
    assert not pace.is_slow
    assert pace.allowed(after(at)) != 0


def test_rests_are_forgotten_after_a_pause() -> None:
    pace = Pace()
    for second in range(0, 400, 40):
        pace.leaves_the_turn(after(second))
        pace.refused(after(second), 10)
    assert not pace.leaves_the_turn(after(7200))


def test_many_successes_end_the_limit() -> None:
    pace, at = Pace(), 0.0
    pace.refused(NOW, 1e-310)
    for _ in range(400):
        pace.created(after(at))
        at += 0.5
    assert pace.allowed(after(at)) is None


def test_limit_is_forgotten_after_a_pause() -> None:
    pace = Pace()
    pace.refused(NOW, 1)
    assert pace.allowed(after(70)) is None
    assert not pace.is_throttled(after(70))


def test_no_request_left_is_as_good_as_a_refusal() -> None:
    pace = Pace()
    pace.created(NOW, Left(0, 2))
    assert pace.is_throttled(NOW)
    assert pace.allowed(NOW) == 0
    assert 0 < pace.seconds_to_wait(NOW) <= 2


@pytest.mark.parametrize("reset", [None, -1.0, 0.0, 1795737600.0])
def test_odd_reset_is_not_believed(reset: float | None) -> None:
    pace = Pace()
    pace.created(NOW, Left(0, reset))
    assert 0 < pace.seconds_to_wait(NOW) <= 2


def test_requests_left_change_nothing() -> None:
    pace = Pace()
    pace.created(NOW, Left(5, 60))
    assert pace.allowed(NOW) is None


@given(
    st.lists(
        st.tuples(
            st.floats(0, 400),
            st.one_of(
                st.none(),
                st.tuples(st.just("refused"), st.one_of(st.none(), st.floats(0.001, 1e9))),
                st.tuples(st.just("left"), st.one_of(st.none(), st.floats(-1e9, 1e9))),
            ),
        ),
        max_size=40,
    )
)
def test_nothing_makes_a_process_wait_for_long(
    events: list[tuple[float, tuple[str, float | None] | None]],
) -> None:
    pace, at = Pace(), 0.0
    for seconds, event in events:
        at += seconds
        match event:
            case None:
                pace.created(after(at))
            case ("refused", hint):
                pace.refused(after(at), hint)
            case (_, reset):
                pace.created(after(at), Left(0, reset))
        assert 0 <= pace.seconds_to_wait(after(at)) <= rules.MOST_SECONDS * rules.SLOW_DOWN
        assert pace.allowed(after(at + 100_000)) is None
