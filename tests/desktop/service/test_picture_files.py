"""Pictures as people save them, from real files of every format; and what is no picture, in a sentence."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from mattebox_desktop.model.errors import PictureError
from mattebox_desktop.service.picture_files import read_picture
from PIL import Image, ImageCms


def painted() -> np.ndarray:
    """(24, 32, 3): smooth, so that lossy formats come close."""
    y, x = np.mgrid[:24, :32]
    return np.stack([x * 7, y * 9, np.full_like(x, 90)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "options", "off"),
    [
        ("a.png", {}, 0),
        ("a.tif", {"compression": "tiff_lzw"}, 0),
        ("a.bmp", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.jpg", {"quality": 97, "subsampling": 0}, 12),
        ("a.avif", {"quality": 95}, 12),
    ],
)
def test_every_usual_format_is_read(tmp_path: Path, name: str, options: dict[str, object], off: int) -> None:
    Image.fromarray(painted()).save(tmp_path / name, **options)
    read = read_picture(tmp_path / name)
    assert (read.shape, read.dtype) == ((24, 32, 3), np.uint8)
    assert np.abs(read.astype(int) - painted()).max() <= off


def png(pixels: np.ndarray, kind: int) -> bytes:
    """A 16-bit PNG, written by hand since Pillow writes none in colour. kind: 0 grey, 2 RGB, 6 RGBA."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_of_sixteen_bit_the_upper_eight_count(tmp_path: Path) -> None:
    deep = painted().astype(np.uint16) * 257
    (tmp_path / "deep.png").write_bytes(png(deep, 2))
    assert np.array_equal(read_picture(tmp_path / "deep.png"), painted())
    (tmp_path / "grey.png").write_bytes(png(deep[..., 0], 0))
    assert np.array_equal(read_picture(tmp_path / "grey.png"), painted()[..., :1].repeat(3, axis=2))
    clear = np.concatenate([deep, np.full((24, 32, 1), 128 * 257)], axis=-1)
    (tmp_path / "clear.png").write_bytes(png(clear, 6))
    assert read_picture(tmp_path / "clear.png")[3, 5].tolist() == [*painted()[3, 5].tolist(), 128]


def test_transparency_stays_only_where_there_is_some(tmp_path: Path) -> None:
    clear = np.dstack([painted(), np.full((24, 32), 255, np.uint8)])
    Image.fromarray(clear).save(tmp_path / "opaque.png")
    assert np.array_equal(read_picture(tmp_path / "opaque.png"), painted())
    clear[4, 4, 3] = 10
    Image.fromarray(clear).save(tmp_path / "clear.webp", lossless=True, exact=True)
    assert np.array_equal(read_picture(tmp_path / "clear.webp"), clear)
    indexed = Image.fromarray(painted()).quantize(8)
    indexed.save(tmp_path / "indexed.png", transparency=0)
    assert read_picture(tmp_path / "indexed.png").shape == (24, 32, 4)


def test_a_photograph_lies_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it upright
    Image.fromarray(painted()).save(tmp_path / "phone.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "phone.png"), np.rot90(painted(), -1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_srgb_profile_changes_no_bit(tmp_path: Path, mode: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.fromarray(painted()).convert(mode)
    if mode == "RGBA":
        picture.putpixel((0, 0), (1, 2, 3, 4))
    picture.save(tmp_path / "tagged.png", icc_profile=profile)
    assert np.array_equal(read_picture(tmp_path / "tagged.png"), np.asarray(picture))


def test_another_colour_space_is_converted(tmp_path: Path) -> None:
    # sRGB with its red and its blue exchanged.
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = data.find(b"rXYZ"), data.find(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    Image.fromarray(painted()).save(tmp_path / "swapped.png", icc_profile=bytes(data))
    read = read_picture(tmp_path / "swapped.png").astype(int)
    assert np.abs(read - painted()[..., ::-1]).max() <= 2


def test_a_broken_profile_says_nothing(tmp_path: Path) -> None:
    Image.fromarray(painted()).save(tmp_path / "a.png", icc_profile=b"nothing of the kind")
    assert np.array_equal(read_picture(tmp_path / "a.png"), painted())


def _cut(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("none.png", lambda path: None, "“none.png” does not exist any more"),
        ("empty.png", lambda path: path.write_bytes(b""), "“empty.png” is empty"),
        ("words.png", lambda path: path.write_text("hello"), "“words.png” is no picture that Mattebox reads"),
        ("clip.mkv", lambda path: path.write_bytes(b"\x1aE\xdf\xa3" * 9), "is no picture"),
        ("cut.png", _cut, "“cut.png” is damaged or not written to its end"),
        ("cut.jpg", _cut, "“cut.jpg” is damaged or not written to its end"),
        ("folder.png", lambda path: path.mkdir(), "could not be read"),
        (
            "wide.png",
            lambda path: Image.new("L", (16400, 2)).save(path),
            "is too large for a reference: its size is 16400x2; the limit is 16384 a side",
        ),
        ("bomb.png", lambda path: Image.new("1", (16000, 16000)).save(path), "“bomb.png” is too large"),
        (
            "float.tif",
            lambda path: Image.fromarray(np.zeros((4, 4), np.float32)).save(path),
            "holds fractions for pixels; save it with 8 or 16 bit",
        ),
    ],
)
def test_what_is_no_picture_is_said_in_one_sentence(
    tmp_path: Path, name: str, make: object, said: str
) -> None:
    make(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
