"""Whether a picture shows a colour, by its hues in OKLab."""

from __future__ import annotations

import numpy as np

from img2img_jax.data import colours

LEAST_COLOURED = 0.02
"""A picture of which less than this share is coloured shows no colour."""


def coloured(image: np.ndarray) -> np.ndarray:
    """Which pixels of uint8 [H,W,3] have a hue to speak of, bool [H,W]."""
    return colours.chroma(colours.to_oklab(image)) >= 2 * colours.CHROMATIC


def shows_colour(image: np.ndarray, word: str, tolerance: float = 25.0) -> bool:
    """Whether the main hue of the coloured area of uint8 [H,W,3] is within ``tolerance`` degrees of the word's."""
    area = coloured(image)
    if area.mean() < LEAST_COLOURED:
        return False
    found = colours.dominant(image, area).hue
    return found is not None and float(colours.hue_distance(found, colours.hue(colours.reference(word)))) <= tolerance
