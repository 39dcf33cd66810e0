"""The sides of an AVIF's frames, as the frames themselves say them.

The decoder allocates memory for the sides in the AV1 data, not for those in the container. Pillow sees only the
container's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from mmap import mmap

type Sides = tuple[int, int]
type Piece = tuple[int, int]  # where it begins in the file, and its length
type Data = mmap | bytes

MOST_ITEMS = 1_000  # tiles, thumbnails and metadata; libheif has the same limit for HEIC
# Boxes of a box, pieces of all items, units of all AV1 data. An item has about one piece and three units, and a piece may
# take no byte of the file.
MOST_PARTS = 10_000
_SEQUENCE_HEADER = 1
_LONGEST_NUMBER = 32  # bits (AV1, 4.10.3)


class MalformedError(Exception):
    """The file is not as the specifications of HEIF and AV1 describe."""


@dataclass(frozen=True, slots=True)
class Frames:
    """What an AVIF holds."""

    frames: frozenset[Sides]  # of the frames
    claimed: frozenset[Sides]  # the sides that the container names, of whatever
    items: int


def frames(data: Data) -> Frames | None:
    """Return what an AVIF image holds, or None for a sequence of images, whose frames are not items.

    Raises:
        MalformedError: An item has no sequence header, or its place is not to be found.
    """
    try:
        top = {kind: (at, end) for kind, at, end in boxes(data, 0, len(data))}
        if b"moov" in top:
            return None
        at, end = top[b"meta"]
        meta = {kind: (begin, stop) for kind, begin, stop in boxes(data, at + 4, end)}
        coded, items = _coded_items(data, *meta[b"iinf"])
        if items > MOST_ITEMS:
            return Frames(frozenset(), frozenset(), items)
        places = dict(_places(data, *meta[b"iloc"], meta.get(b"idat", (0, 0))[0]))
        # An encoder may store equal tiles once.
        different = {tuple(places[item]) for item in coded}
        found = frozenset(_sides(_joined(data, different)))
        return Frames(found, frozenset(_claimed(data, *meta[b"iprp"])), items)
    except (KeyError, IndexError) as error:
        raise MalformedError from error


def boxes(data: Data, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each box, and where its content begins and ends."""
    for _ in range(MOST_PARTS):
        if at + 8 > end:
            return
        size, kind, head = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        elif size == 0:
            size = end - at
        if size < head or at + size > end:
            return
        yield kind, at + head, at + size
        at += size
    raise MalformedError


class _Reader:
    """Reads numbers one after the other."""

    def __init__(self, data: Data, at: int, end: int) -> None:
        self._data, self._at, self._end = data, at, end

    def number(self, size: int) -> int:
        begin, self._at = self._at, self._at + size
        if self._at > self._end:
            raise MalformedError
        return int.from_bytes(self._data[begin : self._at])

    def text(self) -> bytes:
        return self.number(4).to_bytes(4)


def _coded_items(data: Data, at: int, end: int) -> tuple[list[int], int]:
    """Return the items with AV1 data, and the number of all items. After MOST_ITEMS it stops."""
    wide, coded, items = data[at] > 0, [], 0
    for kind, begin, stop in boxes(data, at + (8 if wide else 6), end):
        if kind != b"infe":
            continue
        items += 1
        reader = _Reader(data, begin + 4, stop)
        item = reader.number(4 if data[begin] > 2 else 2)  # noqa: PLR2004  # version 3 has longer numbers
        reader.number(2)
        if reader.text() == b"av01":
            coded.append(item)
        if items > MOST_ITEMS:
            break
    return coded, items


def _places(data: Data, at: int, end: int, idat: int) -> Iterator[tuple[int, list[Piece]]]:
    """Yield each item, and where its pieces begin and how long they are (ISO/IEC 14496-12, 8.11.3)."""
    version, reader = data[at], _Reader(data, at + 4, end)
    sizes = reader.number(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    items = reader.number(4 if version > 1 else 2)
    parts = items
    for _ in range(items):
        item = reader.number(4 if version > 1 else 2)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)
        begin = reader.number(base) + (idat if method == 1 else 0)
        count = reader.number(2)
        parts += count
        if parts > MOST_PARTS:
            raise MalformedError
        pieces = []
        for _ in range(count):
            if version:
                reader.number(index)
            pieces.append((begin + reader.number(offset), reader.number(length)))
        yield item, pieces


def _joined(data: Data, items: Iterable[tuple[Piece, ...]]) -> Iterator[bytes]:
    """Yield the data of each item. Together they are no longer than the file."""
    left = len(data)
    for pieces in items:
        # A length of 0 is the rest of the file.
        lengths = [length or max(0, len(data) - at) for at, length in pieces]
        left -= sum(lengths)
        if left < 0:
            raise MalformedError
        yield b"".join(data[at : at + length] for (at, _), length in zip(pieces, lengths, strict=True))


def _claimed(data: Data, at: int, end: int) -> Iterator[Sides]:
    for kind, begin, stop in boxes(data, at, end):
        if kind == b"ipco":
            for name, first, _ in boxes(data, begin, stop):
                if name == b"ispe":
                    yield (
                        int.from_bytes(data[first + 4 : first + 8]),
                        int.from_bytes(data[first + 8 : first + 12]),
                    )


def _sides(items: Iterable[bytes]) -> Iterator[Sides]:
    """Yield the sides that each sequence header of the items allows (AV1, 5.3.1 and 5.5.1)."""
    units = 0
    for item in items:
        at, headers = 0, 0
        while at < len(item):
            units += 1
            if units > MOST_PARTS:
                raise MalformedError
            head = item[at]
            at += 2 if head & 4 else 1
            size = len(item) - at
            if head & 2:
                size, at = _leb128(item, at)
            if head >> 3 & 15 == _SEQUENCE_HEADER:
                headers += 1
                yield _sides_in_header(_Bits(item[at : at + size]))
            at += size
        if not headers:
            raise MalformedError


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        value |= (data[at] & 127) << 7 * place
        at += 1
        if not data[at - 1] & 128:
            break
    return value, at


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data[:1024]), 8 * len(data[:1024])

    def read(self, bits: int) -> int:
        self._left -= bits
        if self._left < 0:
            raise MalformedError
        return self._value >> self._left & (1 << bits) - 1

    def variable(self) -> None:
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros == _LONGEST_NUMBER:
                raise MalformedError
        self.read(zeros)


def _sides_in_header(bits: _Bits) -> Sides:
    bits.read(4)
    if bits.read(1):  # a reduced header, as of most still images
        bits.read(5)
    else:
        _skip_operating_points(bits)
    wide, high = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(wide) + 1, bits.read(high) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay = 0
    if bits.read(1):  # timing
        bits.read(64)
        if bits.read(1):
            bits.variable()
        if bits.read(1):  # a model of the decoder
            delay = bits.read(5) + 1
            bits.read(42)
    displays = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # noqa: PLR2004  # higher levels have a tier
            bits.read(1)
        if delay and bits.read(1):
            bits.read(2 * delay + 1)
        if displays and bits.read(1):
            bits.read(4)
