from __future__ import annotations

from datetime import UTC, datetime, timedelta

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


def beaten(pace: Pace) -> float:
    """Let a process lose its turn at a slow limit; return the time."""
    for second in (0, 10):
        assert not pace.loses_the_turn(after(second))
        pace.refused(after(second), 10)
    assert pace.loses_the_turn(after(10))
    return 10


def test_beaten_process_loses_its_next_turn_after_one_refusal() -> None:
    pace = Pace()
    beaten(pace)
    assert not pace.loses_the_turn(after(50))
    pace.refused(after(50), 10)
    assert pace.loses_the_turn(after(50))


@pytest.mark.parametrize(
    ("predictions", "leaves"), [(0, False), (1, True), (20, True), (21, False), (100, False)]
)
def test_others_at_a_slow_pace_use_the_limit_up(predictions: int, *, leaves: bool) -> None:
    pace = Pace()
    beaten(pace)
    assert pace.asks_for_others(after(50))
    assert pace.leaves_it_to_others(after(50), predictions) is leaves


def test_process_that_leaves_it_to_others_remembers_the_limit() -> None:
    pace = Pace()
    beaten(pace)
    for second in range(50, 2000, 40):
        assert pace.asks_for_others(after(second))
        pace.leaves_it_to_others(after(second), 3)
    assert pace.is_throttled(after(2000))


def test_process_looks_for_others_only_after_it_was_beaten() -> None:
    pace = Pace()
    pace.refused(NOW, 10)
    assert not pace.asks_for_others(NOW)


def test_fast_limit_makes_nobody_rest() -> None:
    pace = Pace()
    for second in range(100):
        pace.created(after(second))
        pace.refused(after(second + 0.5), 0.5)
        assert not pace.loses_the_turn(after(second + 0.5))


def test_process_that_others_starve_at_a_fast_limit_rests() -> None:
    """The job that it holds goes to a process that can create its predictions."""
    pace = Pace()
    for second in range(20):
        pace.refused(after(2 * second), 1)
        if pace.loses_the_turn(after(2 * second)):
            break
    assert 2 <= second <= 5


def test_success_ends_the_defeat() -> None:
    pace = Pace()
    at = beaten(pace)
    pace.created(after(at + 10))
    pace.refused(after(at + 20), 1)
    assert not pace.asks_for_others(after(at + 20))
    assert not pace.loses_the_turn(after(at + 20))


def test_token_taken_by_another_process_slows_down_a_little() -> None:
    pace, at = Pace(), 0.0
    pace.refused(NOW, 10)
    for _ in range(5):
        at += 10
        pace.created(after(at))
    pace.refused(after(at + 10), 10)  # a whole interval after its last success
    pace.created(after(at + 20))
    assert pace.seconds_to_wait(after(at + 20)) <= 10 * rules.SLOW_DOWN_ONCE


def test_interval_counts_from_the_request_and_not_from_its_answer() -> None:
    pace = Pace()
    pace.refused(NOW, 10)
    pace.created(after(13), sent=after(10))
    assert pace.seconds_to_wait(after(13)) == pytest.approx(7, abs=0.1)


def test_slow_process_speeds_up_after_many_successes() -> None:
    pace, at, waits = Pace(), 0.0, []
    pace.refused(NOW, 10)
    pace.created(after(10))
    pace.refused(after(18), 2)
    for _ in range(2 * rules.MANY):
        at = max(20, at + pace.seconds_to_wait(after(at)))
        pace.created(after(at))
        waits.append(pace.seconds_to_wait(after(at)))
    early = waits[1] - waits[rules.MANY - 2]
    assert waits[rules.MANY] - waits[-1] > 3 * early


def test_outage_is_no_measured_limit() -> None:
    """Refusals without a success between them do not keep the process from speeding up afterwards."""
    pace, at = Pace(), 0.0
    while at < 300:
        pace.loses_the_turn(after(at))
        pace.refused(after(at), 10)
        at += 40
    for _ in range(15):
        pace.created(after(at))
        at += pace.seconds_to_wait(after(at))
    assert not pace.is_slow
    assert pace.allowed(after(at)) != 0


def test_defeat_is_forgotten_after_a_pause() -> None:
    pace = Pace()
    beaten(pace)
    assert not pace.asks_for_others(after(7200))


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


def test_few_requests_left_make_the_next_round_small() -> None:
    pace = Pace()
    pace.created(NOW, Left(1, 30))
    pace.created(NOW, Left(2, 30))  # of the same round
    assert pace.allowed(after(29)) == 1
    assert not pace.is_throttled(NOW)
    assert pace.allowed(after(30)) is None


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
