"""The preview of one image: its size, its colour, and images that are no reason to lose an output."""

from __future__ import annotations

import io
import tempfile
from typing import Any

import pytest
from PIL import Image, JpegImagePlugin

from tests.support.photos import JPEG, PNG, picture
from triptych.photo import bounded, previews
from triptych.photo.previews import Made

SECONDS = 60.0  # this machine may be busy


def made(data: bytes) -> Made:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return previews.make(file, SECONDS)


def opened(one: Made) -> Image.Image:
    return Image.open(io.BytesIO(one.webp))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIF"])
def test_every_type_of_output_has_a_preview(kind: str) -> None:
    one = made(picture(kind, (1200, 600)))
    assert (one.preview.width, one.preview.height) == (1200, 600)
    assert (opened(one).format, opened(one).size) == ("WEBP", (512, 256))


def test_small_image_is_not_enlarged() -> None:
    assert opened(made(picture("PNG", (60, 40)))).size == (60, 40)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "I;16", "RGB"])
def test_every_mode_of_pixels_has_a_preview(mode: str) -> None:
    image = Image.new("I;16", (30, 20), 40_000) if mode == "I;16" else Image.new("RGB", (30, 20), "white")
    kind = "TIFF" if mode == "CMYK" else "PNG"
    data = saved(image.convert(mode) if mode != "I;16" else image, "JPEG" if kind == "TIFF" else kind)
    assert opened(made(data)).size == (30, 20)


def test_colour_is_the_average_of_the_pixels() -> None:
    image = Image.new("RGB", (100, 100), "#ff0000")
    image.paste("#0000ff", (0, 0, 100, 50))
    assert made(saved(image, "PNG")).preview.color in {"#7f007f", "#800080", "#80007f", "#7f0080"}


def test_size_is_that_of_the_upright_image() -> None:
    turned = Image.new("RGB", (80, 40), "red")
    turned.paste("blue", (0, 0, 40, 40))  # left; at the top when upright
    exif = Image.Exif()
    exif[0x0112] = 6
    one = made(saved(turned, "JPEG", exif=exif))
    assert (one.preview.width, one.preview.height) == (40, 80)
    small = opened(one).convert("RGB")
    red, _, blue = small.getpixel((20, 10))  # type: ignore[misc]  # an RGB image has three
    assert small.size == (40, 80)
    assert blue > red


def test_transparent_image_stays_transparent() -> None:
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    one = made(saved(clear, "PNG"))
    assert opened(one).convert("RGBA").getpixel((5, 5))[3] == 0  # type: ignore[index]  # RGBA
    assert one.preview.color == "#ffffff"


def test_preview_holds_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "at home"
    data = saved(Image.new("RGB", (40, 40)), "JPEG", exif=exif, comment=b"at home")
    assert b"at home" in data
    assert b"at home" not in made(data).webp


@pytest.mark.parametrize("data", [PNG, JPEG[:-200], b"not an image at all, but text", b"GIF89a"])
def test_damaged_image_has_no_preview(data: bytes) -> None:
    with pytest.raises(bounded.UnpreviewableError):
        made(data)


def test_child_imports_no_further_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    def imported() -> bool:
        raise AssertionError

    monkeypatch.setattr(Image, "init", imported)
    assert made(JPEG).webp


def test_complex_image_has_no_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "_made", lambda _: sum(iter(int, 1)))  # for ever
    monkeypatch.setattr(previews, "CPU_SECONDS", 1)
    with pytest.raises(bounded.UnpreviewableError):
        made(JPEG)


def test_image_with_too_many_pixels_has_no_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "MOST_PIXELS", 100)
    with pytest.raises(bounded.UnpreviewableError):
        made(JPEG)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"1x1#000000\n",
        b"1x1#000000\n<html>",
        b"-1x1#000000\nRIFF0000WEBP",
        b"1x1#zzzzzz\nRIFF0000WEBP",
        b"1x1#000000\nRIFF0000WEBP" + b"x" * previews.MOST_BYTES,
    ],
)
def test_answer_of_a_hostile_child_is_refused(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "run", lambda *_, **__: answer)
    with pytest.raises(bounded.UnpreviewableError):
        made(JPEG)


def test_large_jpeg_is_decoded_at_a_part_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []
    load = JpegImagePlugin.JpegImageFile.load

    def recorded(image: Any) -> Any:
        decoded.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", recorded)
    with tempfile.TemporaryFile() as file:
        file.write(picture("JPEG", (1600, 1200)))
        file.flush()
        previews._written(file, "image/jpeg")
    assert decoded[0] == (800, 600)
