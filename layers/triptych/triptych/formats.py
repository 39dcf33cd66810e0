"""Picture formats, told by their bytes."""

from __future__ import annotations

# content type → the extension of its keys (Replicate's models name their input files by the URL's path)
EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
}
PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp")
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
    if head[4:12] in {b"ftypavif", b"ftypavis"}:
        return "image/avif"
    return None


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
