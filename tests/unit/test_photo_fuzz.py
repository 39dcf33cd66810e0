"""Whatever the bytes are, opening a photo comes to a finding, and never to anything else.

`FUZZ_SECONDS=60 python3 -m tests tests/unit/test_photo_fuzz.py` goes on for a minute.
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


def test_a_mutated_photo_comes_to_a_finding() -> None:
    luck = random.Random(SEED)
    photos = [*READY.values(), *PREPARED.values(), *(photo for photo, _ in REJECTED.values())]
    originals = [(photo.data(), photo.announced) for photo in photos]
    small = [(data, announced) for data, announced in originals if 0 < len(data) < 100_000]
    give_up_at, round_ = time.monotonic() + SECONDS, 0
    while time.monotonic() < give_up_at:
        round_ += 1
        data, announced = luck.choice(small)
        photo = mutated(bytearray(data), [data for data, _ in small], luck)
        where = f"FUZZ_SEED={SEED}, round {round_}"
        finding = find(photo, luck.choice([announced, announced, luck.choice(PHOTO_TYPES)]), pixels=PIXELS)
        assert isinstance(finding, Ready | Prepared | Rejected), where
        if isinstance(finding, Prepared):
            assert isinstance(find(finding.jpeg, "image/jpeg", pixels=PIXELS), Ready), where


def mutated(photo: bytearray, others: list[bytes], luck: random.Random) -> bytes:
    """The photo with bits turned, bytes replaced, parts removed, doubled, or taken from another."""
    head = min(len(photo), 600)  # where sizes, offsets and tables are
    for _ in range(luck.choice([1, 1, 2, 4, 16])):
        at = luck.randrange(luck.choice([head, len(photo)]) or 1)
        length = luck.choice([1, 1, 2, 4, luck.randrange(1, 200)])
        match luck.randrange(6):
            case 0:
                photo[at : at + 1] = bytes([(photo[at] if at < len(photo) else 0) ^ (1 << luck.randrange(8))])
            case 1:
                photo[at : at + length] = luck.choice([b"\0", b"\xff", b"\x7f", b"\x80", b"\x01"]) * length
            case 2:
                photo[at : at + length] = luck.randbytes(length)
            case 3:
                del photo[at : at + length]
            case 4:
                photo[at:at] = photo[at : at + length]
            case _:
                other = luck.choice(others)
                start = luck.randrange(len(other))
                photo[at : at + length] = other[start : start + length]
    return bytes(photo)
