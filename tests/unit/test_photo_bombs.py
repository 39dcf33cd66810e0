"""Photos that are made to exhaust the function get a finding, and cost a few seconds and no more memory than there is.

`python3 -m tests.benchmarks bombs` prints what each of them costs.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.support.photo_bombs import (
    BOMBS,
    MOST_BYTES,
    MOST_PIXELS,
    SIDES,
    Bomb,
    Item,
    av1_of_sides,
    coded,
    grid,
    heif,
    lying,
    sides,
    zeros,
)
from tests.support.photo_corpus import jpeg_of_scans, jpeg_with, png, write
from tests.unit.inspecting import find
from triptych.failures import FailureKind
from triptych.photo import av1, bounded, formats, inspection
from triptych.photo.inspection import Prepared, Rejected

FUNCTION_MIB = 300  # what `bounded` counts for a process that has run nothing else, about
TOO_COMPLEX = Rejected(FailureKind.PHOTO_TOO_COMPLEX)


@pytest.fixture(autouse=True)
def any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer than on Lambda: other tests may use the CPU. The limit on CPU time stays."""
    monkeypatch.setattr(bounded, "WALL_SECONDS", 300.0)
    give_memory(monkeypatch, bounded.DEFAULT_MIB)


def give_memory(monkeypatch: pytest.MonkeyPatch, mib: int) -> None:
    """Give the function so much memory, and more if this process holds what other tests left in it."""
    page = resource.getpagesize()
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_bytes().split())
    own = (2 * resident - shared) * page // 2**20
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(mib + max(0, own - FUNCTION_MIB)))


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_bomb_gets_its_finding_within_the_limits(bomb: Bomb) -> None:
    data, before, own = bomb.data(), cpu_of_children(), time.process_time()
    assert len(data) <= MOST_BYTES
    finding = find(data, bomb.announced, pixels=MOST_PIXELS)
    ends = finding.failure.code if isinstance(finding, Rejected) else type(finding).__name__.lower()
    assert ends == bomb.ends
    assert cpu_of_children() - before <= bounded.CPU_SECONDS + 1
    assert time.process_time() - own < 1  # the function itself only waits


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take out every look at the file before it is decoded, so that only the child's limits are left."""
    monkeypatch.setattr(formats, "is_too_complex", lambda *_: False)
    monkeypatch.setattr(inspection, "_check_frames", lambda *_: None)
    monkeypatch.setattr(bounded, "CPU_SECONDS", 1)


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("name", ["JPEG, 12,000 scans", "PNG, 2 million chunks"])
def test_photo_that_takes_too_long_is_too_complex(name: str) -> None:
    bomb, before = BOMBS[name], cpu_of_children()
    assert find(bomb.data(), bomb.announced, pixels=MOST_PIXELS) == TOO_COMPLEX
    assert cpu_of_children() - before < 3


@pytest.mark.usefixtures("unguarded")
def test_photo_that_takes_too_much_memory_is_too_complex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "CPU_SECONDS", 60)
    give_memory(monkeypatch, 768)
    big = png(20_000, 20_000, 8, 2, b"")
    assert find(big, "image/png", pixels=500_000_000) == TOO_COMPLEX


def test_decoder_that_crashes_ends_the_child_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        faulthandler.disable()
        os.kill(os.getpid(), signal.SIGSEGV)

    monkeypatch.setattr(inspection, "_decode", crash)
    assert find(write(Image.new("RGB", (64, 64)), "PNG"), "image/png") == Rejected(
        FailureKind.PHOTO_UNREADABLE
    )


@pytest.mark.parametrize(("scans", "accepted"), [(20, True), (21, False)])
def test_passes_over_all_pixels_are_limited(scans: int, accepted: bool) -> None:  # noqa: FBT001  # a parameter of the test
    assert formats.is_too_complex("image/jpeg", jpeg_of_scans(scans, SIDES)) is not accepted


@pytest.mark.parametrize(("segments", "accepted"), [(64, True), (65, False)])
def test_exif_segments_are_limited(segments: int, accepted: bool) -> None:  # noqa: FBT001  # a parameter of the test
    photo = jpeg_with(*[(0xE1, b"Exif\0\0MM")] * segments)
    assert formats.is_too_complex("image/jpeg", photo) is not accepted


@pytest.mark.parametrize(
    ("kind", "name"), [("image/png", "PNG"), ("image/webp", "WEBP"), ("image/heic", "HEIF")]
)
def test_usual_photo_is_not_too_complex(kind: str, name: str) -> None:
    noise = Image.effect_noise((320, 240), 90).convert("RGB")
    assert not formats.is_too_complex(kind, write(noise, name))


def test_number_of_chunks_may_grow_with_the_file() -> None:
    def chunks(number: int, size: int) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + (size.to_bytes(4) + b"IDAT" + bytes(size + 4)) * number

    assert not formats.is_too_complex("image/png", chunks(1_000, 0))
    assert formats.is_too_complex("image/png", chunks(1_001, 0))
    assert not formats.is_too_complex("image/png", chunks(20_000, 1_024))


# ── the frames of an AVIF ──


@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": "4:4:4"}, {"speed": 10}, {"tile_rows": 1, "tile_cols": 1}, {"quality": 100}],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_frames_of_an_avif_are_as_its_container_says(mode: str, options: dict[str, object]) -> None:
    sides = (333, 222)
    found = av1.frames(write(Image.new(mode, sides), "AVIF", **options))
    assert found == av1.Frames(frozenset({sides}), frozenset({sides}), 2 if mode == "RGBA" else 1)


def test_tiles_of_an_avif_are_smaller_than_the_whole() -> None:
    data = grid("AVIF", 1, 1)
    found = av1.frames(data)
    assert found
    assert found.frames == {(64, 64)}


def test_equal_tiles_of_an_avif_may_share_their_data() -> None:
    configuration, data = coded("AVIF", 64, 64)
    data += bytes(1_000)
    tiles = [Item(b"av01", data, [1, 2]), *[Item(b"av01", b"", [1, 2])] * 3]

    def located(at: int) -> bytes:
        places = [struct.pack(">HHHII", number, 0, 1, at, len(data)) for number in range(1, 5)]
        return b"\x44\0" + struct.pack(">H", 4) + b"".join(places)

    photo = heif(b"avif", [configuration, sides(64, 64)], tiles, located)
    assert len(photo) < 4 * len(data)
    assert av1.frames(photo) == av1.Frames(frozenset({(64, 64)}), frozenset({(64, 64)}), 4)


def test_sequence_of_avif_frames_is_animated() -> None:
    image = Image.new("RGB", (64, 64))
    data = write(image, "AVIF", save_all=True, append_images=[image.rotate(9, fillcolor="red")])
    assert av1.frames(data) is None


@pytest.mark.parametrize("sides", [(16_384, 16_384), (65_536, 65_536), (10_000, 7_001)])
def test_large_frame_in_a_small_container_is_refused_before_decoding(
    monkeypatch: pytest.MonkeyPatch, sides: tuple[int, int]
) -> None:
    monkeypatch.setattr(inspection, "_decode", lambda *_, **__: pytest.fail("decoded"))
    finding = find(av1_of_sides(*sides), "image/heif", pixels=MOST_PIXELS)
    assert finding == Rejected(FailureKind.PHOTO_TOO_MANY_PIXELS)


def test_avif_cut_anywhere_is_malformed_or_complete() -> None:
    data = lying("AVIF", (64, 64), (64, 64))
    assert isinstance(find(data, "image/heif"), Prepared)
    for end in range(len(data)):
        try:
            av1.frames(data[:end])
        except av1.MalformedError:
            continue
        assert isinstance(find(data[:end], "image/heif"), Rejected | Prepared)


def test_zeros_are_a_zlib_stream() -> None:
    for size in (0, 1, 2**20, 3 * 2**20 + 17):
        assert zlib.decompress(zeros(size)) == bytes(size)
