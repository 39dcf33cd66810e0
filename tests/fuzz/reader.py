"""Reads choices, texts and JSON from the bytes that a fuzzer makes up."""

from __future__ import annotations

import struct
from collections.abc import Sequence

type Json = str | int | float | bool | list[Json] | dict[str, Json] | None

NUMBERS: Sequence[float] = (0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, 1e308, float("nan"), float("inf"))
DEPTH = 3


class Reader:
    """A place in the bytes. Behind their end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        return self.take(1)[0] if self._at < len(self._data) else 0

    def take(self, most: int) -> bytes:
        found = self._data[self._at : self._at + most]
        self._at += len(found)
        return found

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def yes(self) -> bool:
        return self.byte() % 2 == 1

    def choice[T](self, several: Sequence[T]) -> T:
        return several[self.byte() % len(several)]

    def text(self, most: int = 64) -> str:
        """Return any text. Bytes that are no UTF-8 become lone surrogates, which JSON can hold."""
        return self.take(self.byte() % (most + 1)).decode("utf-8", "surrogateescape")

    def number(self) -> float:
        if self.yes():
            return self.choice(NUMBERS)
        return int(struct.unpack("<q", self.take(8).ljust(8, b"\0"))[0])

    def json(self, depth: int = DEPTH) -> Json:
        match self.byte() % (7 if depth else 5):
            case 0:
                return None
            case 1:
                return self.yes()
            case 2:
                return self.number()
            case 3 | 4:
                return self.text()
            case 5:
                return [self.json(depth - 1) for _ in range(self.byte() % 4)]
            case _:
                return {self.text(12): self.json(depth - 1) for _ in range(self.byte() % 4)}

    def changed(self, original: Json) -> Json:
        """Return a copy of `original` with some values replaced, removed or added."""
        if isinstance(original, dict) and original:
            copy = dict(original)
            for _ in range(1 + self.byte() % 3):
                name = self.choice(sorted(original))
                match self.byte() % 4:
                    case 0:
                        copy.pop(name, None)
                    case 1:
                        copy[self.text(12)] = self.json()
                    case 2 if name in copy:
                        copy[name] = self.changed(copy[name])
                    case _:
                        copy[name] = self.json()
            return copy
        if isinstance(original, str) and self.yes():
            at = self.byte()
            return original[:at] + self.text(16) + original[at + self.byte() % 4 :]
        return self.json()
