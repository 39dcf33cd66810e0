"""Inspecting any bytes returns a finding and never raises.

`FUZZ_SECONDS=60 python3 -m tests tests/unit/test_photo_fuzz.py` runs for one minute.
"""

from __future__ import annotations

import os
import random
import time

from tests.support.photo_corpus import PREPARED, READY, REJECTED
from tests.unit.inspecting import find
from triptych.photo.formats import PHOTO_TYPES
from triptych.photo.inspection import Prepared, Ready, Rejected

SECONDS = float(os.environ.get("FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(1, 2**32)
PIXELS = 1_000_000


def test_mutated_photo_gets_a_finding() -> None:
    generator = random.Random(SEED)
    photos = [*READY.values(), *PREPARED.values(), *(photo for photo, _ in REJECTED.values())]
    originals = [(photo.data(), photo.announced) for photo in photos]
    small = [(data, announced) for data, announced in originals if 0 < len(data) < 100_000]
    end, round_ = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        round_ += 1
        data, announced = generator.choice(small)
        photo = mutated(bytearray(data), [data for data, _ in small], generator)
        where = f"FUZZ_SEED={SEED}, round {round_}"
        finding = find(
            photo, generator.choice([announced, announced, generator.choice(PHOTO_TYPES)]), pixels=PIXELS
        )
        assert isinstance(finding, Ready | Prepared | Rejected), where
        if isinstance(finding, Prepared):
            assert isinstance(find(finding.jpeg, "image/jpeg", pixels=PIXELS), Ready), where


def mutated(photo: bytearray, others: list[bytes], generator: random.Random) -> bytes:
    """Return the photo with flipped bits, replaced bytes, or parts that are removed, doubled or from another file."""
    head = min(len(photo), 600)  # it holds sizes, offsets and tables
    for _ in range(generator.choice([1, 1, 2, 4, 16])):
        at = generator.randrange(generator.choice([head, len(photo)]) or 1)
        length = generator.choice([1, 1, 2, 4, generator.randrange(1, 200)])
        match generator.randrange(6):
            case 0:
                photo[at : at + 1] = bytes(
                    [(photo[at] if at < len(photo) else 0) ^ (1 << generator.randrange(8))]
                )
            case 1:
                photo[at : at + length] = (
                    generator.choice([b"\0", b"\xff", b"\x7f", b"\x80", b"\x01"]) * length
                )
            case 2:
                photo[at : at + length] = generator.randbytes(length)
            case 3:
                del photo[at : at + length]
            case 4:
                photo[at:at] = photo[at : at + length]
            case _:
                other = generator.choice(others)
                start = generator.randrange(len(other))
                photo[at : at + length] = other[start : start + length]
    return bytes(photo)
