"""Coloured strokes as a person might paint them, simulated from a picture."""

from __future__ import annotations

from PIL import Image, ImageFilter

FILTER_SIZE = 23
COLOURS = 6


def strokes(picture: Image.Image, *, filter_size: int = FILTER_SIZE, colours: int = COLOURS) -> Image.Image:
    """A picture without details, in a few flat colours, RGB: SDEdit's simulation of human strokes.

    A median filter takes the details, an adaptive palette the shades (Meng et al. 2108.01073, sec. 5 and appendix; 23
    pixels and 6 colours, for pictures of 256 pixels a side).

    Args:
      picture: RGB.
      filter_size: side in pixels of the median's window, odd.
      colours: of the palette, 1 to 256.

    Raises:
      ValueError: an even or negative ``filter_size``, or ``colours`` out of range.
    """
    if filter_size < 1 or filter_size % 2 == 0:
        raise ValueError(f"filter_size={filter_size} is no odd number of pixels; use {max(filter_size, 0) + 1}")
    if not 1 <= colours <= 256:
        raise ValueError(f"colours={colours} is not in 1 to 256; SDEdit takes {COLOURS}")
    smooth = picture.convert("RGB").filter(ImageFilter.MedianFilter(filter_size))
    return smooth.convert("P", palette=Image.Palette.ADAPTIVE, colors=colours).convert("RGB")
