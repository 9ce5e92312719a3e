"""Pictures as people save them, whatever the format, depth, transparency and colour space."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from mattebox_proto.limits import size_fault
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from mattebox_desktop.model.errors import PictureError

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif")
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF")
"""Not every format that Pillow knows: some of them run programs. AVIF is not in every build of it."""
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, MemoryError)
"""What Pillow raises on bytes that were changed or cut."""
_ROUNDING = 1


def is_picture_name(path: Path) -> bool:
    """Whether the name says so; what the file holds is seen when it is read."""
    return path.suffix.lower() in PICTURE_ENDINGS


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Returns (H, W, 3) uint8 RGB, or (H, W, 4) with straight alpha where it is transparent anywhere. It is
    upright and in sRGB; of 16 bit the upper 8 count.

    Raises:
        PictureError: it is not there, empty, no picture, damaged or too large; the sentence says which.
    """
    picture = _opened(path)
    with picture:
        if fault := size_fault(picture.width, picture.height):
            raise PictureError(f"“{path.name}” is too large for a reference: {fault}.")
        try:
            picture.load()
        except _DAMAGE as error:
            raise PictureError(
                f"“{path.name}” is damaged or not written to its end; save it again."
            ) from error
        pixels = _eight_bit(picture, path)
    if pixels.shape[2] == 4 and pixels[..., 3].min() == 255:
        return np.ascontiguousarray(pixels[..., :3])
    return pixels


def _opened(path: Path) -> Image.Image:
    try:
        if path.stat().st_size == 0:
            raise PictureError(f"“{path.name}” is empty; save it again.")
        Image.init()
        return Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])
    except FileNotFoundError as error:
        raise PictureError(f"“{path.name}” does not exist any more; save it again.") from error
    except UnidentifiedImageError as error:
        raise PictureError(
            f"“{path.name}” is no picture that Mattebox reads, or it is damaged; "
            "save it as PNG, JPEG, WebP or TIFF."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"“{path.name}” is too large for a reference; save a smaller one.") from error
    except OSError as error:
        raise PictureError(f"“{path.name}” could not be read ({error.strerror or error}).") from error


def _eight_bit(picture: Image.Image, path: Path) -> NDArray[np.uint8]:
    if picture.mode == "F":
        raise PictureError(f"“{path.name}” holds fractions for pixels; save it with 8 or 16 bit.")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        grey = (np.asarray(picture).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., np.newaxis], 3, axis=2)
    upright = ImageOps.exif_transpose(picture)
    mode = "RGBA" if upright.has_transparency_data else "RGB"
    return np.array(_in_srgb(upright, mode))


def _in_srgb(picture: Image.Image, mode: str) -> Image.Image:
    """Converted from its own colour space; left as it is where that is sRGB, so that pixels nobody painted on
    come back bit for bit.
    """
    embedded = picture.info.get("icc_profile")
    if not embedded or picture.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return picture.convert(mode)
    colored = picture.mode in ("RGB", "RGBA")
    try:
        profile, srgb = ImageCms.ImageCmsProfile(io.BytesIO(embedded)), ImageCms.createProfile("sRGB")
        if colored and _is_identity(ImageCms.buildTransform(profile, srgb, "RGB", "RGB")):
            return picture.convert(mode)
        transform = ImageCms.buildTransform(profile, srgb, picture.mode, picture.mode if colored else "RGB")
        converted = ImageCms.applyTransform(picture, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture.convert(mode)  # a profile that cannot be read says nothing
    return picture.convert(mode) if converted is None else converted.convert(mode)


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(len(steps), -1, 3)
    converted = ImageCms.applyTransform(Image.fromarray(colors), transform)
    return bool(np.abs(np.asarray(converted).astype(int) - colors).max() <= _ROUNDING)
