"""Augmentations of pictures on white: recolouring, mirroring, and small affine moves."""

import math
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from img2img_jax.data import colours
from img2img_jax.data.emoji import EmojiRecord, colourable

_NEAR, _FAR = 48.0, 62.0
"""Hues up to `_NEAR` degrees from the dominant one move with it; those beyond `_FAR` stay as they are."""
_LIGHTNESS_PULL = 0.85
_HUE_SPREAD = 0.6
_MAX_CHROMA_GAIN = 3.0
_MAX_VIVIDNESS = 1.25


def hue_shift(image: np.ndarray, colour: str, source_hue: float | None = None) -> np.ndarray:
    """Recolours the dominant hue of a picture to a colour word; black, white, grey and other hues stay.

    In OKLab the hue turns by one angle, chroma is scaled, and lightness is mapped by a broken line that keeps
    black and white fixed and brings the typical lightness near the target's, so that the shading remains.

    Args:
        image: uint8 [H, W, 3].
        colour: word of `colours.PALETTE`; "black", "white" and "grey" take the colour out.
        source_hue: hue to replace in degrees; by default the picture's most frequent one.

    Returns:
        uint8 [H, W, 3]; the picture itself if nothing in it has a hue.

    Raises:
        ValueError: `colour` is not in the palette.
    """
    target = colours.reference(colour)
    lab = colours.to_oklab(image)
    chroma, hue = colours.chroma(lab), colours.hue(lab)
    if source_hue is None:
        source_hue = colours.dominant(image, chroma >= colours.CHROMATIC).hue
    if source_hue is None:
        return image
    offset = (hue - source_hue + 180) % 360 - 180
    moves = np.clip((_FAR - np.abs(offset)) / (_FAR - _NEAR), 0, 1)
    typical = (moves > 0.5) & (chroma >= colours.CHROMATIC)
    if not typical.any():
        return image
    source_lightness, source_chroma = np.median(lab[typical, 0]), np.median(chroma[typical])
    gain = min(colours.chroma(target) / source_chroma, _MAX_CHROMA_GAIN)
    angle = np.radians(colours.hue(target) + _HUE_SPREAD * offset)
    wanted = source_lightness + _LIGHTNESS_PULL * (target[0] - source_lightness)
    lightness = np.interp(lab[..., 0], [0.0, source_lightness, 1.0], [0.0, wanted, 1.0])
    # Greys and pale tints keep their lightness and gain no chroma: only pixels with a good part of the typical
    # chroma are changed in full. Small vivid parts do not get more vivid than the target allows.
    tinted = np.clip(2 * chroma / source_chroma, 0, 1)
    gains = 1 + (gain - 1) * (tinted if gain > 1 else 1)
    new_chroma = np.minimum(gains * chroma, _MAX_VIVIDNESS * colours.chroma(target))
    moved = np.stack(
        [
            lab[..., 0] + tinted * (lightness - lab[..., 0]),
            new_chroma * np.cos(angle),
            new_chroma * np.sin(angle),
        ],
        axis=-1,
    )
    mixed = lab + moves[..., None] * (moved - lab)
    return np.where((chroma > 0.01)[..., None] & (moves > 0)[..., None], colours.from_oklab(mixed), image)


_DIRECTED = re.compile(r"left|right|arrow|button|sign|clockwise|facing|letter|book|calendar|medal|input|abcd")


def flippable(record: EmojiRecord) -> bool:
    """Whether the mirrored picture still shows what its name says: no letters, signs or pointing hands."""
    return record.group not in ("Symbols", "Flags") and not _DIRECTED.search(record.name)


def flip(image: np.ndarray) -> np.ndarray:
    """Mirrors uint8 [H, W, 3] left to right."""
    return image[:, ::-1]


def affine(
    image: np.ndarray, *, degrees: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Turns, scales and shifts uint8 [H, W, 3] about its centre; what comes in from outside is white.

    Args:
        degrees: anticlockwise.
        scale: above 1 enlarges.
        shift: right and down, as shares of the picture's width and height.
    """
    height, width = image.shape[:2]
    cosine = math.cos(math.radians(degrees)) / scale
    sine = math.sin(math.radians(degrees)) / scale
    # Pillow asks where each output pixel comes from, so the move is inverted.
    centre_x, centre_y = width / 2, height / 2
    to_x, to_y = centre_x + shift[0] * width, centre_y + shift[1] * height
    matrix = (
        cosine,
        -sine,
        centre_x - cosine * to_x + sine * to_y,
        sine,
        cosine,
        centre_y - sine * to_x - cosine * to_y,
    )
    moved = Image.fromarray(np.ascontiguousarray(image)).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255)
    )
    return np.asarray(moved)


def softened(image: np.ndarray, radius: float) -> np.ndarray:
    """Blurs uint8 [H, W, 3] by a Gaussian of `radius` pixels."""
    blur = ImageFilter.GaussianBlur(float(radius))
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).filter(blur))


def traced(image: np.ndarray) -> np.ndarray:
    """Black lines on white where the colours of uint8 [H, W, 3] meet: what a line drawing of it would show.

    Shades do not leave lines: a difference between neighbours of up to 24 is none, one of 88 and more is black.
    """
    values = np.pad(image.astype(np.float32), ((0, 1), (0, 1), (0, 0)), mode="edge")
    steps = [np.abs(values[1:, :-1] - values[:-1, :-1]), np.abs(values[:-1, 1:] - values[:-1, :-1])]
    ink = np.clip((np.max(steps, axis=(0, 3)) - 24) / 64, 0, 1)
    return np.repeat(np.uint8(np.rint(255 * (1 - ink)))[..., None], 3, axis=-1)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random augmentation: the chance of each change, and how far the affine moves go.

    recolour: of pictures that `emoji.colourable` accepts; flip; move; degrees; scale: largest share by which a
    picture shrinks or (half of that) grows; shift: share of the side; soften: by a blur of up to `blur` pixels, for a
    network that is to look at what a decoder draws, which is softer than what a browser does.
    """

    recolour: float = 0.3
    flip: float = 0.5
    move: float = 0.5
    degrees: float = 8.0
    scale: float = 0.1
    shift: float = 0.03
    soften: float = 0.0
    blur: float = 1.2

    def __call__(
        self, image: np.ndarray, record: EmojiRecord, rng: np.random.Generator
    ) -> tuple[np.ndarray, str | None]:
        """The changed picture, uint8 [H, W, 3], and the colour word to caption it with if it was recoloured."""
        draws = rng.random(8)
        colour = None
        if draws[0] < self.recolour and colourable(record):
            words = [word for word in colours.PALETTE if word != record.colour]
            colour = words[int(draws[1] * len(words))]
            image = hue_shift(image, colour, record.hue)
        if draws[2] < self.flip and flippable(record):
            image = flip(image)
        if draws[3] < self.move:
            degrees, across, down = (2 * draws[4:7] - 1) * (self.degrees, self.shift, self.shift)
            scale = 1 + self.scale * (1.5 * draws[7] - 1)
            image = affine(image, degrees=degrees, scale=scale, shift=(across, down))
        share, radius = rng.random(2) if self.soften else (1.0, 0.0)
        if share < self.soften:
            image = softened(image, self.blur * radius)
        return image, colour
