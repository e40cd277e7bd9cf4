"""Pictures of any format as upright RGB: orientation, transparency, depth; what is refused, and how."""

import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnbench.data import pictures
from cnnbench.data.pictures import MOST_PIXELS, UnreadableError, read_rgb, read_stretched, without_warnings

GREYS = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)  # 2 rows, 3 columns: no two orientations are alike
# EXIF 2.3, tag 0x0112: how what is stored has to be turned
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREYS).save(tmp_path / "a.png", exif=exif)
    picture = read_rgb(tmp_path / "a.png")
    expected = UPRIGHT[orientation](GREYS)
    assert np.asarray(picture.image)[..., 0].tolist() == expected.tolist()
    assert picture.file_size == expected.shape[::-1]


def one_pixel(mode: str, value: object) -> Image.Image:
    return Image.new(mode, (2, 2), value)  # type: ignore[arg-type]


def transparent_palette() -> Image.Image:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([9, 9, 9, 200, 100, 50])
    image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("image", "suffix", "rgb"),
    [
        pytest.param(one_pixel("RGB", (1, 2, 3)), ".bmp", (1, 2, 3), id="color"),
        pytest.param(one_pixel("L", 77), ".png", (77, 77, 77), id="grey"),
        pytest.param(one_pixel("1", 1), ".png", (255, 255, 255), id="bits"),
        pytest.param(one_pixel("RGBA", (255, 0, 0, 128)), ".png", (255, 127, 127), id="half transparent"),
        pytest.param(one_pixel("RGBA", (0, 0, 0, 0)), ".webp", (255, 255, 255), id="transparent"),
        pytest.param(one_pixel("LA", (0, 51)), ".png", (204, 204, 204), id="grey, 1/5 opaque"),
        pytest.param(transparent_palette(), ".png", (255, 255, 255), id="transparent palette"),
        pytest.param(one_pixel("P", 0), ".gif", (0, 0, 0), id="palette"),
        pytest.param(one_pixel("CMYK", (255, 0, 0, 0)), ".tif", (0, 255, 255), id="cyan"),
        pytest.param(one_pixel("I;16", 257 * 100), ".png", (100, 100, 100), id="16 bits"),
        pytest.param(one_pixel("I;16", 65_535), ".png", (255, 255, 255), id="16 bits, white"),
        pytest.param(one_pixel("I", 257 * 3), ".tif", (3, 3, 3), id="16 in 32 bits"),
    ],
)
def test_every_mode_becomes_rgb(
    image: Image.Image, suffix: str, rgb: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    image.save(path, **options)
    found = read_rgb(path).image
    assert found.mode == "RGB"
    assert found.getpixel((1, 1)) == rgb


def test_cmyk_as_photoshop_writes_it(tmp_path: Path) -> None:
    """Adobe's JPEGs hold it inverted, and say so."""
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = read_rgb(tmp_path / "a.jpg").image.getpixel((8, 8))  # type: ignore[misc]
    assert red > 250
    assert max(green, blue) < 5


def test_the_first_of_several_frames(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (level, 0, 0)) for level in (255, 0)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_rgb(tmp_path / "a.gif").image.getpixel((0, 0)) == (255, 0, 0)


def test_resizing_is_pillows_whatever_the_proportions(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = read_stretched(tmp_path / "a.png", 8, 12)
    expected = Image.fromarray(pixels).resize((12, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(picture.image), np.asarray(expected))
    assert picture.file_size == (70, 30)


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(800), np.arange(600))
    waves = 127 + 60 * np.sin(x / 40) + 60 * np.cos(y / 30)
    Image.fromarray(waves.astype(np.uint8)).convert("RGB").save(tmp_path / "a.jpg", quality=95)
    picture = read_stretched(tmp_path / "a.jpg", 32, 32)
    whole = read_rgb(tmp_path / "a.jpg").image.resize((32, 32), Image.Resampling.BILINEAR)
    assert picture.file_size == (800, 600)
    assert read_rgb(tmp_path / "a.jpg", at_least=(64, 64)).image.size == (100, 75)  # 1/8
    difference = np.asarray(picture.image).astype(int) - np.asarray(whole)
    assert abs(difference).max() <= 6
    assert abs(difference).mean() < 1.5


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size, up to where its pixels begin."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 90)
        + b"IDAT"
    )


def make_text(path: Path) -> None:
    path.write_text("no picture")


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def make_cut(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:900])


def make_postscript(path: Path) -> None:
    """PIL would start Ghostscript on it."""
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


def make_large(path: Path) -> None:
    path.write_bytes(png_header(10_001, 10_000) + bytes(100))


def make_bomb(path: Path) -> None:
    path.write_bytes(png_header(60_000, 60_000) + bytes(100))


def make_float(path: Path) -> None:
    Image.new("F", (2, 2), 0.5).save(path, "TIFF")


def make_deep(path: Path) -> None:
    Image.new("I", (2, 2), 70_000).save(path, "TIFF")


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_broken_link(path: Path) -> None:
    path.symlink_to(path.with_name("gone.jpg"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "is not there"),
        (Path.mkdir, "is a folder: name the pictures in it"),
        (make_loop, "cannot be opened: Too many levels of symbolic links"),
        (make_broken_link, "is a link to nowhere"),
        (os.mkfifo, "is no file"),  # reading would wait for ever
        (make_text, "cannot be read as an image: it is of no known format"),
        (make_empty, "cannot be read as an image: it is of no known format"),
        (make_postscript, "cannot be read as an image: it is of no known format"),
        (make_cut, "cannot be read as an image: image file is truncated"),
        (make_large, "is too large: at most 100,000,000 pixels are read, and it has 10,001×10,000"),
        (make_bomb, "is too large: at most 100,000,000 pixels are read, and it has more than that"),
        (make_float, "has floating point values"),
        (make_deep, "has values beyond 16 bits"),
    ],
)
def test_what_cannot_be_used(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    make(tmp_path / "a.jpg")
    with without_warnings(), pytest.raises(UnreadableError) as refused:
        read_rgb(tmp_path / "a.jpg")
    assert str(refused.value).startswith(message)


def test_pil_does_not_warn_of_what_is_read(tmp_path: Path) -> None:
    make_large(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS is not None
    assert MOST_PIXELS > Image.MAX_IMAGE_PIXELS  # so that PIL would warn
    with warnings.catch_warnings(record=True) as caught, without_warnings(), pytest.raises(UnreadableError):
        read_rgb(tmp_path / "a.png")
    assert caught == []


def test_damage_ends_in_a_message_or_an_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    refused = 0
    for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
        image.save(tmp_path / "whole", form, **({"exif": exif} if form in ("JPEG", "PNG", "TIFF") else {}))
        whole = (tmp_path / "whole").read_bytes()
        for _ in range(60):
            content = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else whole)
            for _ in range(3):
                content[rng.integers(len(content))] = rng.integers(256)
            (tmp_path / "damaged").write_bytes(content)
            with without_warnings():
                try:
                    assert read_stretched(tmp_path / "damaged", 6, 6).image.size == (6, 6)
                except UnreadableError:
                    refused += 1
    assert refused > 50


def test_pixels_are_read_whatever_their_exif_says(tmp_path: Path) -> None:
    Image.fromarray(GREYS).save(tmp_path / "a.png", exif=b"\x00\x01")  # which PIL calls no TIFF file
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.png").image)[..., 0], GREYS)


@pytest.mark.parametrize(
    "error", [struct.error("a"), TypeError("b"), KeyError("c"), OverflowError("d")], ids=repr
)
def test_whatever_pil_makes_of_exif(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(image: Image.Image) -> Image.Image:
        raise error

    monkeypatch.setattr(pictures.ImageOps, "exif_transpose", fail)
    Image.fromarray(GREYS).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.png").image)[..., 0], GREYS)
