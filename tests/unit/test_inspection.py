"""The finding for each kind of photo. A prepared photo looks like its original and holds no metadata."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.environment import ROOT
from tests.support.photo_corpus import (
    PREPARED,
    READY,
    REJECTED,
    SECRET,
    SIZE,
    WHOLE,
    Photo,
    display_p3,
    exif,
    scene,
    turned,
    write,
)
from tests.unit.inspecting import find
from triptych.photo.inspection import Prepared, Ready, Rejected

NEAR = 6  # of 255, on average: the allowed difference between a JPEG and its original


def prepared(data: bytes, announced: str, *, edge: int = 2048) -> Image.Image:
    """Inspect a photo; return the prepared JPEG, opened, after checking that it holds no metadata."""
    finding = find(data, announced, edge=edge)
    assert isinstance(finding, Prepared), finding
    assert SECRET not in finding.jpeg
    result = Image.open(io.BytesIO(finding.jpeg), formats=("JPEG",))
    result.load()
    assert result.mode == "RGB"
    assert set(result.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert not result.getexif()
    assert isinstance(find(finding.jpeg, "image/jpeg", edge=edge), Ready)
    return result


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two photos of the same size, for the worst channel."""
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


@pytest.mark.parametrize("photo", READY.values(), ids=READY)
def test_suitable_photo_is_left_unchanged(photo: Photo) -> None:
    assert find(photo.data(), photo.announced) == Ready()


@pytest.mark.parametrize("photo", PREPARED.values(), ids=PREPARED)
def test_prepared_photo_matches_the_upright_original_without_metadata(photo: Photo) -> None:
    result = prepared(photo.data(), photo.announced)
    assert result.size == SIZE
    assert difference(result, photo.looks()) < NEAR


def test_comparison_detects_a_turned_photo() -> None:
    assert all(difference(turned(turn).resize(SIZE), scene()) > 3 * NEAR for turn in range(2, 9))


def test_comparison_detects_a_missing_colour_profile() -> None:
    assert difference(Image.new("RGB", SIZE, (234, 51, 35)), Image.new("RGB", SIZE, (255, 0, 0))) > 3 * NEAR
    assert display_p3()


@pytest.mark.parametrize(("photo", "code"), REJECTED.values(), ids=REJECTED)
def test_unsuitable_photo_is_rejected_with_its_code(photo: Photo, code: str) -> None:
    finding = find(photo.data(), photo.announced)
    assert isinstance(finding, Rejected), finding
    assert finding.failure.code == code


@pytest.mark.parametrize("kind", WHOLE)
def test_truncated_photo_is_rejected(kind: str) -> None:
    whole = WHOLE[kind]()
    announced = {"progressive": "image/jpeg", "tiles": "image/heic"}.get(kind, kind)
    assert not isinstance(find(whole, announced), Rejected)
    for tenth in range(1, 10):
        finding = find(whole[: len(whole) * tenth // 10], announced)
        assert isinstance(finding, Rejected), tenth
        assert finding.failure.code == "photo_unreadable", tenth


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [
        ((1200, 300), 512, (512, 128)),
        ((300, 1200), 512, (128, 512)),
        ((2000, 20), 512, (512, 5)),
        ((513, 512), 512, (512, 511)),
    ],
)
@pytest.mark.parametrize(
    ("kind", "announced"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("HEIF", "image/heic")]
)
def test_large_photo_is_scaled_down(
    kind: str, announced: str, size: tuple[int, int], edge: int, expected: tuple[int, int]
) -> None:
    original = scene().resize(size, Image.Resampling.BICUBIC)
    result = prepared(write(original, kind, quality=95), announced, edge=edge)
    assert result.size == expected
    assert difference(result, original.resize(expected, Image.Resampling.LANCZOS)) < NEAR


def test_turned_photo_is_scaled_down_and_set_upright() -> None:
    big = turned(6).resize((640, 960), Image.Resampling.BICUBIC)
    result = prepared(write(big, "JPEG", quality=95, exif=exif(6)), "image/jpeg", edge=480)
    assert result.size == (480, 320)
    assert difference(result, scene().resize((480, 320), Image.Resampling.BICUBIC)) < NEAR


def test_edge_of_zero_means_no_limit() -> None:
    assert find(write(Image.new("RGB", (9000, 4)), "JPEG"), "image/jpeg", edge=0) == Ready()
    assert (
        prepared(write(Image.new("L", (70_000, 8)).convert("1"), "PNG"), "image/png", edge=0).width == 65_500
    )


def test_pixel_limit_is_inclusive() -> None:
    photo = write(scene(), "PNG")
    assert find(photo, "image/png", pixels=SIZE[0] * SIZE[1]) == Ready()
    assert isinstance(find(photo, "image/png", pixels=SIZE[0] * SIZE[1] - 1), Rejected)


def test_only_opening_a_photo_imports_pillow() -> None:
    code = "import sys, api, generate, watchdog, webhook; sys.exit(any(m in sys.modules for m in ('PIL', 'pillow_heif')))"
    folders = [
        "layers/triptych",
        *(f"functions/{name}" for name in ("api", "generate", "watchdog", "webhook")),
    ]
    environment = {
        "PYTHONPATH": ":".join(str(ROOT / folder) for folder in folders),
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
