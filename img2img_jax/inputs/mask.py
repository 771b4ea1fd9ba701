"""The part of a picture that an edit is to change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from img2img_jax.images import ImageError, load_image, prepare

PIE_BENCH_SIDE = 512


def read_mask(mask: Path | tuple[int, ...], **policy) -> np.ndarray:
    """bool [H, W], True where the picture is to change.

    Args:
      mask: a picture file, white there and black elsewhere; or run lengths as PIE-Bench has them, pairs of the first
        pixel and the number of pixels, in rows of 512. PIE-Bench counts the picture's outermost pixels as part of the
        edit, and so it is done here.
      **policy: of ``images.prepare``, as the picture itself is brought to size.

    Raises:
      ImageError: a file that cannot be read, or run lengths that leave the picture.
    """
    policy = policy | {"background": "black"}
    picture = load_image(mask) if isinstance(mask, Path) else Image.fromarray(255 * _decoded(mask)).convert("RGB")
    return prepare(picture, **policy)[..., 0] > 127


def _decoded(runs: tuple[int, ...]) -> np.ndarray:
    """uint8 [512, 512] of 0 and 1."""
    pixels = np.zeros(PIE_BENCH_SIDE**2, np.uint8)
    if len(runs) % 2 or any(not 0 <= start < len(pixels) for start in runs[::2]) or min(runs, default=0) < 0:
        raise ImageError("a mask's run lengths are pairs of a pixel's number, below 512 x 512, and a length")
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        pixels[start : start + length] = 1
    square = pixels.reshape(PIE_BENCH_SIDE, PIE_BENCH_SIDE)
    square[[0, -1]] = square[:, [0, -1]] = 1
    return square
