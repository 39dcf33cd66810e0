"""Progress of a job's images: redrawn in place on a terminal, line by line elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

FRAME_SECONDS = 0.1
ENDED = frozenset({"STORED", "FAILED", "CANCELED"})
COLOURS = {"STORED": "32", "FAILED": "31", "CANCELED": "33"}  # SGR codes: green, red, yellow


@dataclass
class _Image:
    status: str
    began: float
    ended: float | None = None


class Progress:
    """Shows the status of each image of a job, and for how long the image has been in progress.

    Args:
        out: The output. A terminal is redrawn in place.
        clock: Returns seconds, from any origin.
        sleep: Waits that many seconds.
        environ: The environment. NO_COLOR (https://no-color.org) and TERM=dumb are respected.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._out = out
        self._clock = clock
        self._sleep = sleep
        self._in_place = out.isatty() and environ.get("TERM") != "dumb"
        self._coloured = self._in_place and not environ.get("NO_COLOR")
        self._images: dict[int, _Image] = {}
        self._drawn = 0  # lines of the block that is redrawn

    def update(self, statuses: Mapping[int, str]) -> None:
        """Take the status of each image, by index, and show the changes."""
        now = self._clock()
        for index, status in sorted(statuses.items()):
            image = self._images.setdefault(index, _Image("", now))
            if status == image.status:
                continue
            image.status = status
            image.ended = now if status in ENDED else None
            if not self._in_place:
                print(self._line(index, image, now), file=self._out, flush=True)
        self._draw()

    def wait(self, seconds: float) -> None:
        """Wait, and keep the shown times current."""
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0:
            self._sleep(min(left, FRAME_SECONDS) if self._in_place else left)
            self._draw()

    def _draw(self) -> None:
        if not self._in_place:
            return
        now = self._clock()
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        lines = [
            f"\r{self._line(index, image, now)}\x1b[K\n" for index, image in sorted(self._images.items())
        ]
        self._out.write(up + "".join(lines))
        self._out.flush()
        self._drawn = len(lines)

    def _line(self, index: int, image: _Image, now: float) -> str:
        seconds = (image.ended if image.ended is not None else now) - image.began
        status = f"{image.status:<10}"
        if self._coloured and image.status in COLOURS:
            status = f"\x1b[{COLOURS[image.status]}m{status}\x1b[0m"
        return f"image {index}  {status}  {seconds:5.1f} s"
