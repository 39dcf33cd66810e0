"""Picture formats, told by their bytes, and what a picture's file holds besides the picture."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

# content type → the extension of its keys (Replicate's models name their input files by the URL's path)
EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/heif": "heif",
}
PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp", "image/heic", "image/heif")
HEIF_SEQUENCE = "image/heif-sequence"
HEAD_BYTES = 32  # enough of a file's beginning for `content_type`
TAIL_BYTES = 32  # enough of its end for `is_whole`


def content_type(head: bytes) -> str | None:
    """The type of the picture that begins with `head`, or None where it is none that we know."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return _heif_type(head) if head[4:8] == b"ftyp" else None


def _heif_type(head: bytes) -> str | None:
    """By the brands of ISO/IEC 23008-12, annex B: the major one, and after four bytes of version the others."""
    major, others = head[8:12], {head[at : at + 4] for at in range(16, len(head), 4)}
    if major in {b"avif", b"avis"} or (major in {b"mif1", b"msf1"} and others & {b"avif", b"avis"}):
        return "image/avif"
    if major in {b"heic", b"heix", b"heim", b"heis"}:
        return "image/heic"
    if major == b"mif1":
        return "image/heif"
    return HEIF_SEQUENCE if major in {b"msf1", b"hevc", b"hevx", b"hevm", b"hevs"} else None


def is_whole(kind: str, head: bytes, tail: bytes, size: int) -> bool:
    """Whether a picture of `size` bytes ends as its format says that it must, where the format says so."""
    match kind:
        case "image/jpeg":
            return b"\xff\xd9" in tail
        case "image/png":
            return b"IEND\xaeB`\x82" in tail
        case "image/webp":
            return size >= int.from_bytes(head[4:8], "little") + 8
        case "image/gif":
            return tail.rstrip(b"\0").endswith(b";")
        case _:
            return True


# ── how much work a JPEG is to decode ──

# A scan costs a decoder a pass over all pixels, and may be 10 bytes long. libjpeg's own progressive scripts have
# 10 scans (CMYK: 18), and mozjpeg writes at most 16. At 70 megapixels, the worst 64 scans take 5 s of CPU, and a usual
# progressive photo 2 s.
MOST_SCANS = 64
# Pillow's time grows with the square of the number of EXIF segments. A segment holds up to 64 KiB, so real files have
# a few hundred at most.
MOST_SEGMENTS = 1_000
MOST_JUNK = 2**20  # bytes between the segments before the first scan, which Pillow reads one by one
# Frames that are coded arithmetically. No camera writes them, and their decoder does not stop where its data do: 31 KB
# took 22 s of CPU.
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_FIRST_MARKER = 0xC0
# What Pillow skips by its length, and what is no marker to it. It reads on behind filling and the other markers.
_PILLOW_SEGMENT = re.compile(rb"\xff([\x01-\xc7\xc9-\xcf\xda-\xef\xfe])")
# The markers whose segments libjpeg reads or skips by their length, and the end. At any other it stops, or goes on to
# the next one.
_JPEG_SEGMENT = re.compile(rb"\xff([\xc0-\xcf\xd9-\xdd\xe0-\xef\xfe])")


def is_too_complex(kind: str, data: mmap | bytes) -> bool:
    """Whether a JPEG is coded arithmetically, or has more scans or segments than any camera or encoder writes.

    No pixel is decoded for it. The file is read as libjpeg reads it and, up to the first scan, as Pillow does: the two
    do not read the same markers.
    """
    if kind != "image/jpeg":
        return False
    scans = 0
    for segments, (marker, _) in enumerate(jpeg_segments(data), 1):
        scans += marker == _SOS
        if scans > MOST_SCANS or segments > MOST_SEGMENTS or marker in _ARITHMETIC:
            return True
    junk = end = 0
    for segments, (begin, after) in enumerate(_header_segments(data), 1):
        junk, end = junk + begin - end, after
        if segments > MOST_SEGMENTS or junk > MOST_JUNK:
            return True
    return False


def _header_segments(data: mmap | bytes) -> Iterator[tuple[int, int]]:
    """The begin and the end of each segment that Pillow reads, up to the first scan or the end of the file.

    By `JpegImageFile._open` of Pillow 13. Unlike libjpeg, it goes on behind an EOI, does not skip the segments of
    extension markers, and skips those of DHP and EXP.
    """
    at = 2
    while found := _PILLOW_SEGMENT.search(data, at):
        begin, marker = found.start(), found[1][0]
        if marker < _FIRST_MARKER:  # Pillow gives the file up
            return
        at = begin + 2 + max(2, int.from_bytes(data[begin + 2 : begin + 4]))
        yield begin, at
        if marker == _SOS:
            return
    yield len(data), len(data)


def jpeg_segments(data: mmap | bytes) -> Iterator[tuple[int, int]]:
    """The marker and the position of each segment that libjpeg may read (its jdmarker.c).

    Like libjpeg, it resumes at the next marker after damage, and ends at the first EOI. Where libjpeg would stop
    with an error, it goes on: a segment too many may be counted, and none too few.
    """
    at = 2
    while found := _JPEG_SEGMENT.search(data, at):
        at, marker = found.start(), found[1][0]
        if marker == _EOI:
            return
        yield marker, at
        at += 2 + int.from_bytes(data[at + 2 : at + 4])


# ── what else a photo's file holds ──

# A marker after entropy-coded data, in which FF00 is a plain FF, FFD0 to FFD7 are restarts and FFFF is filling.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PICTURE = range(0xC0, 0xE0)  # frames, scans and their tables: every marker but APPn, COM and the reserved
_SOS, _EOI = 0xDA, 0xD9
_PNG_CHUNKS = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"),
    *(b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"pHYs"),
}
_WEBP_CHUNKS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"}


def holds_only_the_picture(kind: str, data: mmap) -> bool:
    """Whether a file holds what is needed to show it, and nothing else.

    Anything else (EXIF, XMP, IPTC, comments, thumbnails, further pictures, whatever lies behind the end) may tell
    where somebody lives, and so may what cannot be understood: then it is False.
    """
    match kind:
        case "image/jpeg":
            return _is_bare_jpeg(data)
        case "image/png":
            return _is_bare_png(data)
        case "image/webp":
            return _is_bare_webp(data)
        case _:
            return False


def _is_bare_jpeg(data: mmap) -> bool:
    """By ITU-T T.81, annex B."""
    at = 2
    while data[at : at + 1] == b"\xff":
        marker = int.from_bytes(data[at + 1 : at + 2])
        if marker == _EOI:
            return at + 2 == len(data)
        length = int.from_bytes(data[at + 2 : at + 4])
        if not (marker in _PICTURE or _is_about_colour(marker, data[at + 4 : at + 2 + length])):
            return False
        at += 2 + length
        if marker == _SOS:
            following = _NEXT_MARKER.search(data, at)
            at = following.start() if following else len(data)
    return False


def _is_about_colour(marker: int, body: bytes) -> bool:
    match marker:
        case 0xE0:  # JFIF, without a thumbnail
            return body.startswith(b"JFIF\0") and len(body) == 14 and body.endswith(b"\0\0")  # noqa: PLR2004
        case 0xE2:
            return body.startswith(b"ICC_PROFILE\0")
        case 0xEE:
            return body.startswith(b"Adobe") and len(body) == 12  # noqa: PLR2004
        case _:
            return False


def _is_bare_png(data: mmap) -> bool:
    at = 8
    while (chunk := data[at + 4 : at + 8]) in _PNG_CHUNKS:
        at += 12 + int.from_bytes(data[at : at + 4])
        if chunk == b"IEND":
            return at == len(data)
    return False


def _is_bare_webp(data: mmap) -> bool:
    at = 12
    while data[at : at + 4] in _WEBP_CHUNKS:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return at == len(data)


def is_whole_heif(data: mmap) -> bool:
    """Whether the boxes that hold a HEIF picture are all there: the decoder leaves what is missing grey."""
    at, seen = 0, set()
    while header := data[at : at + 16]:
        size, box = int.from_bytes(header[:4]), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:16])
        elif size == 0:  # to the end
            size = len(data) - at
        if box not in {b"ftyp", b"meta", b"mdat"}:
            if at + size > len(data) or size < 8:  # noqa: PLR2004  # no box: something that was put behind
                break
        elif at + size > len(data):
            return False
        seen.add(box)
        at += max(8, size)
    return seen >= {b"meta", b"mdat"}
