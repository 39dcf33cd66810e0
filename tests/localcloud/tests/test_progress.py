"""Tests of the progress display."""

from __future__ import annotations

import io
from collections.abc import Mapping

from tests.localcloud.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that advances only while the code sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def shown(out: io.StringIO, environ: Mapping[str, str]) -> tuple[Progress, Clock]:
    clock = Clock()
    return Progress(out, clock=clock, sleep=clock.sleep, environ=environ), clock


def run(out: io.StringIO, environ: Mapping[str, str]) -> str:
    progress, _ = shown(out, environ)
    progress.update({0: "PENDING", 1: "PENDING"})
    progress.wait(1.25)
    progress.update({0: "STORED", 1: "PENDING"})
    progress.wait(1)
    progress.update({0: "STORED", 1: "FAILED"})
    return out.getvalue()


def test_each_change_is_a_line_without_a_terminal() -> None:
    assert run(io.StringIO(), {}).splitlines() == [
        "image 0  PENDING       0.0 s",
        "image 1  PENDING       0.0 s",
        "image 0  STORED        1.2 s",
        "image 1  FAILED        2.2 s",
    ]


def test_terminal_shows_one_line_for_each_image_in_place() -> None:
    text = run(Terminal(), {"NO_COLOR": "1"})
    frames = text.split("\x1b[2A")
    assert len(frames) > 20
    assert all(frame.count("\n") == 2 for frame in frames)
    assert frames[-1] == "\rimage 0  STORED        1.2 s\x1b[K\n\rimage 1  FAILED        2.2 s\x1b[K\n"


def test_seconds_stop_when_an_image_ends() -> None:
    out = Terminal()
    progress, _ = shown(out, {"NO_COLOR": "1"})
    progress.update({0: "STORED", 1: "GENERATING"})
    progress.wait(3)
    assert out.getvalue().endswith(
        "\rimage 0  STORED        0.0 s\x1b[K\n\rimage 1  GENERATING    3.0 s\x1b[K\n"
    )


def test_only_a_terminal_without_no_color_gets_colour() -> None:
    assert "\x1b[32mSTORED    \x1b[0m" in run(Terminal(), {})
    assert "\x1b[32m" not in run(Terminal(), {"NO_COLOR": "1"})
    assert "\x1b" not in run(Terminal(), {"TERM": "dumb"})
    assert "\x1b" not in run(io.StringIO(), {})


def test_retried_image_continues_its_seconds() -> None:
    out = io.StringIO()
    progress, _ = shown(out, {})
    progress.update({0: "FAILED"})
    progress.wait(2)
    progress.update({0: "GENERATING"})
    assert out.getvalue().splitlines()[-1] == "image 0  GENERATING    2.0 s"
