"""Pictures in and out: files, PIL images and arrays become model input, and model output becomes pictures.

uint8 exists here and nowhere else. Arrays are channels-last, [H, W, 3] or [B, H, W, 3], in one of three
ranges: uint8 0..255, "unit" float32 0..1, and "model" float32 -1..1, which is what the autoencoder sees.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageOps

RESIZE_POLICIES = ("crop", "pad", "stretch")


class ImageError(ValueError):
    """A picture that cannot be used; the message names it and says what to do."""


def load_image(source, *, background: str = "white") -> Image.Image:
    """Opens a picture as 8-bit RGB, upright, without transparency.

    Args:
      source: a path, a PIL image, or an array [H, W, 3] (uint8, or float in 0..1). Of an animation the
        first frame is taken. Palette, grey, 1-bit, CMYK and 16-bit grey pictures are converted; colour
        profiles are not applied.
      background: colour that shows through transparent parts: a CSS name or "#rrggbb".

    Raises:
      ImageError: missing, empty, broken or too large a file; an unusable array; an unknown colour.
    """
    if isinstance(source, str | os.PathLike):
        with open_image(source) as image:
            return _decode(image, str(source), background)
    if isinstance(source, Image.Image):
        return _decode(source, getattr(source, "filename", "") or "the given PIL image", background)
    pixels = check_array(source)
    if pixels.ndim != 3:
        raise ImageError(f"an array of shape {pixels.shape} is a batch: one picture is [H, W, 3]")
    return to_pil(pixels)[0]


def open_image(path: str | os.PathLike) -> Image.Image:
    """Opens a picture file without decoding it; close it after use.

    Raises:
      ImageError: the file is missing, empty, no picture, or larger than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"{path}: no such file; check the path")
    if path.is_dir():
        raise ImageError(f"{path}: is a folder; name a picture in it")
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty (0 bytes); copy or download it again")
        with warnings.catch_warnings():
            # Between one and two times the limit Pillow only warns; half a bomb is too much as well.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels, refused as a possible decompression bomb;"
            " shrink it first, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except ImageError:
        raise
    except Exception as error:  # decoders raise what they stumble over: OSError, struct.error ...
        raise _unreadable(path, error) from error


def _decode(image: Image.Image, name: str, background: str) -> Image.Image:
    color = background_color(background)
    if 0 in image.size:
        raise ImageError(f"{name}: has no pixels ({image.width}x{image.height}); use another picture")
    try:
        image.load()
        return _flatten(ImageOps.exif_transpose(image), color)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except Exception as error:  # as above: truncated and corrupt data surface in many guises
        raise _unreadable(name, error) from error


def _unreadable(name, error: Exception) -> ImageError:
    return ImageError(f"{name}: not a readable picture ({error}); save it again as PNG or JPEG")


def background_color(name: str) -> tuple[int, int, int]:
    """The RGB triple (0..255) of a CSS colour name or "#rrggbb"; raises ImageError for an unknown one."""
    try:
        return ImageColor.getcolor(name, "RGB")
    except (AttributeError, TypeError, ValueError) as error:
        remedy = 'use a name such as "white", or "#rrggbb"'
        raise ImageError(f"background {name!r} is no colour; {remedy}") from error


def _flatten(image: Image.Image, color: tuple[int, int, int]) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":  # Pillow converts premultiplied grey to plain grey only
        image = image.convert("LA")
    canvas = Image.new("RGBA", image.size, (*color, 255))
    return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    # Image.convert("RGB") would clip 16-bit values at 255 instead of scaling them: nearly white pictures.
    values, top = np.asarray(image), 1.0 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= top):
        found = f"values {values.min()} to {values.max()} of mode {image.mode}"
        raise ImageError(f"{found} are not in 0..{top:g}; rescale them")
    grey = np.rint(values.astype(np.float64) * (255 / top)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def check_array(array) -> np.ndarray:
    """Returns `array` as uint8, or as float32 in 0..1, of shape [H, W, 3] or [B, H, W, 3].

    Raises:
      ImageError: another shape, another dtype, NaN, or values outside 0..1.
    """
    if np.ndim(array) == 0:
        raise ImageError(f"image {array!r} is no picture; give a path, a PIL image or an array [H, W, 3]")
    array = np.asarray(array)
    if array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape:
        raise ImageError(f"an image array has shape [H, W, 3] or [B, H, W, 3], not {list(array.shape)}")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise ImageError(f"an image array is uint8 or float in 0..1, not {array.dtype}; convert it")
    array = array.astype(np.float32)
    if not (array.min() >= 0 and array.max() <= 1):  # NaN fails both comparisons
        raise ImageError(
            f"a float image array lies in 0..1, not {array.min()} to {array.max()};"
            " rescale it, or pass uint8 for 0..255"
        )
    return array


def target_size(
    own: tuple[int, int], *, height: int | None = None, width: int | None = None, multiple: int = 8
) -> tuple[int, int]:
    """The (height, width) a picture of size `own` (height, width) is brought to.

    Without a wish it is the picture's own size rounded down to `multiple` (the autoencoder's factor); with
    one side given, the other follows the aspect ratio, to the nearest multiple.

    Raises:
      ImageError: a wished side is no positive multiple of `multiple`.
    """
    for name, side in (("height", height), ("width", width)):
        if side is not None and not isinstance(side, int | np.integer):
            raise ImageError(f"{name} {side!r} is no whole number of pixels; use a positive multiple of {multiple}")
        if side is not None and (side <= 0 or side % multiple):
            near = max(multiple, round(side / multiple) * multiple)
            raise ImageError(f"{name} {side} is no positive multiple of {multiple}; use {near}")
    if height is None and width is None:
        return tuple(max(multiple, side // multiple * multiple) for side in own)
    if height is None:
        height = max(multiple, round(own[0] * width / own[1] / multiple) * multiple)
    if width is None:
        width = max(multiple, round(own[1] * height / own[0] / multiple) * multiple)
    return height, width


def prepare(
    image,
    *,
    height: int | None = None,
    width: int | None = None,
    resize: str = "crop",
    multiple: int = 8,
    background: str = "white",
) -> np.ndarray:
    """Brings one picture to the size the model works at.

    A picture that already has the target size (see `target_size`) is left as it is, to the bit.

    Args:
      image: as for `load_image`.
      height, width: target in pixels, multiples of `multiple`.
      resize: "crop" fills the target and cuts what sticks out, evenly on both sides; "pad" fits the whole
        picture in and fills the rest with `background`; "stretch" gives up the aspect ratio. All three
        resample with a Lanczos filter.
      multiple: the autoencoder's downsampling factor.
      background: colour for padding and behind transparency.

    Returns:
      [H, W, 3], uint8; float32 in 0..1 if a float array was given.

    Raises:
      ImageError: as `load_image` and `target_size`; an unknown policy.
    """
    if resize not in RESIZE_POLICIES:
        raise ImageError(f"resize {resize!r} is unknown; use one of {', '.join(RESIZE_POLICIES)}")
    if _is_picture(image):
        pixels = np.asarray(load_image(image, background=background))
    else:
        pixels = check_array(image)
        if pixels.ndim != 3:
            raise ImageError(f"an array of shape {list(pixels.shape)} is a batch; pass it to prepare_batch")
    size = target_size(pixels.shape[:2], height=height, width=width, multiple=multiple)
    if pixels.shape[:2] == size:
        return pixels
    if resize == "pad":
        return _pad(pixels, size, background_color(background))
    return _resample(pixels, size, _crop_box(pixels, size) if resize == "crop" else None)


def prepare_batch(images, **policy) -> np.ndarray:
    """Brings one or several pictures to one size, as a batch.

    Args:
      images: a path, a PIL image, an array [H, W, 3] or [B, H, W, 3], or a list of pictures.
      **policy: as for `prepare`.

    Returns:
      [B, H, W, 3], uint8; float32 in 0..1 if a float array was among them.

    Raises:
      ImageError: as `prepare`; no picture at all; pictures of different sizes without `height` and `width`.
    """
    if _is_picture(images):
        images = [images]
    elif not isinstance(images, list | tuple):
        images = check_array(images)
        images = images if images.ndim == 4 else images[None]
    rows = [prepare(image, **policy) for image in images]
    if not rows:
        raise ImageError("no picture was given; pass at least one")
    sizes = sorted({row.shape[:2] for row in rows})
    if len(sizes) > 1:
        remedy = "give height and width, or make one call per size"
        raise ImageError(f"pictures of sizes {sizes} (height, width) do not fit one batch; {remedy}")
    if any(row.dtype != np.uint8 for row in rows):
        rows = [as_unit(row) for row in rows]
    return np.stack(rows)


def _is_picture(image) -> bool:
    return isinstance(image, str | os.PathLike | Image.Image)


def _crop_box(pixels: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float]:
    own_height, own_width = pixels.shape[:2]
    scale = max(size[0] / own_height, size[1] / own_width)
    # min(): rounding must not push the box over the edge by a fraction of a pixel.
    box_height, box_width = min(size[0] / scale, own_height), min(size[1] / scale, own_width)
    left, top = (own_width - box_width) / 2, (own_height - box_height) / 2
    return left, top, left + box_width, top + box_height


def _pad(pixels: np.ndarray, size: tuple[int, int], color: tuple[int, int, int]) -> np.ndarray:
    scale = min(size[0] / pixels.shape[0], size[1] / pixels.shape[1])
    inner = [max(1, min(side, round(own * scale))) for side, own in zip(size, pixels.shape[:2], strict=True)]
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    fill = np.uint8(color) if pixels.dtype == np.uint8 else as_unit(np.uint8(color))
    canvas = np.empty((*size, 3), pixels.dtype)
    canvas[:] = fill
    canvas[top : top + inner[0], left : left + inner[1]] = _resample(pixels, inner)
    return canvas


def _resample(pixels: np.ndarray, size, box=None) -> np.ndarray:
    def resized(plane):
        return np.asarray(Image.fromarray(plane).resize((size[1], size[0]), Image.Resampling.LANCZOS, box))

    if pixels.dtype == np.uint8:
        return resized(pixels)
    # Lanczos overshoots at edges; Pillow clips uint8 but not float.
    return np.clip(np.stack([resized(pixels[..., channel]) for channel in range(3)], axis=-1), 0, 1)


def as_unit(pixels: np.ndarray) -> np.ndarray:
    """uint8, or float in 0..1 (kept), to float32 in 0..1; the inverse of `to_uint8`."""
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels


def to_model(pixels) -> np.ndarray:
    """[..., H, W, 3] uint8, or float in 0..1 -> float32 in -1..1; raises ImageError as `check_array`."""
    return 2 * as_unit(check_array(pixels)) - 1


def to_unit(decoded) -> np.ndarray:
    """[..., H, W, 3] float, nominally -1..1 -> float32 in 0..1, clipped."""
    return np.clip(np.asarray(decoded, np.float32) / 2 + 0.5, 0, 1)


def to_uint8(unit) -> np.ndarray:
    """[..., H, W, 3] float in 0..1 (or uint8, kept) -> uint8, rounded; raises ImageError as `check_array`."""
    pixels = check_array(unit)
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels * 255).astype(np.uint8)


def to_pil(pixels) -> list[Image.Image]:
    """[B, H, W, 3] or [H, W, 3], uint8 or float in 0..1 -> a list of RGB images; errors as `check_array`."""
    pixels = to_uint8(pixels)
    return [Image.fromarray(row) for row in (pixels if pixels.ndim == 4 else pixels[None])]
