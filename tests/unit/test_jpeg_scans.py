"""The scans of a JPEG are counted before it is decoded. The count misses none that libjpeg would read."""

from __future__ import annotations

import io
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.photo_corpus import jpeg_head, jpeg_of_scans, jpeg_scan, jpeg_with, scene, write
from tests.unit.inspecting import find
from triptych.failures import FailureKind
from triptych.photo.formats import MOST_SCANS, _header_segments, is_too_complex, jpeg_segments
from triptych.photo.inspection import Rejected

SOI, EOI, SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
HEAD = jpeg_head((64, 64))
DC, AC, REFINEMENT = (0, 0, 0x01), (1, 63, 0x01), (1, 63, 0x10)


def scans(data: bytes) -> list[int]:
    """Return the position of each counted scan."""
    return [at for marker, at in jpeg_segments(data) if marker == SOS]


def decoded(data: bytes) -> bytes | None:
    """Decode the file with Pillow, which uses libjpeg; return None for an unreadable file."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            image.load()
            return image.tobytes()
    except (OSError, SyntaxError, ValueError):
        return None


def scan(kind: tuple[int, int, int], data: bytes) -> bytes:
    return jpeg_scan(*kind, data)


def segment(marker: int, body: bytes, length: int | None = None) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2 if length is None else length).to_bytes(2) + body


hidden = scan(DC, b"") + EOI  # inside a segment it is neither a scan nor an end
entropy = st.binary(max_size=12).map(lambda data: data.replace(b"\xff", b"\xff\0"))
restarts = st.sampled_from([bytes([0xFF, 0xD0 + number]) for number in range(8)])
filling = st.sampled_from(
    [b"\xff", b"\xff\xff\xff", b"\xff\0", b"\xff\1", b"\0\1\2", b"\xff\xbf\0\x40", b"\xda"]
)
text = st.lists(st.sampled_from([b"x", b"\xff", b"\0", hidden, SOI, b"\xff\xda", EOI])).map(b"".join)
parts = st.one_of(
    st.builds(scan, st.sampled_from([DC, AC, REFINEMENT]), entropy),
    st.builds(segment, st.sampled_from([0xE0, 0xE1, 0xE5, 0xEE, 0xFE, 0xDC]), text),
    st.builds(segment, st.sampled_from([0xE3, 0xFE, 0xDC]), st.just(b""), st.sampled_from([0, 1])),
    st.integers(0, 9).map(lambda interval: segment(0xDD, interval.to_bytes(2))),
    entropy,
    restarts,
    filling,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(parts, max_size=12), st.sampled_from([EOI, b"", b"\xff" + EOI]), st.lists(parts, max_size=2))
@example([scan(DC, b"\0\xff\xd1\0"), b"\xff\xff", scan(AC, b"")], EOI, [scan(AC, b"")])
@example([segment(0xDD, b"\0\1"), scan(DC, b"\0\xff\xbf\0\x40"), scan(AC, b"\0")], EOI, [])
@example([segment(0xFE, hidden), scan(DC, b"")], EOI, [b"\0\0", scan(AC, b"")])
@example([segment(0xFE, b"", 0), scan(DC, b""), segment(0xDC, b"\0\x40")], EOI, [hidden])
def test_uncounted_scan_is_never_decoded(body: list[bytes], end: bytes, behind: list[bytes]) -> None:
    """A scan's marker is replaced with a second SOI: libjpeg fails as soon as it reads one."""
    data = b"".join([HEAD, *body, end, *behind])
    counted, spoiled = scans(data), bytearray(data)
    for found in re.finditer(rb"\xff\xda", data):
        if found.start() not in counted:
            spoiled[found.start() + 1] = 0xD8
    image = decoded(data)
    assert decoded(bytes(spoiled)) == image
    if image is not None:
        for at in counted:
            assert decoded(data[: at + 1] + b"\xd8" + data[at + 2 :]) is None, "a counted scan is not read"


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (write(scene(), "JPEG"), 1),
        (write(scene(), "JPEG", progressive=True), 10),
        (write(scene(), "JPEG", progressive=True, optimize=True), 10),
        (write(scene().convert("L"), "JPEG", progressive=True), 6),
        (write(scene(), "JPEG", restart_marker_rows=1), 1),
        (write(scene(), "MPO", save_all=True, append_images=[scene()]), 1),
        (jpeg_with((0xE1, b"Exif\0\0" + write(scene(), "JPEG", progressive=True))), 1),
        (jpeg_with(behind=b"\0\0" + jpeg_of_scans(99)), 1),
        (jpeg_of_scans(99), 99),
        (jpeg_of_scans(99)[:-2], 99),
        (SOI, 0),
    ],
)
def test_scans_are_counted(data: bytes, count: int) -> None:
    assert len(scans(data)) == count


def test_too_many_scans_are_rejected_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        pytest.fail("the file was decoded")

    monkeypatch.setattr(Image, "open", opened)
    assert find(jpeg_of_scans(12_000, (10_000, 7_000)), "image/jpeg") == Rejected(
        FailureKind.PHOTO_TOO_COMPLEX
    )


@pytest.mark.parametrize(
    "filling",
    [b"\xff\0", b"\xff", b"\xff\xd0", b"\0", b"\xff\xfe\0\2", b"\xff\xfe\0\0", b"\xff\xda\0\2"],
)
def test_counting_the_scans_of_25_mib_is_fast(filling: bytes) -> None:
    data = HEAD + filling * (25 * 2**20 // len(filling)) + EOI
    started = time.process_time()
    is_too_complex("image/jpeg", data)
    assert time.process_time() - started < 5


EXIF = segment(0xE1, b"Exif\0\0" + b"x")


@pytest.mark.parametrize(
    "data",
    [
        SOI + EOI + EXIF * 1_001 + HEAD[2:] + scan(DC, b"") + EOI,
        HEAD + EOI + EXIF * 1_001 + scan(DC, b"") + EOI,
        SOI + b"\xff\xc8\xff\xf0" + EXIF * 1_001 + HEAD[2:] + scan(DC, b"") + EOI,
        SOI + b"\xff\xf7\xff\xf0" + EXIF * 1_001 + HEAD[2:] + scan(DC, b"") + EOI,
        HEAD + EXIF * 1_001 + scan(DC, b"") + EOI,
        SOI + b"\xff" * 2_000_000 + HEAD[2:] + scan(DC, b"") + EOI,
        SOI + EOI + b"x" * 2_000_000,
    ],
    ids=["after an EOI", "after the head", "in JPG", "in JPG7", "plain", "filling", "no scan"],
)
def test_header_that_is_slow_to_parse_is_rejected(data: bytes) -> None:
    """Pillow parses the header before libjpeg, and reads other markers."""
    assert find(data, "image/jpeg") == Rejected(FailureKind.PHOTO_TOO_COMPLEX)


def test_largest_allowed_number_of_segments_is_accepted() -> None:
    photo = write(scene(), "JPEG")
    few = len(list(jpeg_segments(photo)))
    largest = photo[:2] + segment(0xFE, b"x") * (1_000 - few) + photo[2:]
    assert not is_too_complex("image/jpeg", largest)
    assert is_too_complex("image/jpeg", largest[:2] + segment(0xFE, b"x") + largest[2:])


@pytest.mark.parametrize("frame", [0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_arithmetic_coding_is_rejected(frame: int) -> None:
    """The decoder reads a truncated scan as endless zeros: 31 kB took 22 s of CPU."""
    data = HEAD.replace(b"\xff\xc2", bytes([0xFF, frame])) + scan(DC, b"") + EOI
    assert find(data, "image/jpeg") == Rejected(FailureKind.PHOTO_TOO_COMPLEX)


@settings(max_examples=300, deadline=None)
@given(st.lists(parts, max_size=12), st.lists(parts, max_size=2))
def test_every_segment_that_pillow_reads_is_counted(body: list[bytes], behind: list[bytes]) -> None:
    """Pillow keeps each application segment and comment that it reads, in order."""
    data = b"".join([HEAD, *body, scan(DC, b"\0"), EOI, *behind])
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            kept = len(getattr(image, "applist", []))
    except (OSError, SyntaxError, ValueError):
        return
    assert kept <= len(list(_header_segments(data)))


def test_largest_allowed_number_of_scans_decodes_in_seconds() -> None:
    """Measured: 1.2 s of CPU at 12 megapixels, three times a usual photo; 5 s at 70 megapixels."""
    started = time.process_time()
    assert not isinstance(
        find(jpeg_of_scans(MOST_SCANS, (4_000, 3_000)), "image/jpeg", pixels=12_000_000), Rejected
    )
    assert time.process_time() - started < 10
