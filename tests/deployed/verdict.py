"""The lines of a judgement: one for each check, with its seconds, and the verdict."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

type Result = Literal["ok", "FAILED", "not judged"]


class ProblemError(Exception):
    """Something is wrong with the stack. The message says what, and then what to do."""


class NotJudgedError(Exception):
    """The check does not apply, or cannot be made from outside. The message says why."""


@dataclass(frozen=True)
class Line:
    """The result of one check."""

    check: str
    result: Result
    seconds: float
    detail: str


@dataclass
class Report:
    """All lines so far. Each is written to `out` as soon as it is known."""

    out: IO[str]
    as_json: bool = False
    lines: list[Line] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> list[str]:
        return [line.check for line in self.lines if line.result == "FAILED"]

    def check(self, name: str, run: Callable[[], str]) -> bool:
        """Run a check and write its line; return whether nothing is wrong."""
        began = time.monotonic()
        result: Result = "ok"
        try:
            detail = run()
        except NotJudgedError as why:
            result, detail = "not judged", str(why)
        except ProblemError as problem:
            result, detail = "FAILED", str(problem)
        except Exception as error:  # noqa: BLE001  # AWS, the network or an answer that is not as documented
            result, detail = "FAILED", f"{type(error).__name__}: {error}"
        line = Line(name, result, round(time.monotonic() - began, 1), without_queries(detail))
        self.lines.append(line)
        self._write(json.dumps(asdict(line)) if self.as_json else _written(line))
        return result != "FAILED"

    def say(self, text: str) -> None:
        if not self.as_json:
            self._write(text)

    def end(self, predictions: int) -> int:
        """Write the verdict; return the exit code."""
        if self.as_json:
            self._verdict("FAILED" if self.failed else "ok", predictions)
        else:
            skipped = sum(line.result == "not judged" for line in self.lines)
            passed = len(self.lines) - skipped - len(self.failed)
            self._write(
                f"\n{passed} ok, {skipped} not judged, {len(self.failed)} failed, in {self._seconds()} s."
            )
            self._write(f"Predictions paid for: {predictions}.")
            self._write(
                f"The stack is not good: {', '.join(self.failed)}." if self.failed else "The stack is good."
            )
        return 1 if self.failed else 0

    def declined(self) -> int:
        """Write that the scenarios did not run; return the exit code."""
        if self.as_json:
            self._verdict("declined", 0)
        else:
            self._write("Nothing was spent.")
        return 1

    def interrupted(self, predictions: int | None) -> None:
        """Write that the judgement was interrupted, and what it had spent; None if that is not known."""
        if self.as_json:
            self._verdict("interrupted", predictions)
        elif predictions is None:
            self._write(
                "\nInterrupted. Replicate does not say what was spent. Look at https://replicate.com/predictions."
            )
        else:
            self._write(f"\nInterrupted. Predictions paid for: {predictions}.")

    def _verdict(self, verdict: str, predictions: int | None) -> None:
        found = {
            "verdict": verdict,
            "failed": self.failed,
            "predictions": predictions,
            "seconds": self._seconds(),
        }
        self._write(json.dumps(found))

    def _seconds(self) -> float:
        return round(time.monotonic() - self.started, 1)

    def _write(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()


def _written(line: Line) -> str:
    return f"{line.result:<10} {line.seconds:>6.1f} s  {line.check}: {line.detail}"


def without_queries(text: str) -> str:
    """Remove the query of each URL: a presigned URL's query gives access."""
    return re.sub(r"(https?://[^\s?\"']+)\?[^\s\"']*", r"\1?…", text)
